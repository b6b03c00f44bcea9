"""Measure the parts of a training step: targets, each worker's own gradient, and weightings."""

import argparse
import time
from collections.abc import Callable

import torch
from timing import Row, best, music, table, threads
from torch import Tensor, nn

from musicssl_training.targets import Target, pitch, prosody, rhythm, spectral, timbre
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.weighting import (
    WEIGHTINGS,
    make_weighting,
    output_gradients,
    output_gram,
)

BATCH, SECONDS, RATE = 20, 7.04, 22_050
FRAMES, DIM, HIDDEN, HEADS = 176, 256, 256, 12
KINDS: tuple[type[Target], ...] = (
    spectral.LogMel,
    spectral.Lps,
    spectral.Mfcc,
    spectral.Gammatone,
    spectral.Waveform,
    prosody.Prosody,
    prosody.Loudness,
    timbre.Shape,
    timbre.Contrast,
    timbre.HarmonicPercussive,
    pitch.Vqt,
    pitch.Salience,
    pitch.Notes,
    pitch.ChromaPeaks,
    pitch.Chroma,
    pitch.Tonnetz,
    pitch.ChromaVqt,
    pitch.Cens,
    rhythm.Onsets,
    rhythm.Tempogram,
    rhythm.FourierTempogram,
    rhythm.BeatPulse,
)


def targets(repeats: int) -> list[Row]:
    """Time the spectra, each target alone on spectra that are there, and all together."""
    grid = FrameGrid(RATE, 441, 2)
    whole = music(RATE, BATCH * SECONDS)
    audio = torch.from_numpy(whole[: BATCH * round(SECONDS * RATE)]).view(BATCH, -1)
    measures = [kind(grid) for kind in KINDS]  # type: ignore[call-arg]

    def prepared() -> CleanAudio:
        sound = CleanAudio(audio, grid)
        for n_fft in (4096, 1024):
            sound.power(n_fft)
        return sound

    def least(call: Callable[[CleanAudio], object]) -> float:
        """Return the least time of `call` in ms, on spectra that are there."""
        times = []
        for _ in range(repeats):
            sound = prepared()
            began = time.perf_counter()
            call(sound)
            times.append(time.perf_counter() - began)
        return 1e3 * min(times)

    what = "targets of 20 x 7.04 s"
    spectra = 1e3 * best(prepared, repeats).wall
    rows: list[Row] = [{what: "spectra of 4096 and 1024", "ms": spectra}]
    rows += [{what: type(measure).__name__, "ms": least(measure)} for measure in measures]
    together = least(lambda sound: [measure(sound) for measure in measures])
    return [*rows, {what: f"all {len(measures)} together", "ms": together}]


def gradients(repeats: int) -> list[Row]:
    """Time each worker's gradient for itself against one joint backward pass."""
    heads = [
        nn.Sequential(nn.Linear(DIM, HIDDEN), nn.PReLU(), nn.Linear(HIDDEN, 64))
        for _ in range(HEADS)
    ]
    frames = torch.randn(BATCH, FRAMES, DIM, requires_grad=True)

    def losses() -> dict[str, Tensor]:
        return {str(i): head(frames).square().mean() for i, head in enumerate(heads)}

    def joint() -> None:
        torch.stack([*losses().values()]).sum().backward()  # type: ignore[no-untyped-call]

    def with_gram() -> None:
        output_gram(output_gradients(losses(), frames))

    def weighted() -> None:
        found = output_gradients(losses(), frames)
        torch.einsum("k,k...->...", output_gram(found).diagonal(), found)

    ways = {
        "joint": joint,
        "each loss by itself": lambda: output_gradients(losses(), frames),
        "and the scalar products": with_gram,
        "and the weighted sum": weighted,
    }
    took = {name: best(way, repeats).wall for name, way in ways.items()}
    return [
        {f"{HEADS} heads, forward and backward": name, "ms": 1e3 * t, "x joint": t / took["joint"]}
        for name, t in took.items()
    ]


def weightings(repeats: int) -> list[Row]:
    """Time each weighting for 12 and for 40 workers."""
    rows: list[Row] = []
    for name, (_, config) in WEIGHTINGS.items():
        row: Row = {"weighting": name}
        for count in (12, 40):
            weighting = make_weighting(config(), [str(i) for i in range(count)])
            gram, losses = output_gram(torch.randn(count, 1000)), torch.rand(count) + 0.5
            took = best(lambda w=weighting, ls=losses, g=gram: w(ls, g), 20 * repeats).wall
            row[f"ms, {count} workers"] = 1e3 * took
        rows.append(row)
    return rows


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10, help="of each; the least counts")
    repeats = parser.parse_args().repeats
    torch.manual_seed(0)
    with threads(1):
        for rows in (targets(repeats), gradients(repeats), weightings(repeats)):
            print(table(rows), end="\n\n")


if __name__ == "__main__":
    main()
