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
from musicssl_training.targets.features import make_grid
from musicssl_training.train import DataConfig, PretrainConfig, StepResult, TrainState, loop
from musicssl_training.train.inputs import load_batch, make_encoder_input
from musicssl_training.train.setup import make_encoder, make_fabric, make_sampler, make_state
from musicssl_training.weighting import WEIGHTINGS
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


def gemm(dtype: torch.dtype) -> float:
    """Return the rate of a large matrix product, in GFLOP/s: the most that a step can reach."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    return 2 * 2048**3 / best(lambda: a @ b, 5).wall / 1e9


def operations(config: PretrainConfig, folder: Path) -> float:
    """Return the GFLOP of a step's matrix products and convolutions; transforms are not counted."""
    with FlopCounterMode(display=False) as counter:
        loop.pretrain(replace(config, steps=1, measure_batches=0), folder)
    return counter.get_total_flops() / 1e9


def times(
    config: PretrainConfig, folder: Path, steps: int
) -> tuple[list[float], float, TrainState]:
    """Return the seconds of each step but the first, those spent waiting, and the state."""
    ends, waited = [], 0.0

    def show(_: TrainState, result: StepResult) -> None:
        nonlocal waited
        ends.append(time.perf_counter())
        waited += result.waiting if len(ends) > 1 else 0.0

    state = loop.pretrain(replace(config, steps=steps + 1, save_every=0), folder, show=show)
    return np.diff(ends).tolist(), waited, state


def speed(config: PretrainConfig, folder: Path, steps: int) -> Row:
    """Time whole steps, one after the other."""
    spent, waited, state = times(config, folder, steps)
    heard = state.progress.hours_heard * 3600 * steps / (steps + 1)
    return {
        "s a step": sum(spent) / steps,
        "h/h": heard / sum(spent),
        "waiting": f"{100 * waited / sum(spent):.1f} %",
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


def parts(config: PretrainConfig, steps: int) -> list[Row]:
    """Time the parts of a step, one after the other and nothing beside them."""
    fabric, clock = make_fabric(config), Clock()
    encoder = make_encoder(config)
    grid, sampler = make_grid(encoder), make_sampler(config, encoder.sample_rate)
    state = make_state(config, encoder, {}, fabric.device)
    loop.fit_target_statistics(state, config, sampler, grid, fabric.device)
    began: list[float] = []

    def before(*_: object) -> None:
        began.append(time.perf_counter())

    def after(*_: object) -> None:
        clock.seconds["targets"] += time.perf_counter() - began.pop()

    for worker in state.workers.values():
        if isinstance(worker, Regression):
            worker.target.register_forward_pre_hook(before)
            worker.target.register_forward_hook(after)
    for step in range(steps):
        with clock("data"):
            batch = load_batch(sampler, step, grid, config)[0].to(fabric.device)
        with clock("spectra and augmentation"):
            inputs = make_encoder_input(batch, encoder, state.workers, config)
        with clock("encoder, forward"), fabric.autocast():
            frames = loop.last_layer(encoder, inputs.features)
        targets = clock.seconds["targets"]
        with clock("heads"):
            heads = loop.split_output(frames, inputs, state.workers)
            live = loop.find_live(state.workers, heads, batch, fabric)
            losses = loop.find_losses(state.workers, heads, batch, fabric)
            losses.sum().backward()
        clock.seconds["heads"] -= clock.seconds["targets"] - targets
        with clock("weighting"):
            gram = loop.gradient_gram(loop.stack_gradients(heads, frames), 1.0, fabric)
            weights = state.weighting(losses.detach(), gram, live)
            whole = loop.weighted_gradient(heads, weights, frames)
        with clock("encoder, backward"):
            frames.backward(whole)
        with clock("optimizer"):
            loop.clip_gradients(state, config.optim)
            state.optimizer.step()
            loop.update_ema(state.ema_encoder, encoder, step, config.optim.average)
            state.optimizer.zero_grad()
    total = sum(clock.seconds.values())
    order = sorted(clock.seconds, key=clock.seconds.__getitem__, reverse=True)
    return [
        {
            "part": name,
            "ms": 1e3 * clock.seconds[name] / steps,
            "share": f"{100 * clock.seconds[name] / total:.0f} %",
        }
        for name in order
    ]


def weightings(config: PretrainConfig, folder: Path, steps: int) -> list[Row]:
    """Time steps under each weighting, after those of `equal`; the least of each counts."""
    rows: list[Row] = []
    equal, *kinds = [kind for _, kind in WEIGHTINGS.values()]
    for kind in kinds:
        least = [
            min(
                times(replace(config, weighting=one()), folder / f"{kind.name}-{one.name}", steps)[
                    0
                ]
            )
            for one in (equal, kind)
        ]
        row: Row = {"weighting": kind.name, "s a step": least[1], "x equal": least[1] / least[0]}
        rows.append(row)
    return rows


def encoders(config: PretrainConfig, folder: Path, steps: int) -> list[Row]:
    """Time whole steps of the other encoders, on a pack at their rate."""
    rows: list[Row] = []
    for kind in (PaseConfig, PasePlusConfig):
        encoder: EncoderConfig = kind()
        pack = folder / f"{encoder.name}"
        write_music(pack, 16_000)
        data = replace(config.data, sources=(str(pack),), recordings=4)
        run = folder / f"{encoder.name}-run"
        rows.append(
            {"encoder": encoder.name}
            | speed(replace(config, encoder=encoder, data=data), run, steps)
        )
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
    row = {"workers": len(config.worker_configs())} | speed(config, folder / "run", steps)
    work = operations(config, folder / "one")
    print(table(parts(config, steps)), end="\n\n")
    bf16 = config.precision == "bf16"
    for name, dtype in (("fp32", torch.float32), *([("bf16", torch.bfloat16)] if bf16 else [])):
        row |= {f"of {name} GEMM": f"{100 * work / row['s a step'] / gemm(dtype):.0f} %"}
    return [row | {"GFLOP a step": work}]


if __name__ == "__main__":
    main()
