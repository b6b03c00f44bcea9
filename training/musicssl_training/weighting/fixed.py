"""Fixed and random weights, which do not depend on how training goes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from musicssl.errors import ConfigError, nearest
from musicssl_training.weighting.base import Weighting, WeightingConfig
from musicssl_training.weighting.generator import SavedGenerator


@dataclass(frozen=True, kw_only=True)
class EqualConfig(WeightingConfig):
    """Settings of `Equal`: none of its own."""

    name: ClassVar[str] = "equal"


class Equal(Weighting):
    """Weight 1 for every worker: the gradient of the losses' sum."""

    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        return torch.ones_like(losses)


@dataclass(frozen=True, kw_only=True)
class StaticConfig(WeightingConfig):
    """Weights by worker."""

    name: ClassVar[str] = "static"
    workers: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()  # one for each of `workers`
    others: float = 1.0  # of every worker that is not named

    def __post_init__(self) -> None:
        if len(self.workers) != len(self.weights):
            raise ConfigError(
                f"weighting.weights must be one a worker, got {len(self.weights)} for "
                f"{len(self.workers)} workers."
            )
        if len({*self.workers}) < len(self.workers):
            raise ConfigError(f"weighting.workers names one twice: {', '.join(self.workers)}.")
        if not all(math.isfinite(w) and w >= 0 for w in (*self.weights, self.others)):
            raise ConfigError(
                f"weighting.weights must be 0 or more, got {[*self.weights]} and "
                f"{self.others} for the others."
            )


class Static(Weighting):
    """The weights that the configuration gives."""

    given: Tensor

    def __init__(self, config: StaticConfig, names: Sequence[str]) -> None:
        super().__init__(config, names)
        weights = dict.fromkeys(self.names, config.others)
        for worker, weight in zip(config.workers, config.weights, strict=True):
            if worker not in weights:
                raise ConfigError(
                    f"weighting.workers: the run has no worker {worker!r}."
                    f"{nearest(worker, weights)}"
                )
            weights[worker] = weight
        if not any(weights.values()):
            raise ConfigError("weighting.weights are all 0, so the encoder would not learn.")
        self.register_buffer("given", torch.tensor([*weights.values()]), persistent=False)

    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        return self.given.to(losses)[live]


@dataclass(frozen=True, kw_only=True)
class RlwConfig(WeightingConfig):
    """Seed of the random weights."""

    name: ClassVar[str] = "rlw"
    seed: int = 0


class Rlw(Weighting):
    """Random weights: ``softmax(x)``, x normal with variance 1, drawn anew every step [1]_.

    References
    ----------
    .. [1] Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for
       Multi-Task Learning", 2022.
    """

    def __init__(self, config: RlwConfig, names: Sequence[str]) -> None:
        super().__init__(config, names)
        self.random = SavedGenerator(config.seed)

    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        with self.random.draw() as generator:
            logits = torch.randn(self.count, generator=generator)
        return logits.to(losses)[live].softmax(dim=0)
