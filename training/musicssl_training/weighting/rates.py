"""Rate-based weights: from how fast the workers learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from musicssl.errors import ConfigError
from musicssl_training.weighting.base import DEAD, SMALLEST, Weighting, WeightingConfig


@dataclass(frozen=True, kw_only=True)
class DwaConfig(WeightingConfig):
    """Window and temperature."""

    name: ClassVar[str] = "dwa"
    temperature: float = 2.0
    window: int = 25  # steps in each of the two means

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.window < 1:
            raise ConfigError(
                "weighting.temperature must be positive and weighting.window at least 1, got "
                f"{self.temperature} and {self.window}."
            )


class Dwa(Weighting):
    """``w = K softmax(r / T)``, r a loss's mean over that of the steps before [1]_.

    A worker weighs 1 until two windows of the steps in which it is live are full. The source
    compares epochs; here, the last two windows.

    References
    ----------
    .. [1] Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", 2019.
    """

    config: DwaConfig
    history: Tensor
    steps: Tensor

    def __init__(self, config: DwaConfig, names: Sequence[str]) -> None:
        super().__init__(config, names)
        self.register_buffer("history", torch.zeros(2 * config.window, self.count))
        self.register_buffer("steps", torch.zeros(self.count, dtype=torch.int64))

    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        self.history[:, live] = torch.cat([self.history[1:, live], losses[None]])
        self.steps[live] += 1
        full = self.steps[live] >= len(self.history)
        means = self.history[:, live].view(2, -1, len(losses)).mean(dim=1)
        rates = means[1] / means[0].clamp(min=SMALLEST)
        weights = torch.ones_like(losses)
        weights[full] = full.sum() * (rates[full] / self.config.temperature).softmax(dim=0)
        return weights


@dataclass(frozen=True, kw_only=True)
class GradNormConfig(WeightingConfig):
    """Strength and speed with which rates are evened out."""

    name: ClassVar[str] = "gradnorm"
    asymmetry: float = 1.5  # the source's alpha: 0 evens out the gradients' norms alone
    learning_rate: float = 0.025  # largest relative change of a weight in a step
    reference: int = 20  # first steps, equally weighted, whose mean losses are the start

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.reference < 1:
            raise ConfigError(
                "weighting.learning_rate must be positive and weighting.reference at least 1, "
                f"got {self.learning_rate} and {self.reference}."
            )


class GradNorm(Weighting):
    """Bring each weighted gradient's norm to ``mean(norms) * r ** alpha`` [1]_.

    r is what is left of a loss since the start, ``L / L(0)``, over the workers' mean: who learnt
    less gets more. The norms are taken at the encoder's output, the source's "last shared
    layer". The source descends on the distance of norm and target in the weights; here their
    logarithms move by the logarithm of target over norm, held within ± 1: the same fixed point,
    reached alike by weights of 0.001 and of 100. Workers without a gradient keep their weight.

    References
    ----------
    .. [1] Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
       Multitask Networks", 2018.
    """

    needs_gram = True
    config: GradNormConfig
    start: Tensor
    log_weights: Tensor
    steps: Tensor

    def __init__(self, config: GradNormConfig, names: Sequence[str]) -> None:
        super().__init__(config, names)
        self.register_buffer("start", torch.zeros(self.count))
        self.register_buffer("log_weights", torch.zeros(self.count))
        self.register_buffer("steps", torch.zeros(self.count, dtype=torch.int64))

    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        assert gram is not None  # checked before
        losses = losses.clamp(min=SMALLEST)
        new = self.steps[live] < self.config.reference
        self.steps[live] += new.long()
        self.start[live] += torch.where(new, losses / self.config.reference, 0.0)
        weights = torch.ones_like(losses)
        weights[~new] = (~new).sum() * self.log_weights[live][~new].softmax(dim=0)
        norms = weights * gram.diagonal().clamp(min=0).sqrt().to(losses)
        self._learn(norms, losses / self.start[live].clamp(min=SMALLEST), live, new)
        return weights

    def _learn(self, norms: Tensor, left: Tensor, live: Tensor, new: Tensor) -> None:
        """Move the weights of the live workers, but for those that are new or have no gradient."""
        old = (norms > DEAD * norms.max()) & ~new
        count = old.sum().clamp(min=1)
        mean = (norms * old).sum() / count
        target = mean * (left / ((left * old).sum() / count)) ** self.config.asymmetry
        error = torch.where(old, (norms / target).log(), 0).clamp(-1, 1)
        error = error - error.mean()  # their sum stays what it was
        self.log_weights[live] -= self.config.learning_rate * torch.where(new, 0.0, error)


@dataclass(frozen=True, kw_only=True)
class FamoConfig(WeightingConfig):
    """Settings of the Adam that learns the logits."""

    name: ClassVar[str] = "famo"
    learning_rate: float = 0.025
    decay: float = 1e-3  # pulls the logits back to equal
    betas: tuple[float, ...] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.decay < 0:
            raise ConfigError(
                "weighting.learning_rate must be positive and weighting.decay 0 or more, got "
                f"{self.learning_rate} and {self.decay}."
            )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"weighting.betas must be two from [0, 1), got {[*self.betas]}.")


class Famo(Weighting):
    """``w = c p / L`` with ``p = softmax(x)``, x falling for those whose log loss fell [1]_.

    c makes the weights sum to 1. The source measures the fall on the batch just learnt from,
    with a second forward pass; here it is the fall from one call to the next, at no cost but
    with the noise of two batches.

    References
    ----------
    .. [1] Liu et al., "FAMO: Fast Adaptive Multitask Optimization", 2023.
    """

    config: FamoConfig
    logits: Tensor
    momentum: Tensor
    square: Tensor
    before: Tensor
    steps: Tensor

    def __init__(self, config: FamoConfig, names: Sequence[str]) -> None:
        super().__init__(config, names)
        for name in ("logits", "momentum", "square", "before"):
            self.register_buffer(name, torch.zeros(self.count))
        self.register_buffer("steps", torch.zeros(self.count, dtype=torch.int64))

    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        losses = losses.clamp(min=SMALLEST)
        logs = losses.log()
        known = self.steps[live] > 0
        if known.any():
            moved = live.clone()
            moved[live] = known
            self._learn((self.before[live] - logs)[known], moved)
        self.before[live] = logs
        self.steps[live] += 1
        weights = self.logits[live].softmax(dim=0) / losses
        return weights / weights.sum()

    def _learn(self, fall: Tensor, moved: Tensor) -> None:
        """Let Adam step along the gradient of ``sum(p * fall)``."""
        share = self.logits[moved].softmax(dim=0)
        slope = share * (fall - (share * fall).sum()) + self.config.decay * self.logits[moved]
        first, second = self.config.betas
        steps = self.steps[moved]
        self.momentum[moved] = self.momentum[moved].lerp(slope, 1 - first)
        self.square[moved] = self.square[moved].lerp(slope.square(), 1 - second)
        step = self.momentum[moved] / (1 - first**steps)
        size = (self.square[moved] / (1 - second**steps)).sqrt() + 1e-8
        self.logits[moved] -= self.config.learning_rate * step / size
