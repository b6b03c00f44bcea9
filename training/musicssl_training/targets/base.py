"""Base classes of targets."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from musicssl.errors import ConfigError
from musicssl_training.targets.features import CleanAudio, FrameGrid, averaged


class Target(nn.Module, ABC):
    """A measurement of the clean audio, for a worker to predict from the encoder's frames.

    A module, so that filter banks (non-persistent buffers) follow the device; no parameters.
    """

    size: int  # values a step
    pool: int = 1  # encoder frames a step
    reach: float = 0.0  # seconds heard on each side of a step's centre

    @abstractmethod
    def forward(self, sound: CleanAudio) -> Tensor:
        """Return fp32 values, (batch, steps, size), with ``steps = encoder frames // pool``.

        The step `i` describes encoder frames ``i * pool`` to ``(i + 1) * pool - 1``; values of
        several target frames of one encoder frame stand side by side, or are averaged.
        """


class Pooled(Target):
    """The mean of a target over `pool` of its steps: a read-out that much rarer."""

    def __init__(self, grid: FrameGrid, target: Target, pool: int) -> None:
        super().__init__()
        if pool < 1:
            raise ConfigError(f"pool must be at least 1, got {pool}.")
        self.target, self.each = target, pool
        self.size, self.pool = target.size, target.pool * pool
        step = grid.stride * target.pool / grid.rate  # seconds
        self.reach = target.reach + (pool - 1) / 2 * step

    def forward(self, sound: CleanAudio) -> Tensor:
        return averaged(self.target(sound), self.each)
