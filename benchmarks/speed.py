"""Measure speed and memory on the CPU, with the ratios that say how much is left to gain."""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from models import MODEL_HELP, checkpoint, load
from timing import (
    CLI,
    Row,
    best,
    child,
    machine,
    music,
    table,
    threads,
    usable_cores,
    write_json,
)
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from musicssl import MusicEncoder, MusicSSLError
from musicssl.audio import open_source
from musicssl.encoders import Dilated
from musicssl.folder.api import embed_folder
from musicssl.inference.batching import compute
from musicssl.inference.device import cpu_has_bf16
from musicssl.inference.options import EmbedOptions

BATCH_SECONDS = 30  # what the encoder is timed on; the engine's default batch


def gemm_rate(dtype: torch.dtype, repeats: int) -> float:
    """Return GFLOP/s of a product of square matrices of 2048 on one thread."""
    a, b = torch.randn(2, 2048, 2048).to(dtype)
    with threads(1), torch.inference_mode():
        return 2 * 2048**3 / best(lambda: a @ b, repeats).wall / 1e9


def gemm(repeats: int) -> list[Row]:
    """Return what the core can do, to compare the encoder with."""
    kinds = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if cpu_has_bf16() else {})
    return [
        {"2048 x 2048 product, 1 thread": name, "GFLOP/s": gemm_rate(kind, 2 * repeats)}
        for name, kind in kinds.items()
    ]


def fft_flop(encoder: Dilated) -> float:
    """Estimate the operations of the Fourier transforms for a second of audio: 2.5 n log2 n."""
    config = encoder.config.spectrum
    sizes = (config.pitch_fft, config.mel_fft)
    return sum(2.5 * n * math.log2(n) for n in sizes) * config.sample_rate / config.hop


def encoder_parts(model: MusicEncoder, audio: Tensor) -> dict[str, Callable[[], object]]:
    """Return the whole encoder and its parts as calls."""
    parts: dict[str, Callable[[], object]] = {"whole": lambda: model(audio)}
    encoder = model.encoder
    if not isinstance(encoder, Dilated):
        return parts
    wanted = encoder.stride * encoder.frames(audio.shape[1])
    spectra = encoder.spectrum(audio, wanted)
    stem = encoder.stem(spectra)

    def trunk() -> object:
        x = stem
        for block in encoder.blocks:
            x = block(x)
        return encoder.norm(x)

    return parts | {
        "front end": lambda: encoder.spectrum(audio, wanted),
        "stem": lambda: encoder.stem(spectra),
        "trunk": trunk,
    }


def encoder_alone(model: MusicEncoder, repeats: int, rate: float) -> list[Row]:
    """Time the encoder on one batch in memory; `rate` is the core's fp32 GFLOP/s."""
    audio = torch.from_numpy(music(model.sample_rate, BATCH_SECONDS))[None]
    samples, cores, rows = torch.tensor([audio.shape[1]]), usable_cores(), []
    with torch.inference_mode():
        parts = encoder_parts(model, audio)
    fft = fft_flop(model.encoder) if isinstance(model.encoder, Dilated) else 0.0
    for name, call in parts.items():
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            call()
        dense = counter.get_total_flops() / BATCH_SECONDS / 1e9
        transforms = fft / 1e9 if name in ("whole", "front end") else 0.0
        with torch.inference_mode():
            with threads(1):
                one = best(call, repeats).wall / BATCH_SECONDS
            with threads(cores):
                every = best(call, repeats).wall / BATCH_SECONDS
        rows.append(
            {
                "encoder": name,
                "GFLOP/s of audio": dense,
                "+ FFT, estimated": transforms,
                "ms/s of audio, 1 thread": 1e3 * one,
                "x real time, 1 thread": 1 / one,
                f"x real time, all {cores} cores": 1 / every,
                "of the GEMM rate, %": 100 * dense / one / rate,
                "with FFT, %": 100 * (dense + transforms) / one / rate,
            }
        )
    if cpu_has_bf16():
        settings = EmbedOptions(dtype="bf16").resolve(model)
        times = []
        for n in (1, cores):
            with threads(n):
                took = best(lambda: compute(model, audio, samples, settings), repeats)
            times.append(took.wall / BATCH_SECONDS)
        values = ["whole, bf16", None, None, 1e3 * times[0], 1 / times[0], 1 / times[1], None, None]
        rows.append(dict(zip(rows[0], values, strict=True)))
    return rows


