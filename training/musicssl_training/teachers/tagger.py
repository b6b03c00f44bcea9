"""Teachers that hear patches of a recording and give features of each, on the way to tags."""

import itertools
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from musicssl_training.teachers.base import Teacher
from musicssl_training.teachers.pieces import pieces

BATCH = 4  # patches; more leave the processor's cache


class Tagger(Teacher):
    """A network of patches, side by side or overlapping; a last one cut short is not heard.

    Attributes
    ----------
    network
        Spectra to features, (batch, size), and logits, (batch, tags).
    log_mel
        Samples, (batch, `samples`), to spectra.
    """

    samples: ClassVar[int]  # of a patch
    step: ClassVar[int]  # samples from one to the next
    around: ClassVar[int] = 0  # samples of silence on both sides of the recording
    network: nn.Module
    log_mel: nn.Module

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for features, _ in self.hear(blocks):
            yield features

    def hear(
        self, blocks: Iterable[NDArray[np.float32]]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield features and logits of some patches at a time."""
        patches = pieces(blocks, self.samples, self.step, self.around, self.around)
        while some := list(itertools.islice(patches, BATCH)):
            with torch.inference_mode():
                features, logits = self.network(self.log_mel(torch.from_numpy(np.stack(some))))
            yield features.numpy(), logits.numpy()
