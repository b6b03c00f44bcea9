"""Gradient-based weights: multi-objective methods on the Gram matrix, without a memory."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from musicssl.errors import ConfigError, pick
from musicssl_training.linalg import svd
from musicssl_training.weighting.base import DEAD, SMALLEST, Weighting, WeightingConfig
from musicssl_training.weighting.generator import SavedGenerator
from musicssl_training.weighting.nnls import (
    NOISE,
    Array,
    coordinates,
    nearest_to_origin,
    non_negative,
)


class Balance(Weighting):
    """Base: workers whose gradient is zero are left out and get the others' mean weight."""

    needs_gram = True

    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        assert gram is not None  # checked before
        products = gram.double().cpu().numpy()
        products = (products + products.T) / 2
        norms = np.sqrt(products.diagonal().clip(min=0))
        some = norms > DEAD * norms.max()
        weights = np.ones(len(losses))
        if some.any():
            gradients = coordinates(products[np.ix_(some, some)])
            weights[some] = self.solve(gradients, losses.double().cpu().numpy()[some])
            weights[~some] = np.abs(weights[some]).mean()
        return torch.from_numpy(weights).to(losses)

    @abstractmethod
    def solve(self, gradients: Array, losses: Array) -> Array:
        """Return weights, shape (workers,), for gradients, shape (rank, workers), none zero."""


# what each gradient is divided by, from norms and losses
DIVISORS = {
    "none": lambda norms, losses: np.ones_like(norms),
    "l2": lambda norms, losses: norms,
    "loss": lambda norms, losses: losses,
    "loss+": lambda norms, losses: norms * losses,
}


@dataclass(frozen=True, kw_only=True)
class MgdaConfig(WeightingConfig):
    """Divisor of the gradients."""

    name: ClassVar[str] = "mgda"
    divisor: str = "none"  # or "l2" (their norm), "loss", "loss+" (both)

    def __post_init__(self) -> None:
        pick(DIVISORS, self.divisor, "weighting.divisor")


class Mgda(Balance):
    """The shares of the shortest vector in the gradients' convex hull: all losses fall [1]_ [2]_.

    A worker with a short gradient weighs the most, one that has finished included; "l2" judges
    by direction alone.

    References
    ----------
    .. [1] Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective
       optimization", 2012.
    .. [2] Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", 2018.
    """

    config: MgdaConfig

    def solve(self, gradients: Array, losses: Array) -> Array:
        norms = np.linalg.norm(gradients, axis=0)
        divisor = DIVISORS[self.config.divisor](norms, losses.clip(min=SMALLEST))
        weights: Array = nearest_to_origin(gradients / divisor) / divisor
        return weights


@dataclass(frozen=True, kw_only=True)
class PcGradConfig(WeightingConfig):
    """Seed of the random order."""

    name: ClassVar[str] = "pcgrad"
    seed: int = 0


class PcGrad(Balance):
    """The sum of all gradients, each without what opposes the others, in random order [1]_.

    References
    ----------
    .. [1] Yu et al., "Gradient Surgery for Multi-Task Learning", 2020.
    """

    def __init__(self, config: PcGradConfig, names: Sequence[str]) -> None:
        super().__init__(config, names)
        self.random = SavedGenerator(config.seed)

    def solve(self, gradients: Array, losses: Array) -> Array:
        products = gradients.T @ gradients
        rows = np.arange(len(products))
        with self.random.draw() as generator:
            orders = torch.rand(len(rows), len(rows), generator=generator).argsort().numpy()
        parts = np.eye(len(rows))  # row i: what is left of gradient i, in terms of all
        for others in orders.T:
            along = (parts * products[others]).sum(axis=1)
            opposed = (along < 0) & (others != rows)
            parts[rows, others] -= np.where(opposed, along / products[others, others], 0.0)
        weights: Array = parts.sum(axis=0)
        return weights


@dataclass(frozen=True, kw_only=True)
class CaGradConfig(WeightingConfig):
    """Radius around the mean gradient."""

    name: ClassVar[str] = "cagrad"
    radius: float = 0.5  # the source's c, in norms of the mean gradient

    def __post_init__(self) -> None:
        if not 0 <= self.radius < 1:
            raise ConfigError(f"weighting.radius must lie in [0, 1), got {self.radius}.")


