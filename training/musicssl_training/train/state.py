"""State of pre-training: everything that changes, saved and restored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from musicssl.atomic import atomic_write
from musicssl.encoders import ENCODERS, Encoder, EncoderConfig
from musicssl.errors import ConfigError, OutputError
from musicssl_training.weighting import Weighting
from musicssl_training.workers import WorkerDict

STATE = "state.pt"
PARTS = ("encoder", "ema_encoder", "workers", "weighting", "optimizer", "scaler")
FORMERLY = {"average": "ema_encoder"}  # names in the files of older runs
FORMER_PROGRESS = {"hours": "hours_heard", "wall": "wall_seconds"}
DAMAGE = (RuntimeError, ValueError, KeyError, TypeError, EOFError)  # from torch.load and after it


@dataclass
class Progress:
    """Progress of a run."""

    step: int = 0
    hours_heard: float = 0.0  # of audio, over all processes
    wall_seconds: float = 0.0  # of computing
    skipped: int = 0  # steps with a loss or gradient that was not finite


@dataclass
class TrainState:
    """The networks, what learns them, and how far they have come."""

    encoder: Encoder
    ema_encoder: Encoder  # its weights are an exponential moving average of the encoder's
    workers: WorkerDict
    weighting: Weighting
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    progress: Progress = field(default_factory=Progress)

    def parameters(self) -> list[nn.Parameter]:
        """Return everything that learns by gradient."""
        return [*self.encoder.parameters(), *self.workers.parameters()]

    def save(self, folder: Path) -> None:
        """Write the state into a run's folder, beside the old one, which it then replaces.

        Raises
        ------
        OutputError
            If it cannot be written; the old one is intact.
        """
        state = {name: getattr(self, name).state_dict() for name in PARTS}
        try:
            part = folder / f".{STATE}.part"  # one name: a kill leaves at most one
            with atomic_write(folder / STATE, part=part, durable=True) as file:
                torch.save(state | {"progress": vars(self.progress)}, file)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            kept = (folder / STATE).is_file()
            raise OutputError(
                f"{folder / STATE} cannot be written ({error}); disk full? "
                + ("The one before is intact." if kept else "None was saved before.")
            ) from error

    def restore(self, folder: Path, device: torch.device) -> None:
        """Go on where the last save left off.

        Raises
        ------
        ConfigError
            If it was saved by a run of another shape or another version, or is damaged.
        """
        state = read_state(folder, device)
        try:
            for name in PARTS:
                getattr(self, name).load_state_dict(state[name])
            self.progress = state["progress"]
        except DAMAGE as error:
            raise ConfigError(
                f"{folder} holds a run with another encoder, other workers or another "
                "weighting, or one of a version whose workers were built otherwise; use its "
                f"settings or another folder. ({error})"
            ) from error


def read_state(folder: Path, device: torch.device) -> dict[str, Any]:
    """Return what was saved in a run's folder, under the names that it has now.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    try:
        saved = torch.load(folder / STATE, weights_only=True, map_location=device)
        state = _renamed(saved, FORMERLY)
        return state | {"progress": Progress(**_renamed(state["progress"], FORMER_PROGRESS))}
    except UnpicklingError:  # which advises to load the file all the same
        raise ConfigError(f"{folder / STATE} is damaged, or is no run's: no tensors.") from None
    except DAMAGE as error:
        raise ConfigError(f"{folder / STATE} is damaged, or is no run's. ({error})") from error


def read_ema_encoder(folder: Path, config: EncoderConfig) -> tuple[Encoder, Progress]:
    """Return the averaged encoder of a run, on the CPU, and how far the run has come.

    Raises
    ------
    ConfigError
        If there is no state of a run, or its encoder has another shape.
    """
    if not (folder / STATE).is_file():
        raise ConfigError(f"{folder} holds no {STATE}: not a pre-training run.")
    state = read_state(folder, torch.device("cpu"))
    kind, _ = ENCODERS[config.name]
    encoder: Encoder = kind(config)
    try:
        encoder.load_state_dict(state["ema_encoder"])
    except DAMAGE as error:
        raise ConfigError(f"{folder / STATE} is of another encoder. ({error})") from error
    return encoder.requires_grad_(False).eval(), state["progress"]


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return values under the names that they have now."""
    return {names.get(name, name): value for name, value in values.items()}
