"""Measure agreement, speed and memory on a GPU; without one, say so and stop.

``--device cpu --dtype bf16`` goes the same way on a processor with bf16 instructions.
"""

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models import MODEL_HELP, load
from numpy.typing import NDArray
from timing import Row, machine, music, table, write_json

from musicssl import MusicEncoder, MusicSSLError
from musicssl.inference.device import DTYPES, pick_device, pick_dtype

AGREE = 0.999  # cosine that a half precision has to keep on every clip
Vectors = NDArray[np.float32]  # (clips, dim)


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """Return the cosine of each row with its counterpart."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.asarray((x * y).sum(1) / norms)


def compare(name: str, found: Vectors, reference: Vectors) -> Row:
    """Return how far two embeddings of the same clips are apart."""
    cosine = cosines(found, reference)
    scale = float(np.sqrt(np.mean(reference.astype(np.float64) ** 2)))
    return {
        "compared": name,
        "clips": len(cosine),
        "1 - least cosine": float(1 - cosine.min()),
        "1 - mean cosine": float(1 - cosine.mean()),
        "largest difference / RMS": float(np.abs(found - reference).max()) / scale,
    }


def agreement(
    model: MusicEncoder, device: torch.device, dtypes: list[str], quick: bool
) -> list[Row]:
    """Embed clips of 1 to 40 s, a faint and a half silent one among them, in each precision."""
    rate = model.sample_rate
    lengths = np.geomspace(1, 40, 12 if quick else 48)
    clips = [music(rate, length, start=5.3 * i) for i, length in enumerate(lengths)]
    clips[1] = 0.001 * clips[1]
    clips[2][len(clips[2]) // 3 :] = 0
    reference = np.asarray(model.to("cpu").embed(clips, rate, dtype="fp32"))
    model.to(device)
    fp32 = np.asarray(model.embed(clips, rate, dtype="fp32"))
    rows = [compare(f"{device.type} fp32 with CPU fp32", fp32, reference)]
    if device.type == "cuda":
        allowed = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = not allowed
        other = np.asarray(model.embed(clips, rate, dtype="fp32"))
        torch.backends.cudnn.allow_tf32 = allowed
        how = "without" if allowed else "with"
        rows.append(compare(f"cuda fp32 {how} TF32 convolutions with CPU fp32", other, reference))
    rows += [
        compare(f"{name} with fp32", np.asarray(model.embed(clips, rate, dtype=name)), fp32)
        for name in dtypes
        if name != "fp32"
    ]
    return rows


def timed(call: Any, device: torch.device, repeats: int) -> float:
    """Return the least wall time in seconds, the device's work included."""
    times = []
    for _ in range(repeats + 1):  # the first is not counted
        synchronize(device)
        begin = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def throughput(
    model: MusicEncoder,
    device: torch.device,
    dtypes: list[str],
    batches: list[float],
    seconds: float,
    repeats: int,
) -> list[Row]:
    """Time `embed` from arrays, and the encoder alone on audio that is there already.

    Where the memory does not suffice, the row is empty.
    """
    rate, length = model.sample_rate, 30
    clips = [music(rate, length, start=3.1 * i) for i in range(max(1, round(seconds / length)))]
    total, rows = len(clips) * length, []
    for batch in batches:
        there = torch.from_numpy(music(rate, length)).expand(max(1, round(batch / length)), -1)
        there = there.contiguous().to(device)
        for name in dtypes:
            row: dict[str, float | None] = dict.fromkeys(("embed", "encoder alone", "MiB"))
            with contextlib.suppress(torch.cuda.OutOfMemoryError):
                row = _throughput(model, clips, there, rate, name, batch, repeats)
            rows.append(
                {
                    "dtype": name,
                    "batch_seconds": batch,
                    "embed, x real time": row["embed"] and total / row["embed"],
                    "encoder alone, x real time": row["encoder alone"]
                    and len(there) * length / row["encoder alone"],
                    "peak GPU memory, MiB": row["MiB"],
                }
            )
    return rows


def _throughput(
    model: MusicEncoder,
    clips: list[NDArray[np.float32]],
    there: torch.Tensor,
    rate: int,
    name: str,
    batch: float,
    repeats: int,
) -> dict[str, float | None]:
    """Return seconds of both ways, and MiB where the device counts them."""
    device = there.device
    dtype = pick_dtype(name, device)

    def alone() -> None:
        half = dtype is not torch.float32
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=half):
            model(there)

    def embed() -> None:
        model.embed(clips, rate, dtype=name, batch_seconds=batch)

    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    through = timed(embed, device, repeats)
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return {"embed": through, "encoder alone": timed(alone, device, repeats), "MiB": peak}


def run(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Measure and print."""
    about = machine() | {"device": str(device)}
    if device.type == "cuda":
        about |= {
            "GPU": torch.cuda.get_device_name(device),
            "GPU memory, GiB": torch.cuda.get_device_properties(device).total_memory / 2**30,
            "CUDA": torch.version.cuda,
            "TF32 convolutions": torch.backends.cudnn.allow_tf32,
        }
    model = load(options.model)
    asked = options.dtype or list(DTYPES)
    dtypes = [name for name in asked if pick_dtype(name, device) is DTYPES[name]]
    dtypes = list(dict.fromkeys(["fp32", *dtypes]))
    tables: dict[str, list[Row]] = {}

    def show(title: str, rows: list[Row]) -> None:
        tables[title] = rows
        print(f"\n## {title}\n\n{table(rows)}", flush=True)

    show("Machine", [{"what": name, "is": value} for name, value in about.items()])
    show("Agreement", agreement(model, device, dtypes, options.quick))
    batches = options.batch_seconds or ([30.0, 120.0] if options.quick else [30.0, 120, 600, 1800])
    seconds = options.seconds or (120 if options.quick else 7200)
    repeats = 1 if options.quick else options.repeats
    show("Throughput", throughput(model, device, dtypes, batches, seconds, repeats))
    return {"machine": about, "model": options.model or model.model_id, "tables": tables}


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--device", help="default: cuda; 'cpu' to try the script itself")
    parser.add_argument(
        "--dtype", action="append", choices=list(DTYPES), help="may repeat; default all"
    )
    parser.add_argument("--batch-seconds", type=float, action="append", help="may repeat")
    parser.add_argument("--seconds", type=float, help="of audio for the throughput; default 7200")
    parser.add_argument("--repeats", type=int, default=3, help="of each timing; the least counts")
    parser.add_argument("--quick", action="store_true", help="a check, not a result")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; 1 if a half precision disagrees, 2 for wrong use."""
    options = build_parser().parse_args(argv)
    if options.device is None and not torch.cuda.is_available():
        print("gpu.py: no CUDA device here; nothing was measured.")
        return 0
    try:
        results = run(options, pick_device(options.device or "cuda"))
    except (MusicSSLError, RuntimeError) as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return 2
    write_json(options.json, results)
    rows = results["tables"]["Agreement"]
    if low := [row["compared"] for row in rows if not row["1 - least cosine"] <= 1 - AGREE]:
        print(f"gpu.py: cosine below {AGREE}: {', '.join(low)}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
