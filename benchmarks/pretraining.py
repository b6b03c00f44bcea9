"""Measure pre-training: hours of audio heard an hour, where the time goes, what weighting costs."""

import argparse
import json
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from timing import Row, best, machine, music, table, usable_cores
from torch.utils.flop_counter import FlopCounterMode

from musicssl.encoders import EncoderConfig, PaseConfig, PasePlusConfig
from musicssl.inference.device import cpu_has_bf16
from musicssl_training.train.config import DataConfig, PretrainConfig
from musicssl_training.train.inputs import batches, distorted, hear, moved, read
from musicssl_training.train.loop import find_losses, follow, measure, train_step
from musicssl_training.train.state import Run
from musicssl_training.weighting import WEIGHTINGS, output_gradients, output_gram
from musicssl_training.workers.regression import Regression

RATE, RECORDINGS, LENGTH = 22_050, 40, 20  # Hz, of the pack, seconds each


def write_music(folder: Path, rate: int) -> None:
    """Write a pack of real music, cut into recordings."""
    folder.mkdir()
    audio = np.clip(music(rate, RECORDINGS * LENGTH), -1, 1)
    (audio * 32767).astype("<i2").tofile(folder / "audio.i16")
    rows = [
        {
            "path": f"{i}.wav",
            "source": "examples",
            "licence": "public domain",
            "start": i * LENGTH * rate,
            "samples": LENGTH * rate,
            "sample_rate": rate,
        }
        for i in range(RECORDINGS)
    ]
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def settings(pack: Path, workers: str, steps: int = 1000) -> PretrainConfig:
    """Return the settings of `small` on that pack."""
    return PretrainConfig(
        data=DataConfig(sources=(str(pack),), shares=(1.0,)),
        workers=tuple(workers.split(",")),
        precision="bf16" if cpu_has_bf16() else "fp32",
        measure_batches=2,
        compare_every=0,
        steps=steps,
    )


@contextmanager
def started(config: PretrainConfig, folder: Path) -> Iterator[Run]:
    """Make a run that is ready for its first step."""
    run = Run(config, folder)
    measure(run)
    yield run


def gemm(dtype: torch.dtype) -> float:
    """Return the rate of a large matrix product, in GFLOP/s: the most that a step can reach."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    return 2 * 2048**3 / best(lambda: a @ b, 5).wall / 1e9


def operations(run: Run) -> float:
    """Return the GFLOP of a step's matrix products and convolutions; transforms are not counted."""
    ahead = batches(run)
    with FlopCounterMode(display=False) as counter:
        train_step(run, ahead)
    ahead.close()
    return counter.get_total_flops() / 1e9


def speed(run: Run, steps: int) -> Row:
    """Time whole steps, one after the other, as the loop makes them."""
    ahead = batches(run)
    train_step(run, ahead)
    hours, began, waited = run.progress.hours, time.perf_counter(), 0.0
    for _ in range(steps):
        waited += train_step(run, ahead).waiting
    wall = time.perf_counter() - began
    ahead.close()
    heard = (run.progress.hours - hours) * 3600
    return {
        "s a step": wall / steps,
        "h/h": heard / wall,
        "waiting": f"{100 * waited / wall:.1f} %",
    }


class Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - began


