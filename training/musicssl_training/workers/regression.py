"""Regression of signal features: predict what was measured in the clean audio."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.errors import ConfigError
from musicssl_training.targets import TARGETS
from musicssl_training.targets.base import Pooled, Target
from musicssl_training.targets.features import CleanAudio, FrameGrid, averaged
from musicssl_training.targets.spectral import Context
from musicssl_training.workers.base import NO_EXTRAS, Batch, Extras, Worker, WorkerConfig
from musicssl_training.workers.heads import mlp
from musicssl_training.workers.statistics import RunningMoments, predicted_share, values_of

log = logging.getLogger(__name__)

STATISTICS = {"true", "pase"}
EDGES = {"mask", "keep"}
LIMIT = 6.0  # standard deviations, where targets are divided by these


@dataclass(frozen=True, kw_only=True)
class RegressionConfig(WorkerConfig):
    """Head and target of the worker that predicts the target of its name.

    ``statistics`` says what each dimension of the target is divided by: "true", its standard
    deviation; or "pase", the standard deviation over excerpts of its standard deviation within an
    excerpt. The latter is what PASE's released statistics hold [1]_; it is far smaller, differs
    between targets (a voiced flag has a variance of hundreds after it) and so is a hidden
    weighting.

    ``edges="mask"`` leaves out the steps whose target hears beyond the excerpt (by
    ``target.reach``); of an excerpt too short for any, those in the middle count. "keep" keeps
    all.

    References
    ----------
    .. [1] Pascual et al., "Learning Problem-Agnostic Speech Representations from Multiple
       Self-supervised Tasks", 2019.
    """

    hidden: int = 256  # units
    context: int = 1  # steps of the target side by side, an odd number (PASE+'s r)
    pool: int = 1  # frames and target are averaged over so many steps
    statistics: str = "true"  # or "pase"
    edges: str = "mask"  # or "keep"

    def __post_init__(self) -> None:
        for key, known in (("statistics", STATISTICS), ("edges", EDGES)):
            if getattr(self, key) not in known:
                raise ConfigError(
                    f"workers.{self.name}.{key} must be one of {sorted(known)}, "
                    f"got {getattr(self, key)!r}."
                )
        if self.pool < 1 or self.context < 1 or self.context % 2 == 0:
            raise ConfigError(
                f"workers.{self.name}: pool must be at least 1 and context odd and positive, got "
                f"{self.pool} and {self.context}."
            )


class Regression(Worker):
    """Mean squared error of a normalised target, predicted by a perceptron with a hidden layer.

    The first prediction is the mean, so that the first loss is 1. See `RegressionConfig` for how
    targets are normalized; those divided by their standard deviation are held within ± 6.
    """

    config: RegressionConfig
    r2: Tensor  # of the last loss: the share of the batch's variance that was predicted; or NaN

    def __init__(
        self, config: RegressionConfig, dim: int, grid: FrameGrid, target: Target | None = None
    ) -> None:
        super().__init__(config, dim, grid)
        self.target = target or make_target(config, grid)
        self.head = mlp(dim, config.hidden, self.target.size, zero_init=True)
        self.values = RunningMoments(self.target.size)
        self.deviations: RunningMoments | None = None
        if config.statistics == "pase":
            self.expected_initial_loss = None
            self.deviations = RunningMoments(self.target.size)
        self.register_buffer("r2", torch.tensor(float("nan")), persistent=False)
        self._warned = False

    def measure(self, batch: Batch) -> None:
        """Add the targets of these excerpts to the statistics, over all processes."""
        values = values_of(self.target, batch.sound)
        values = values[:, self.inside(batch.sound, values.shape[1])]
        self.values.add(values.flatten(0, 1))
        if self.deviations is not None:
            self.deviations.add(values.double().std(dim=1))

    @property
    def targets_vary(self) -> bool:
        return self.values.vary

    def inside(self, sound: CleanAudio, steps: int) -> slice:
        """Return the steps whose target hears nothing but the excerpt."""
        if self.config.edges == "keep":
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

    def normalized(self, sound: CleanAudio) -> Tensor:
        """Return the target, (batch, steps, size), each dimension normalized."""
        values = values_of(self.target, sound)
        if self.deviations is None:
            return self.values.normalize(values).clamp(-LIMIT, LIMIT)
        return (values - self.values.mean.to(values)) / self.deviations.deviation.to(values)

    def metrics(self) -> dict[str, float]:
        return {"r2": self.r2.item()}

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        target, pool = self.normalized(batch.sound), self.target.pool
        steps = self.inside(batch.sound, min(frames.shape[1] // pool, target.shape[1]))
        target = target[:, steps]
        heard = averaged(frames[:, steps.start * pool : steps.stop * pool], pool)
        loss = F.mse_loss(self.head(heard).float(), target)
        self.r2 = predicted_share(loss, target)
        return loss


def make_target(config: RegressionConfig, grid: FrameGrid) -> Target:
    """Return the target of the worker's name, averaged over steps and with its neighbours."""
    target = TARGETS[config.name](grid)
    if config.pool > 1:
        target = Pooled(grid, target, config.pool)
    if config.context > 1:
        target = Context(grid, target, config.context)
    return target
