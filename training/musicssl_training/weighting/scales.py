"""Loss-based weights: from how large the losses are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from musicssl.errors import ConfigError
from musicssl_training.weighting.base import SMALLEST, Weighting, WeightingConfig


@dataclass(frozen=True, kw_only=True)
class LogConfig(WeightingConfig):
    """Settings of `Log`: none of its own."""

    name: ClassVar[str] = "log"


class Log(Weighting):
    """``w = 1 / L``: the gradient of the sum of the losses' logarithms, whatever their scale."""

    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        return 1 / losses.clamp(min=SMALLEST)


@dataclass(frozen=True, kw_only=True)
class UncertaintyConfig(WeightingConfig):
    """Learning rate and floor of the uncertainties."""

    name: ClassVar[str] = "uncertainty"
    learning_rate: float = 0.025
    floor: float = 0.1  # a loss below it gains no more weight: ``w <= 1 / floor``

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.floor <= 0:
            raise ConfigError(
                "weighting.learning_rate and weighting.floor must be positive, got "
                f"{self.learning_rate} and {self.floor}."
            )


class Uncertainty(Weighting):
    """``w = exp(-s)``, s learnt by descending on ``exp(-s) L / 2 + s / 2`` [1]_.

    Its slope in s, ``(1 - exp(-s) L) / 2``, vanishes at ``exp(-s) = 1 / L``, so this is `Log`
    with a memory of ``2 / learning_rate`` steps. Without a floor under s the worker that is
    learnt most easily would weigh the most. Slopes are held within ± 1/2, so that a loss of 1000
    is met in hundreds of small steps and not in one leap.

    References
    ----------
    .. [1] Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for
       Scene Geometry and Semantics", 2018.
    """

    config: UncertaintyConfig
    log_variance: Tensor

    def __init__(self, config: UncertaintyConfig, names: Sequence[str]) -> None:
        super().__init__(config, names)
        start = max(0.0, math.log(config.floor))
        self.register_buffer("log_variance", torch.full((self.count,), start))

    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        before = self.log_variance[live]
        weights = (-before).exp()
        slope = (0.5 - 0.5 * weights * losses).clamp(-0.5, 0.5)
        after = before - self.config.learning_rate * slope
        self.log_variance[live] = after.clamp(min=math.log(self.config.floor))
        return weights


@dataclass(frozen=True, kw_only=True)
class StchConfig(WeightingConfig):
    """Length of the warm-up, and smoothness of the maximum."""

    name: ClassVar[str] = "stch"
    smoothness: float = 1.0  # the source's mu: towards 0 only the worst worker counts
    warm_up: int = 500  # steps weighted as by `Log`
    average: int = 100  # of them, the last: their mean losses are the nadir

    def __post_init__(self) -> None:
        if self.smoothness <= 0:
            raise ConfigError(f"weighting.smoothness must be positive, got {self.smoothness}.")
        if not 0 < self.average <= self.warm_up:
            raise ConfigError(
                "weighting.average must lie between 1 and weighting.warm_up, got "
                f"{self.average} and {self.warm_up}."
            )


class Stch(Weighting):
    """``w = K softmax(log(L / nadir) / mu) / L``: a smooth maximum of log losses [1]_.

    The gradient of ``K mu log(sum(exp(log(L / nadir) / mu)))``. At ``mu = 1`` the weights are
    ``1 / nadir`` up to a common factor; below, workers that fell behind gain. The warm-up of each
    worker lasts as many steps in which it is live.

    References
    ----------
    .. [1] Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", 2024.
    """

    config: StchConfig
    nadir: Tensor
    steps: Tensor

    def __init__(self, config: StchConfig, names: Sequence[str]) -> None:
        super().__init__(config, names)
        self.register_buffer("nadir", torch.zeros(self.count))
        self.register_buffer("steps", torch.zeros(self.count, dtype=torch.int64))

    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        losses = losses.clamp(min=SMALLEST)
        done, warm_up = self.steps[live], self.config.warm_up
        warm = done >= warm_up
        late = ~warm & (done >= warm_up - self.config.average)
        self.nadir[live] += torch.where(late, losses / self.config.average, 0.0)
        self.steps[live] += (~warm).long()
        weights = 1 / losses
        behind = (losses / self.nadir[live]).log() / self.config.smoothness
        weights[warm] *= warm.sum() * behind[warm].softmax(dim=0)
        return weights
