"""What every worker gets and promises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from musicssl_training.targets.features import CleanAudio

if TYPE_CHECKING:
    from musicssl_training.data.teaching import Taught
    from musicssl_training.midi.score import Score


@dataclass
class Batch:
    """What is known of the excerpts that the encoder hears."""

    sound: CleanAudio  # clean
    recordings: Tensor  # (batch,), int64: excerpts of one recording share a number, everywhere
    scores: Sequence["Score | None"] = ()  # what truly sounds in each, where it is known
    masked: Tensor | None = None  # (batch, frames), true where the encoder heard silence instead
    random: torch.Generator = field(default_factory=torch.Generator)  # on the CPU
    starts: Tensor | None = None  # (batch,), seconds into the recording, where known
    taught: Sequence[Mapping[str, "Taught"]] = ()  # what teachers say of each, by their names


class Worker(nn.Module, ABC):
    """A head on the encoder's output; thrown away after pre-training."""

    start: float | None = 1.0  # the loss that theory predicts before learning, where it does

    @abstractmethod
    def loss(self, frames: Tensor, batch: Batch) -> Tensor:
        """Return a scalar in fp32.

        Parameters
        ----------
        frames
            The encoder's output, (batch, frames, dim), of the distorted input.
        batch
            What is known of the clean audio.
        """

    def measure(self, batch: Batch) -> None:
        """Gather the statistics that the worker needs, before training."""

    def asks(self, batch: Batch) -> bool:
        """Tell whether these excerpts hold anything that is asked; if not, the loss is `nothing`.

        That zero says nothing of how well the worker does.
        """
        return True

    def view(self, batch: Batch) -> Tensor | None:
        """Return further audio for the encoder, (rows, samples of an excerpt), or None.

        What the encoder makes of it comes back in `loss` as the last rows of `frames`.
        """
        return None

    def nothing(self, frames: Tensor) -> Tensor:
        """Return a zero whose gradient, zero too, reaches `frames` and every parameter."""
        total = frames.sum().float() * 0
        for parameter in self.parameters():
            total = total + parameter.sum() * 0
        return total
