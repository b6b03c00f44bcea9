"""The sub-command `musicssl-train pretrain`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from musicssl_training.cli.interrupts import interrupts
from musicssl_training.cli.settings import replace_setting
from musicssl_training.toml_file import read_toml

if TYPE_CHECKING:
    from musicssl_training.train import StepResult, TrainState


def add_pretrain(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add = parser.add_argument
    add("config", type=Path, metavar="CONFIG.toml")
    add("folder", type=Path, metavar="RUN", help="folder of the run")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a setting, such as steps=100 or encoder.dim=64",
    )
    add("--threads", type=int, help="of torch (default: one a core)")


def run_pretrain(args: argparse.Namespace) -> None:
    """Pre-train an encoder, or go on with it."""
    import torch

    from musicssl_training.distributed import rank
    from musicssl_training.progress import Progress
    from musicssl_training.train import loop
    from musicssl_training.train.config import read_config

    values = read_toml(args.config)
    for text in args.set:
        values = replace_setting(values, text)
    if args.threads:
        torch.set_num_threads(args.threads)
    config = read_config(values)
    with interrupts() as stop, Progress(config.steps, "steps") as shown:

        def show(state: "TrainState", result: "StepResult") -> None:
            if rank() > 0:  # one bar for all processes
                return
            progress, losses = state.progress, result.losses.values()
            mean = sum(losses) / max(1, len(losses))
            speed = progress.hours_heard / max(progress.wall_seconds, 1e-9) * 3600
            note = f"mean loss {mean:.3f}, {progress.hours_heard:.1f} h of audio"
            note += f", {speed:.0f} x real time"
            if shown.done:
                shown.update(note=note)
            else:  # the first step also loads and compiles, and there may be earlier ones
                shown.resume(progress.step, note)

        loop.pretrain(config, args.folder, show=show, stop=stop.is_set)
