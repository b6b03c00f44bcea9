"""What every weighting promises."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from musicssl.errors import ConfigError, MusicSSLError

SMALLEST = 1e-4  # what a loss counts at least where it is divided by or its logarithm is taken
DEAD = 1e-6  # a gradient this much shorter than the longest has no direction left


@dataclass(frozen=True, kw_only=True)
class WeightingConfig:
    """Base of the weightings' configurations."""

    name: ClassVar[str]  # key in WEIGHTINGS and in a run's settings
    normalise: bool = True  # scale the weights to a mean size of 1


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

    def forward(self, losses: Tensor, gram: Tensor | None = None) -> Tensor:
        """Return weights for this step, called exactly once a step.

        Parameters
        ----------
        losses
            Shape (workers,), fp32, detached.
        gram
            Shape (workers, workers): scalar products of the losses' gradients at the encoder's
            output, where `needs_gram` is set.

        Returns
        -------
        Tensor
            Shape (workers,), finite. Their absolute values, which for most methods are the
            values, have a mean of 1 if the configuration says ``normalise``.

        Raises
        ------
        ConfigError
            If shapes do not fit or the Gram matrix is missing.
        MusicSSLError
            If a loss or a gradient is not finite.
        """
        self._check(losses, gram)
        with torch.no_grad():
            weights = self.weigh(losses, gram)
            if not self.config.normalise:
                return weights
            size = weights.abs().mean()
            return torch.where(size > 0, weights / size, torch.ones_like(weights))

    @abstractmethod
    def weigh(self, losses: Tensor, gram: Tensor | None) -> Tensor:
        """Return the method's own weights, without gradient; losses and gram are finite."""

    def _check(self, losses: Tensor, gram: Tensor | None) -> None:
        if losses.shape != (self.count,):
            raise ConfigError(
                f"losses have shape {tuple(losses.shape)}; expected ({self.count},), one a worker."
            )
        self._finite(losses, "loss")
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
        else:
            self._finite(gram.sum(dim=1), "gradient")

    def _finite(self, values: Tensor, what: str) -> None:
        finite = values.isfinite()
        if not finite.all():
            wrong = [n for n, ok in zip(self.names, finite.tolist(), strict=True) if not ok]
            raise MusicSSLError(
                f"{what} of {', '.join(wrong)} is not finite, so nothing can be weighed; "
                "leave this step out."
            )
