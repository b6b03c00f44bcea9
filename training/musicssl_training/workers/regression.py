"""Predict what was measured in the clean audio."""

import logging

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.errors import ConfigError
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, averaged
from musicssl_training.workers.base import Batch, Worker
from musicssl_training.workers.heads import mlp
from musicssl_training.workers.statistics import RunningMoments, values_of

log = logging.getLogger(__name__)

STATISTICS = {"true", "pase"}
EDGES = {"mask", "keep"}
LIMIT = 6.0  # standard deviations


class Regression(Worker):
    """Mean squared error of a normalised target, predicted by a perceptron with a hidden layer.

    The first prediction is the mean, so that the first loss is 1.

    Parameters
    ----------
    dim
        Values a frame of the encoder.
    target
        What is predicted, from the encoder's frames averaged over ``target.pool``.
    hidden
        Units of the hidden layer.
    statistics
        What a target dimension is divided by: "true", its standard deviation; or "pase", the
        standard deviation over excerpts of its standard deviation within an excerpt. The latter
        is what PASE's released statistics hold [1]_; it is far smaller, differs between targets
        (a voiced flag has a variance of about 90 after it) and so is a hidden weighting.
    edges
        "mask" leaves out the steps whose target hears beyond the excerpt (by ``target.reach``);
        of an excerpt too short for any, those in the middle count. "keep" keeps all.

    Raises
    ------
    ConfigError
        For other `statistics` or `edges`.

    References
    ----------
    .. [1] Pascual et al., "Learning Problem-Agnostic Speech Representations from Multiple
       Self-supervised Tasks", 2019.
    """

    r2: Tensor  # of the last loss: the share of the batch's variance that was predicted

    def __init__(
        self,
        dim: int,
        target: Target,
        *,
        hidden: int = 256,
        statistics: str = "true",
        edges: str = "mask",
    ) -> None:
        super().__init__()
        for what, given, known in (
            ("statistics", statistics, STATISTICS),
            ("edges", edges, EDGES),
        ):
            if given not in known:
                raise ConfigError(f"{what} must be one of {sorted(known)}, got {given!r}.")
        self.start = 1.0 if statistics == "true" else None
        self.target, self.edges = target, edges
        self.head = mlp(dim, hidden, target.size, silent=True)
        self.values = RunningMoments(target.size)
        self.deviations = RunningMoments(target.size) if statistics == "pase" else None
        self.register_buffer("r2", torch.tensor(float("nan")), persistent=False)
        self._warned = False

    def measure(self, batch: Batch) -> None:
        """Add the targets of these excerpts to the statistics, over all processes."""
        values = values_of(self.target, batch.sound)
        values = values[:, self.inside(batch.sound, values.shape[1])]
        self.values.add(values.flatten(0, 1))
        if self.deviations is not None:
            self.deviations.add(values.double().std(dim=1))

    def inside(self, sound: CleanAudio, steps: int) -> slice:
        """Return the steps whose target hears nothing but the excerpt."""
        if self.edges == "keep":
            return slice(0, steps)
        grid, pool = sound.grid, self.target.pool
        seconds = sound.audio.shape[1] / grid.sample_rate
        step = grid.hop * grid.stride / grid.sample_rate
        centres = [(i * pool + (pool - 1) / 2) * step for i in range(steps)]
        beyond = [max(self.target.reach - min(c, seconds - c), 0.0) for c in centres]
        least = min(beyond)
        if least > 0 and not self._warned:
            self._warned = True
            log.warning(
                "%s hears %.2f s to each side, excerpts last %.2f s: only their middle counts",
                type(self.target).__name__,
                self.target.reach,
                seconds,
            )
        kept = [i for i, outside in enumerate(beyond) if outside <= least + 1e-9]
        return slice(kept[0], kept[-1] + 1)

    def normalised(self, sound: CleanAudio) -> Tensor:
        """Return the target, (batch, steps, size), each dimension normalised, within ± 6."""
        values = values_of(self.target, sound)
        scale = self.values if self.deviations is None else self.deviations
        return ((values - self.values.mean.to(values)) / scale.deviation.to(values)).clamp(
            -LIMIT, LIMIT
        )

    def loss(self, frames: Tensor, batch: Batch) -> Tensor:
        target, pool = self.normalised(batch.sound), self.target.pool
        steps = self.inside(batch.sound, min(frames.shape[1] // pool, target.shape[1]))
        target = target[:, steps]
        heard = averaged(frames[:, steps.start * pool : steps.stop * pool], pool)
        loss = F.mse_loss(self.head(heard).float(), target)
        with torch.no_grad():
            around = target - target.mean(dim=(0, 1))
            self.r2 = 1 - loss / around.square().mean().clamp(min=1e-6)
        return loss
