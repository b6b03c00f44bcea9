"""Base classes of the pretext tasks: what each of them is given, and what it promises."""

from abc import ABC, abstractmethod
from collections.abc import Callable, ItemsView, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor, nn

from musicssl_training.targets.features import CleanAudio, FrameGrid

if TYPE_CHECKING:
    from musicssl_training.data.teaching import Taught
    from musicssl_training.midi.score import Score


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """Base of the workers' configurations."""

    name: str  # key in WORKERS and in a run's settings
    label: str = ""  # name in logs and checkpoints, where one worker is used twice
    layer: int = -1  # of the encoder, that it reads: 0 is nearest to the sound, -1 the last


@dataclass
class Batch:
    """What is known of the excerpts that the encoder hears."""

    sound: CleanAudio  # clean
    recordings: Tensor  # (batch,), int64: excerpts of one recording share a number, everywhere
    scores: Sequence["Score | None"] = ()  # what truly sounds in each, where it is known
    random: torch.Generator = field(default_factory=torch.Generator)  # on the CPU
    starts: Tensor | None = None  # (batch,), seconds into the recording, where known
    taught: Sequence[Mapping[str, "Taught"]] = ()  # what teachers say of each, by their names
    sources: Tensor | None = None  # (batch,), int64: number of the corpus, where known

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; itself where it is there."""
        if self.sound.audio.device == device:
            return self
        return self._with(lambda values: values.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory, from which it is copied to a GPU in the background."""
        return self._with(Tensor.pin_memory)

    def _with(self, put: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(
            self,
            sound=CleanAudio(put(self.sound.audio), self.sound.grid),
            recordings=put(self.recordings),
            starts=None if self.starts is None else put(self.starts),
            sources=None if self.sources is None else put(self.sources),
        )


@dataclass(frozen=True)
class Views:
    """Further audio for the encoder, beside the batch; a worker may add what its loss needs."""

    audio: Tensor  # (rows, samples of an excerpt)


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What a loss may need beside the encoder's output for the batch."""

    views: Views | None = None  # what `Worker.extra_views` returned
    view_frames: Tensor | None = None  # (rows, frames, dim): the encoder's output for the views
    masked: Tensor | None = None  # (batch, frames), true where the encoder heard nothing


NO_EXTRAS = Extras()


class Worker(nn.Module, ABC):
    """A head on the encoder's output; thrown away after pre-training.

    Parameters
    ----------
    config
        Settings; every field can be set in a run's settings.
    dim
        Size of the encoder's frames.
    grid
        The encoder's hop, and where targets are measured.
    """

    needs_mask: ClassVar[bool] = False  # whether it asks only where `Extras.masked` is true
    expected_initial_loss: float | None = 1.0  # what theory predicts before learning, if it does

    def __init__(self, config: WorkerConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__()
        self.config = config
        self.dim = dim
        self.hop_seconds = grid.hop * grid.stride / grid.sample_rate  # of the encoder

    @abstractmethod
    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        """Return a scalar in fp32, whose mean over processes is the loss of the whole batch.

        Every process must call it at every step: it may exchange values with the others.

        Parameters
        ----------
        frames
            The encoder's output, (batch, frames, dim), for the distorted input.
        batch
            What is known of the clean audio.
        extras
            What else the encoder heard, and what it did not.
        """

    def measure(self, batch: Batch) -> None:
        """Gather the statistics that the worker needs, before training."""

    @property
    def targets_vary(self) -> bool:
        """Whether there is anything to predict, by the statistics; true where none are kept."""
        return True

    def asks(self, batch: Batch, extras: Extras = NO_EXTRAS) -> bool:
        """Tell whether these excerpts hold anything that is asked; if not, the loss is zero.

        That zero says nothing of how well the worker does: see `Weighting.forward`. As with
        `loss`, every process must call it.
        """
        return True

    def extra_views(self, batch: Batch) -> Views | None:
        """Return further audio for the encoder, as long as an excerpt each, or None."""
        return None

    def metrics(self) -> dict[str, float]:
        """Return figures of merit of the last loss in this process; NaN where it asked nothing."""
        return {}

    def zero_loss(self, frames: Tensor) -> Tensor:
        """Return a zero whose gradient, zero too, reaches `frames` and every parameter."""
        total = frames.sum().float() * 0
        for parameter in self.parameters():
            total = total + parameter.sum() * 0
        return total


class WorkerDict(nn.ModuleDict):
    """Workers by the names that logs and checkpoints call them, in order."""

    def __getitem__(self, key: str) -> Worker:
        return cast(Worker, super().__getitem__(key))

    def items(self) -> ItemsView[str, Worker]:
        return cast(ItemsView[str, Worker], super().items())

    def values(self) -> ValuesView[Worker]:
        return cast(ValuesView[Worker], super().values())
