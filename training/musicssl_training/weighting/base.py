"""Base class of the weightings: losses and gradients in, weights out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from musicssl.errors import ConfigError

SMALLEST = 1e-4  # what a loss counts at least where it is divided by or its logarithm is taken
DEAD = 1e-6  # a gradient this much shorter than the longest has no direction left


@dataclass(frozen=True, kw_only=True)
class WeightingConfig:
    """Base of the weightings' configurations."""

    name: ClassVar[str]  # key in WEIGHTINGS and in a run's settings
    normalize: bool = True  # scale the weights to a mean size of 1


class Weighting(nn.Module, ABC):
    """Losses in, weights out; never touches the optimiser or the encoder.

    Weights act on the gradient that enters the encoder's output; the workers' own heads always
    learn with weight 1. Methods whose source weighs gradients of the encoder's parameters are
    approximated there (Sener and Koltun, 2018, call it the upper bound). What changes from step
    to step lives in buffers, so that it is saved.
    """

    needs_gram: ClassVar[bool] = False  # of the losses' gradients at the encoder's output

    def __init__(self, config: WeightingConfig, names: Sequence[str]) -> None:
        super().__init__()
        if not names:
            raise ConfigError("weighting needs at least one worker.")
        self.config = config
        self.names = tuple(names)
        self.count = len(names)  # of workers

    def forward(
        self, losses: Tensor, gram: Tensor | None = None, live: Tensor | None = None
    ) -> Tensor:
        """Return weights for this step, called exactly once a step.

        Parameters
        ----------
        losses
            Shape (workers,), fp32, detached.
        gram
            Shape (workers, workers): scalar products of the losses' gradients at the encoder's
            output, where `needs_gram` is set.
        live
            Shape (workers,), bool: which workers asked anything in this batch; by default all.
            The others take no part: what is remembered of them stays as it is.

        Returns
        -------
        Tensor
            Shape (workers,). Absolute values, which for most methods are the values, have a mean
            of 1 over the live workers if the configuration says ``normalize``; the others get the
            mean. All are NaN, and nothing is remembered, if a loss or gradient of a live worker is
            not finite: the step is to be left out.

        Raises
        ------
        ConfigError
            If shapes do not fit or the Gram matrix is missing.
        """
        self._check(losses, gram)
        if live is None:
            live = torch.ones_like(losses, dtype=torch.bool)
        live = live.to(losses.device)
        weights = torch.ones_like(losses)
        if not live.any():
            return weights
        some = losses[live], None if gram is None else gram[live][:, live]
        if not all(x.isfinite().all() for x in some if x is not None):
            return torch.full_like(losses, float("nan"))
        with torch.no_grad():
            found = self.weigh(*some, live)
        size = found.abs().mean()
        if self.config.normalize:
            found = torch.where(size > 0, found / size, torch.ones_like(found))
            size = torch.ones_like(size)
        weights.fill_(float(size))
        weights[live] = found
        return weights

    @abstractmethod
    def weigh(self, losses: Tensor, gram: Tensor | None, live: Tensor) -> Tensor:
        """Return the method's own weights, without gradient.

        Parameters
        ----------
        losses, gram
            Of the live workers alone, finite.
        live
            Shape (workers,), bool: which these are, for methods with a memory.
        """

    def _check(self, losses: Tensor, gram: Tensor | None) -> None:
        if losses.shape != (self.count,):
            raise ConfigError(
                f"losses have shape {tuple(losses.shape)}; expected ({self.count},), one a worker."
            )
        if gram is None:
            if self.needs_gram:
                raise ConfigError(
                    f"weighting {self.config.name!r} needs the Gram matrix of the workers' "
                    "gradients; see output_gradients and output_gram."
                )
        elif gram.shape != (self.count, self.count):
            raise ConfigError(
                f"gram has shape {tuple(gram.shape)}; expected ({self.count}, {self.count})."
            )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take one count of steps, as it was saved once, for that of every worker."""
        steps, saved = getattr(self, "steps", None), state_dict.get(f"{prefix}steps")
        if steps is not None and saved is not None and saved.ndim == 0:
            state_dict[f"{prefix}steps"] = saved.expand_as(steps).clone()
        super()._load_from_state_dict(state_dict, prefix, *rest)