def clips(model: MusicEncoder, repeats: int, quick: bool) -> list[Row]:
    """Time `embed` on arrays at the model's rate: one long, many short, together and alone."""
    rate, rows = model.sample_rate, []
    shares = 10 if quick else 1
    for count, length in (
        (1, 600 // shares),
        (200 // shares, 1),
        (60 // shares, 5),
        (20 // shares, 30),
    ):
        audio = [music(rate, length, start=7.3 * i) for i in range(count)]
        for n in dict.fromkeys((1, usable_cores())):
            with threads(n):
                together = best(lambda audio=audio: model.embed(audio, rate), repeats).wall
                alone = best(
                    lambda audio=audio: [model.embed(x, rate) for x in audio], repeats
                ).wall
            rows.append(
                {
                    "clips": f"{count} of {length} s",
                    "threads": n,
                    "x real time, as a list": count * length / together,
                    "x real time, one by one": count * length / alone,
                    "list / one by one": alone / together,
                    "ms a clip, one by one": 1e3 * alone / count,
                }
            )
    return rows


def write_music(folder: Path, count: int, longest: float) -> dict[str, list[tuple[Path, float]]]:
    """Write stereo music of 44.1 kHz, 20 s to `longest`: FLAC, MP3 and Vorbis in turn."""
    kinds = {"FLAC": ".flac", "MP3": ".mp3", "Vorbis": ".ogg"}
    written: dict[str, list[tuple[Path, float]]] = {kind: [] for kind in kinds}
    lengths = np.random.default_rng(0).permutation(np.geomspace(20, longest, count))
    for i, length in enumerate(lengths):
        kind = list(kinds)[i % len(kinds)]
        left, right = (music(44_100, length, start=11.7 * i + side) for side in (0, 0.011))
        stereo = np.stack([left, 0.7 * left + 0.3 * right], axis=1)
        path = folder / f"{i:02d}{kinds[kind]}"
        with soundfile.SoundFile(path, "w", 44_100, 2) as file:
            for first in range(0, len(stereo), 44_100):  # whole, libsndfile's Vorbis may overflow
                file.write(stereo[first : first + 44_100])
        written[kind].append((path, len(stereo) / 44_100))
    return written


def decode(paths: list[Path], sample_rate: int) -> None:
    """Decode, mix and resample, and do nothing with it."""
    for path in paths:
        with open_source(path, sample_rate=sample_rate) as source:
            for _ in source.blocks():
                pass


def folder(
    model: MusicEncoder, where: str | None, repeats: int, quick: bool
) -> dict[str, list[Row]]:
    """Time the folder command against the sum of its parts, each measured alone."""
    cores, repeats = usable_cores(), max(1, repeats - 2)
    rate = model.sample_rate
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        (home / "music").mkdir()
        written = write_music(home / "music", 9 if quick else 30, 40 if quick else 240)
        rows, decode_cpu, seconds = [], 0.0, 0.0
        with threads(1):
            for kind, files in written.items():
                paths, length = [path for path, _ in files], sum(length for _, length in files)
                took = best(lambda paths=paths: decode(paths, rate), repeats)
                rows.append(_part(f"decode and resample {kind}", length, took.cpu, took.wall))
                decode_cpu, seconds = decode_cpu + took.cpu, seconds + length
            audio = torch.from_numpy(music(rate, BATCH_SECONDS))[None]
            settings, samples = EmbedOptions().resolve(model), torch.tensor([audio.shape[1]])
            took = best(lambda: compute(model, audio, samples, settings), 3 * repeats)
            rows.append(_part("encode", BATCH_SECONDS, took.cpu, took.wall))
        both = decode_cpu + seconds * took.cpu / BATCH_SECONDS
        outs = iter(range(1000))
        music_folder = home / "music"

        def function() -> None:
            summary = embed_folder(
                music_folder, home / f"out{next(outs)}", model=model, device="cpu"
            )
            if summary.failed or summary.done != sum(map(len, written.values())):
                raise RuntimeError(f"the folder command did not do all: {summary}")

        def command() -> None:
            out = str(home / f"out{next(outs)}")
            chosen = [] if where is None else ["--model", where]
            child("-c", CLI, str(music_folder), "-o", out, "--device", "cpu", *chosen)

        whole = []
        for name, call in (("embed_folder()", function), ("musicssl-embed, new process", command)):
            wall, cpu = best(call, repeats)
            whole.append(
                {
                    f"{sum(map(len, written.values()))} files, {seconds / 60:.1f} min": name,
                    "wall s": wall,
                    "x real time": seconds / wall,
                    f"ideal x, {cores} cores": seconds * cores / both,
                    "efficiency, %": 100 * both / cores / wall,
                    "CPU s / that of the parts": cpu / both if call is function else None,
                }
            )
    return {"Parts of the folder command, alone, 1 thread": rows, "Folder command": whole}


def _part(name: str, length: float, cpu: float, wall: float) -> Row:
    return {"part": name, "CPU ms/s of audio": 1e3 * cpu / length, "x real time": length / wall}


def memory(where: str | None, quick: bool) -> list[Row]:
    """Return peak memory against length, each in a process of its own with one thread."""
    rows: list[Row] = []
    chosen = [] if where is None else ["--model", where]
    script = str(Path(__file__).with_name("memory.py"))
    with tempfile.TemporaryDirectory() as temporary:
        block = music(22_050, 60)
        for minutes in (0.5, 10) if quick else (0.5, 10, 180):
            path = Path(temporary) / f"{minutes}.flac"
            with soundfile.SoundFile(path, "w", 22_050, 1, subtype="PCM_16") as file:
                for _ in range(max(1, round(minutes))):
                    file.write(block[: round(60 * 22_050 * min(1, minutes))])
            found: dict[str, float] = json.loads(child(script, str(path), *chosen)[1])
            path.unlink()
            rows.append(
                {
                    "FLAC, mono, 22.05 kHz": f"{minutes:g} min",
                    "model loaded, MiB": found["loaded"],
                    "peak, MiB": found["peak"],
                    "x the first": found["peak"] / rows[0]["peak, MiB"] if rows else 1.0,
                    "x real time, 1 thread": 60 * minutes / found["seconds"],
                }
            )
    return rows


def cold_start(where: str | None, repeats: int) -> list[Row]:
    """Time new processes."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "clip.flac"
        soundfile.write(path, music(44_100, 10), 44_100)
        embed = (
            f"import musicssl; musicssl.get_embedding({str(path)!r}, model={where!r}, device='cpu')"
        )
        runs = {
            "python, nothing": ["-c", "pass"],
            "import musicssl": ["-c", "import musicssl"],
            "musicssl-embed --help": ["-c", CLI, "--help"],
            "import torch": ["-c", "import torch"],
            "first embedding, file of 10 s": ["-c", embed],
        }
        return [
            {
                "new process": name,
                "ms": 1e3 * best(lambda arguments=arguments: child(*arguments), repeats).wall,
            }
            for name, arguments in runs.items()
        ]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all, printing each table as soon as it is there."""
    repeats = 1 if options.quick else options.repeats
    tables: dict[str, list[Row]] = {}

    def show(title: str, rows: list[Row]) -> None:
        tables[title] = rows
        print(f"\n## {title}\n\n{table(rows)}", flush=True)

    about = machine()
    with checkpoint(options.model) as where:
        model = load(where)
        show("Machine", [{"what": name, "is": value} for name, value in about.items()])
        show("The core", gemm(repeats))
        rate = tables["The core"][0]["GFLOP/s"]
        show(f"Encoder alone, {BATCH_SECONDS} s", encoder_alone(model, repeats, rate))
        show("Arrays through MusicEncoder.embed", clips(model, repeats, options.quick))
        for title, rows in folder(model, where, repeats, options.quick).items():
            show(title, rows)
        show("Peak memory", memory(where, options.quick))
        show("Cold start", cold_start(where, repeats))
    return {"machine": about, "model": options.model or model.model_id, "tables": tables}


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--repeats", type=int, default=5, help="of each timing; the least counts")
    parser.add_argument(
        "--quick", action="store_true", help="under a minute: a check, not a result"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1.")
    try:
        results = run(options)
    except (MusicSSLError, RuntimeError) as error:
        print(f"speed.py: {error}", file=sys.stderr)
        return 2
    write_json(options.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
