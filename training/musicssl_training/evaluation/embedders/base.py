"""The `Embedder` interface."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError
from musicssl_training.evaluation.datasets import Audio, Clip
from musicssl_training.evaluation.embedders.baselines import SAMPLE_RATE
from musicssl_training.evaluation.embedders.supervision import UNKNOWN

Vector = NDArray[np.float32]  # (dim,)
Frames = tuple[NDArray[np.float32], NDArray[np.float64]]  # (frames, dim), seconds (frames,)


class Embedder(ABC):
    """A map from audio to one vector per clip, and for some embedders to one per frame.

    Attributes
    ----------
    name
        Shown in tables.
    space
        Identifies the embedding space; the cache key.
    sample_rate
        Of the audio that `embed` expects, in Hz; 0 if it expects none and reads the clips itself.
    supervision
        What it learned from, as `supervision.supervision` describes it; "unknown" if not stated.
    """

    name: str
    space: str
    sample_rate: int = SAMPLE_RATE
    supervision: str = UNKNOWN

    @abstractmethod
    def embed(self, clips: Sequence[Clip], audio: Sequence[Audio]) -> list[Vector]:
        """Return one vector per clip, shape (dim,)."""

    def frames(self, clip: Clip, audio: Audio) -> Frames:
        """Return the frame vectors of a clip, and the times of the frame centers.

        Raises
        ------
        ConfigError
            If the embedder has no frames.
        """
        raise ConfigError(f"{self.name} has one vector per clip and no frames.")