class CaGrad(Balance):
    """The best for the worst worker within ``c |g0|`` of the mean gradient g0 [1]_.

    ``d = g0 + c |g0| gw / |gw|``, gw in the convex hull with the least
    ``gw.g0 + c |g0| |gw|``, divided by ``1 + c ** 2``. For a given length t of gw, the least
    ``gw.g0 + c |g0| (|gw| ** 2 / t + t) / 2`` is the point nearest to
    ``-t / (c |g0|) g0``, and as ``|gw| / t`` falls in t, a root search finds ``|gw| = t``.

    References
    ----------
    .. [1] Liu et al., "Conflict-Averse Gradient Descent for Multi-Task Learning", 2021.
    """

    config: CaGradConfig

    def solve(self, gradients: Array, losses: Array) -> Array:
        mean = gradients.mean(axis=1, keepdims=True)
        reach = self.config.radius * float(np.linalg.norm(mean))
        longest = float(np.linalg.norm(gradients, axis=0).max())
        plain = np.full(len(losses), 1 / len(losses))
        if reach <= NOISE * longest:
            return plain

        def excess(log_pull: float) -> float:
            pull = np.exp(log_pull)
            shares = nearest_to_origin(gradients + pull * mean)
            return float(np.linalg.norm(gradients @ shares) / (pull * reach)) - 1

        low, high = np.log(NOISE * longest / reach), np.log(2 * longest / reach)
        if excess(low) <= 0:  # some mixture of the gradients vanishes: nothing suits them all
            return plain
        pull = np.exp(brentq(excess, low, high, xtol=1e-9))
        shares = nearest_to_origin(gradients + pull * mean)
        mixed = plain + reach / float(np.linalg.norm(gradients @ shares)) * shares
        return mixed / (1 + self.config.radius**2)


@dataclass(frozen=True, kw_only=True)
class ImtlGConfig(WeightingConfig):
    """Settings of `ImtlG`: none of its own."""

    name: ClassVar[str] = "imtl_g"


class ImtlG(Balance):
    """Sum to a vector with the same part along each worker's unit gradient [1]_.

    With C the gradients' cosines, ``w |g| = C^-1 1`` (its pseudo-inverse where gradients are
    dependent, as in [2]_). Weights may be negative. The source scales them to sum 1, which turns
    the step uphill where they sum to less than 0; here it always goes downhill, and the part is
    1 where weights are not normalized.

    References
    ----------
    .. [1] Liu et al., "Towards Impartial Multi-task Learning", 2021.
    .. [2] Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024.
    """

    def solve(self, gradients: Array, losses: Array) -> Array:
        norms = np.linalg.norm(gradients, axis=0)
        inverse = np.linalg.pinv(gradients / norms)
        weights: Array = inverse @ inverse.sum(axis=0) / norms
        return weights


@dataclass(frozen=True, kw_only=True)
class NashMtlConfig(WeightingConfig):
    """Settings of `NashMtl`: none of its own."""

    name: ClassVar[str] = "nash_mtl"


class NashMtl(Balance):
    """The bargaining solution, positive w with ``M w = 1 / w`` for the Gram matrix M [1]_.

    It is the minimum of ``w' M w / 2 - sum(log(w))``, which is convex and self-concordant, so
    damped Newton steps reach it from anywhere (Nesterov and Nemirovskii, 1994); the source
    solves a sequence of approximations. Not normalized, the weighted gradients sum to a vector
    of norm ``sqrt(K)`` at every step.

    References
    ----------
    .. [1] Navon et al., "Multi-Task Learning as a Bargaining Game", 2022.
    """

    def solve(self, gradients: Array, losses: Array) -> Array:
        norms = np.linalg.norm(gradients, axis=0)
        units = gradients / norms
        products = units.T @ units + NOISE * np.eye(len(norms))  # opposed pairs stay bounded
        weights = np.ones(len(norms))
        for _ in range(200):
            slope = products @ weights - 1 / weights
            step = np.linalg.solve(products + np.diag(weights**-2), slope)
            size = np.sqrt(max(0.0, slope @ step))
            weights = weights - step / (1 + size)
            if size < 1e-9:
                break
        scaled: Array = weights / norms
        return scaled


@dataclass(frozen=True, kw_only=True)
class AlignedMtlConfig(WeightingConfig):
    """Settings of `AlignedMtl`: none of its own."""

    name: ClassVar[str] = "aligned_mtl"


class AlignedMtl(Balance):
    """Bring all principal components of the gradients to the length of the shortest [1]_.

    With eigenvalues L and eigenvectors V of the Gram matrix,
    ``w = sqrt(min(L)) V L^-1/2 V' 1 / K``. Weights may be negative.

    References
    ----------
    .. [1] Senushkin et al., "Independent Component Alignment for Multi-Task Learning", 2023.
    """

    def solve(self, gradients: Array, losses: Array) -> Array:
        _, lengths, axes = svd(gradients)
        weights: Array = axes.T @ (lengths.min() / lengths * axes.mean(axis=1))
        return weights


@dataclass(frozen=True, kw_only=True)
class UpGradConfig(WeightingConfig):
    """Settings of `UpGrad`: none of its own."""

    name: ClassVar[str] = "upgrad"


class UpGrad(Balance):
    """The mean of the gradients, each moved as little as needed to oppose no worker [1]_.

    Each is projected onto the cone of vectors with no negative product with any gradient: g plus
    the least-norm non-negative mixture of all, a non-negative least-squares problem.

    References
    ----------
    .. [1] Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", 2024.
    """

    def solve(self, gradients: Array, losses: Array) -> Array:
        norms = np.linalg.norm(gradients, axis=0)
        units = gradients / norms
        added = sum(
            norm * non_negative(units, -unit) for norm, unit in zip(norms, units.T, strict=True)
        )
        weights: Array = (1 + added / norms) / len(norms)
        return weights
