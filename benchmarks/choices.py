"""Measure the choices that docs/design.md gives figures for, side by side in one run."""

import argparse
from collections.abc import Callable

import torch
from timing import Row, best, music, table, threads
from torch import Tensor
from torch.nn import functional as F

from musicssl.audio.resample import RESAMPLERS, Resampler
from musicssl.encoders import Dilated, DilatedConfig
from musicssl.encoders.dilated import Block
from musicssl.errors import DependencyError

SECONDS = 30


def resamplers(repeats: int) -> list[Row]:
    """Time each resampler from 44,100 to 22,050 Hz."""
    audio, rows = music(44_100, SECONDS), list[Row]()
    for name, make in RESAMPLERS.items():
        try:
            make(44_100, 22_050)
        except DependencyError as error:
            print(f"{name} is left out: {error}")
            continue

        def resample(make: Callable[[int, int], Resampler] = make) -> object:
            return make(44_100, 22_050)(audio, last=True)

        took = best(resample, repeats).wall
        rows.append({"44.1 to 22.05 kHz, 30 s": name, "ms": 1e3 * took})
    return rows


def plain_convolution(block: Block, x: Tensor) -> Tensor:
    """Convolve as torch would, with a dilation."""
    weight, bias = block.depthwise.weight, block.depthwise.bias
    reach = block.dilation * (weight.shape[2] // 2)
    y = F.conv1d(
        x.transpose(1, 2), weight, bias, padding=reach, dilation=block.dilation, groups=len(weight)
    )
    return y.transpose(1, 2)


def trunk(repeats: int) -> list[Row]:
    """Time the trunk with dilated convolutions as they are and folded."""
    encoder = Dilated(DilatedConfig()).eval()
    x = torch.randn(1, 25 * SECONDS, encoder.dim)
    folded = Block._convolve
    rows: list[Row] = []

    def run() -> None:
        y = x
        for block in encoder.blocks:
            y = block(y)

    for name, method in (("conv1d with a dilation", plain_convolution), ("folded", folded)):
        Block._convolve = method  # type: ignore[method-assign]
        try:
            took = best(run, repeats).wall
        finally:
            Block._convolve = folded  # type: ignore[method-assign]
        rows.append({"trunk, 30 s": name, "ms": 1e3 * took})
    return rows


def blocks(repeats: int) -> list[Row]:
    """Time stem and front end on long audio, in blocks and in one piece."""
    encoder = Dilated(DilatedConfig()).eval()
    parts = (encoder.spectrum, encoder.stem)
    audio = torch.randn(1, 120 * encoder.sample_rate) * 0.1
    spectra = encoder.stride * encoder.frames(audio.shape[1])
    before, rows = [part.block for part in parts], list[Row]()
    for name, sizes in (("in blocks", before), ("in one piece", [10**9] * 2)):
        for part, size in zip(parts, sizes, strict=True):
            part.block = size
        took = best(lambda: encoder.stem(encoder.spectrum(audio, spectra)), repeats).wall
        rows.append({"front end and stem, 120 s": name, "ms": 1e3 * took})
    return rows


def banks(repeats: int) -> list[Row]:
    """Time the whole encoder with filter banks in groups of bands, and as one product."""
    encoder = Dilated(DilatedConfig()).eval()
    audio = torch.from_numpy(music(encoder.sample_rate, SECONDS))[None]
    spectrum, rows = encoder.spectrum, list[Row]()
    grouped = spectrum._groups
    whole = {
        name: [(slice(0, len(bank)), slice(0, bank.shape[1]))]
        for name in grouped
        for bank in [spectrum.get_buffer(f"bank_{name}")]
    }
    times: dict[str, list[float]] = {"in groups": [], "in one product": []}
    for _ in range(4 * repeats):  # in turns: their difference is small
        for name, groups in zip(times, (grouped, whole), strict=True):
            spectrum._groups = groups
            times[name].append(best(lambda: encoder(audio, last=6), 1).wall)
    for name, found in times.items():
        rows.append({"encoder to layer 6, 30 s, filter banks": name, "ms": 1e3 * min(found)})
    return rows


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10, help="of each; the least counts")
    repeats = parser.parse_args().repeats
    with threads(1), torch.inference_mode():
        for rows in (resamplers(repeats), trunk(repeats), blocks(repeats), banks(repeats)):
            fastest = min(row["ms"] for row in rows)
            print(table([row | {"x the fastest": row["ms"] / fastest} for row in rows]), end="\n\n")


if __name__ == "__main__":
    main()