def parts(run: Run, steps: int) -> list[Row]:
    """Time the parts of a step, one after the other and nothing beside them."""
    clock = Clock()
    began: list[float] = []

    def before(*_: object) -> None:
        began.append(time.perf_counter())

    def after(*_: object) -> None:
        clock.seconds["targets"] += time.perf_counter() - began.pop()

    for worker in run.workers.values():
        if isinstance(worker, Regression):
            worker.target.register_forward_pre_hook(before)
            worker.target.register_forward_hook(after)
    for step in range(steps):
        with clock("data"):
            batch = moved(run, read(run, step)[0])
        with clock("spectra and distortions"), torch.no_grad():
            distorted(run, batch)
        with clock("again"):  # all that `hear` does, the line before included
            frames, rows = hear(run, batch)
        targets = clock.seconds["targets"]
        with clock("heads and their targets"):
            leaf = frames.detach().requires_grad_()
            losses = find_losses(run, batch, [leaf[r] for r in rows])
            gradients = output_gradients(losses, leaf)
        clock.seconds["heads"] -= clock.seconds["targets"] - targets
        with clock("weighting"):
            gram = output_gram(gradients)
            values = torch.stack([*losses.values()]).detach()
            weights = run.weighting(values, gram if run.weighting.needs_gram else None)
            whole = torch.einsum("k,k...->...", weights.to(gradients), gradients)
        with clock("encoder, backward"):
            frames.backward(whole)
        with clock("optimiser"):
            run.optimizer.step()
            follow(run)
            run.optimizer.zero_grad()
    found = clock.seconds
    found["heads"] += found.pop("heads and their targets")
    found["encoder, forward"] = max(
        0.0, found.pop("again") - 0.5 * found["spectra and distortions"]
    )
    total = sum(found.values())
    order = sorted(found, key=found.__getitem__, reverse=True)
    return [
        {
            "part": name,
            "ms": 1e3 * found[name] / steps,
            "share": f"{100 * found[name] / total:.0f} %",
        }
        for name in order
    ]


def weightings(config: PretrainConfig, folder: Path, steps: int) -> list[Row]:
    """Time steps under each weighting in turn with those of `equal`; the least of each counts."""
    rows: list[Row] = []
    kinds = [kind for _, kind in WEIGHTINGS.values()]
    with started(replace(config, weighting=kinds[0]()), folder) as equal:
        for kind in kinds:
            with started(replace(config, weighting=kind()), folder) as run:
                pair = [(one, batches(one)) for one in (equal, run)]
                times: list[list[float]] = [[], []]
                for _ in range(steps):
                    for spent, (one, ahead) in zip(times, pair, strict=True):
                        began = time.perf_counter()
                        train_step(one, ahead)
                        spent.append(time.perf_counter() - began)
                for _, ahead in pair:
                    ahead.close()
            least = [min(spent) for spent in times]
            ratio = least[1] / least[0]
            rows.append({"weighting": kind.name, "s a step": least[1], "x equal": ratio})
    return rows


def encoders(config: PretrainConfig, folder: Path, steps: int) -> list[Row]:
    """Time whole steps of the other encoders, on a pack at their rate."""
    rows: list[Row] = []
    for kind in (PaseConfig, PasePlusConfig):
        encoder: EncoderConfig = kind()
        pack = folder / f"{encoder.name}"
        write_music(pack, 16_000)
        data = replace(config.data, sources=(str(pack),), recordings=4)
        with started(replace(config, encoder=encoder, data=data), folder) as run:
            rows.append({"encoder": encoder.name} | speed(run, steps))
    return rows


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--workers", default="all", help="a selection, or names with commas (default: all)")
    add("--steps", type=int, default=8, help="steps timed each (default: %(default)s)")
    add("--threads", type=int, default=usable_cores(), help="of torch (default: all cores)")
    add("--only", choices=["speed", "weightings", "encoders"], help="one table instead of all")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(", ".join(f"{key}: {value}" for key, value in machine().items()), end="\n\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_music(folder / "pack", RATE)
        config = settings(folder / "pack", args.workers)
        jobs: dict[str, Callable[[], list[Row]]] = {
            "speed": lambda: whole(config, folder, args.steps),
            "weightings": lambda: weightings(config, folder, args.steps),
            "encoders": lambda: encoders(config, folder, args.steps),
        }
        for job in [args.only] if args.only else jobs:
            print(table(jobs[job]()), end="\n\n", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {peak:,.0f} MiB")


def whole(config: PretrainConfig, folder: Path, steps: int) -> list[Row]:
    """Time whole steps and print where the time goes."""
    with started(config, folder) as run:
        row = {"workers": len(run.names)} | speed(run, steps)
        work = operations(run)
        print(table(parts(run, steps)), end="\n\n")
    bf16 = config.precision == "bf16"
    for name, dtype in (("fp32", torch.float32), *([("bf16", torch.bfloat16)] if bf16 else [])):
        row |= {f"of {name} GEMM": f"{100 * work / row['s a step'] / gemm(dtype):.0f} %"}
    return [row | {"GFLOP a step": work}]


if __name__ == "__main__":
    main()
