"""Weights from how fast the workers learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from musicssl.errors import ConfigError
from musicssl_training.weighting.base import DEAD, SMALLEST, Weighting, WeightingConfig


@dataclass(frozen=True, kw_only=True)
class DwaConfig(WeightingConfig):
    """What is compared, and how sharply."""

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

    Equal until two windows are full. The source compares epochs; here, the last two windows.

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
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weigh(self, losses: Tensor, gram: Tensor | None) -> Tensor:
        self.history.copy_(torch.cat([self.history[1:], losses[None]]))
        self.steps += 1
        if self.steps < len(self.history):
            return torch.ones_like(losses)
        means = self.history.view(2, -1, self.count).mean(dim=1)
        rates = means[1] / means[0].clamp(min=SMALLEST)
        return self.count * (rates / self.config.temperature).softmax(dim=0)


@dataclass(frozen=True, kw_only=True)
class GradNormConfig(WeightingConfig):
    """How strongly and how quickly rates are evened out."""

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
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weigh(self, losses: Tensor, gram: Tensor | None) -> Tensor:
        assert gram is not None  # checked before
        losses = losses.clamp(min=SMALLEST)
        if self.steps < self.config.reference:
            self.steps += 1
            self.start += losses / self.config.reference
            return torch.ones_like(losses)
        weights = self.count * self.log_weights.softmax(dim=0)
        self._learn(weights * gram.diagonal().clamp(min=0).sqrt().to(losses), losses / self.start)
        return weights

    def _learn(self, norms: Tensor, left: Tensor) -> None:
        live = norms > DEAD * norms.max()
        count = live.sum().clamp(min=1)
        target = (
            norms.sum() / count * (left / ((left * live).sum() / count)) ** (self.config.asymmetry)
        )
        error = torch.where(live, (norms / target).log(), 0).clamp(-1, 1)
        self.log_weights.sub_(self.config.learning_rate * error)
        self.log_weights.sub_(self.log_weights.mean())


@dataclass(frozen=True, kw_only=True)
class FamoConfig(WeightingConfig):
    """How the logits are learnt, by Adam."""

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
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weigh(self, losses: Tensor, gram: Tensor | None) -> Tensor:
        losses = losses.clamp(min=SMALLEST)
        logs = losses.log()
        if self.steps > 0:
            self._learn(self.before - logs)
        self.before.copy_(logs)
        self.steps += 1
        weights = self.logits.softmax(dim=0) / losses
        return weights / weights.sum()

    def _learn(self, fall: Tensor) -> None:
        """Let Adam step along the gradient of ``sum(p * fall)``."""
        share = self.logits.softmax(dim=0)
        slope = share * (fall - (share * fall).sum()) + self.config.decay * self.logits
        first, second = self.config.betas
        self.momentum.lerp_(slope, 1 - first)
        self.square.lerp_(slope.square(), 1 - second)
        step = self.momentum / (1 - first**self.steps)
        size = (self.square / (1 - second**self.steps)).sqrt() + 1e-8
        self.logits.sub_(self.config.learning_rate * step / size)
