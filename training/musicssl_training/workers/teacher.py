"""Distillation: predict what a teacher, a model of somebody else's, says of the clean sound."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from musicssl.checkpoint.bundled import bundled_models
from musicssl.errors import ConfigError
from musicssl_training.data.facts import Facts
from musicssl_training.data.teaching import Lessons, Taught
from musicssl_training.distributed import mean_over_all
from musicssl_training.targets.features import FrameGrid
from musicssl_training.teachers import OWN, TEACHERS
from musicssl_training.workers.base import NO_EXTRAS, Batch, Extras, Worker, WorkerConfig
from musicssl_training.workers.heads import mlp, pooled
from musicssl_training.workers.statistics import RunningMoments, predicted_share

PREFIX = "teacher:"  # of the workers' names
LIMIT = 6.0  # standard deviations
FAINT = 1e-3  # of the mean variance of directions


@dataclass(frozen=True)
class Lesson:
    """What a worker must know of a teacher before anything is asked."""

    facts: Facts
    mean: NDArray[np.float64]  # (size,)
    covariance: NDArray[np.float64]  # (size, size)


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(WorkerConfig):
    """Size of the head; the name is ``teacher:`` and the teacher's."""

    hidden: int = 256  # units
    # 0: every value counts alike, so mostly what many of them share; 1: every direction does
    whiten: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.whiten <= 1:
            raise ConfigError(f"workers.{self.name}.whiten must be 0 to 1, got {self.whiten}.")


class Distillation(Worker):
    """Mean squared error of a teacher's normalised values, by a perceptron or a linear map.

    Values of patches and clips are predicted from mean and standard deviation of the frames that
    they span, values of frames from the encoder's nearest frame, of which several share the mean.
    With `whiten` the values are decorrelated before, wholly or in part (ZCA). The first prediction
    is the mean over the packs, so that the first loss is about 1. Excerpts of which nothing is
    known carry no loss.

    Parameters
    ----------
    config, dim, grid
        As for every worker.
    lesson
        The teacher, and the moments of its values.
    """

    config: DistillationConfig
    r2: Tensor  # of the last loss: the share of the batch's variance that was predicted; or NaN

    def __init__(
        self, config: DistillationConfig, dim: int, grid: FrameGrid, lesson: Lesson
    ) -> None:
        super().__init__(config, dim, grid)
        facts = lesson.facts
        self.teacher, self.kind = facts.name, facts.kind
        inputs = dim if self.kind == "frames" else 2 * dim
        self.head = mlp(inputs, config.hidden, facts.size, zero_init=True)
        self.values = RunningMoments(facts.size)
        self.values.seen.fill_(2)  # so that the deviations count
        self.values.mean.copy_(torch.from_numpy(lesson.mean))
        self.values.spread.copy_(torch.from_numpy(2 * lesson.covariance.diagonal()))
        self.whitening: Tensor | None
        self.register_buffer("whitening", self.whitening_of(lesson), persistent=False)
        self.register_buffer("r2", torch.tensor(float("nan")), persistent=False)

    @property
    def targets_vary(self) -> bool:
        return self.values.vary

    def asks(self, batch: Batch, extras: Extras = NO_EXTRAS) -> bool:
        return bool(self.known(batch))

    def known(self, batch: Batch) -> list[tuple[int, Taught]]:
        """Return the rows of which the teacher's values are known, and these."""
        return [
            (row, taught[self.teacher])
            for row, taught in enumerate(batch.taught)
            if self.teacher in taught
        ]

    def metrics(self) -> dict[str, float]:
        return {"r2": self.r2.item()}

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        known = self.known(batch)
        if not known:
            self.r2.fill_(float("nan"))
            return mean_over_all(self.zero_loss(frames), frames.new_zeros(()))
        rows = np.concatenate([np.full(len(one.times), row) for row, one in known])
        times = np.concatenate([one.times for _, one in known])
        values = torch.from_numpy(np.concatenate([one.values for _, one in known]))
        values = self.normalized(values.to(frames.device))
        if self.kind == "frames":
            heard, values = self.nearest(frames, rows, times, values)
        else:
            heard = self.spanned(frames, rows, times, known[0][1].window)
        target = values.clamp(-LIMIT, LIMIT)
        wrong = F.mse_loss(self.head(heard).float(), target, reduction="none")
        self.r2 = predicted_share(wrong.mean(), target)
        return mean_over_all(wrong.sum(), wrong.new_full((), wrong.numel()))

    def whitening_of(self, lesson: Lesson) -> Tensor | None:
        """Return what normalised values are multiplied by, if they are to be decorrelated."""
        if not self.config.whiten:
            return None
        deviation = self.values.deviation.numpy()
        return decorrelation(lesson.covariance / np.outer(deviation, deviation), self.config.whiten)

    def normalized(self, values: Tensor) -> Tensor:
        """Return values, (steps, size), as they are to be predicted; in fp32 like all targets."""
        values = self.values.normalize(values)
        if self.whitening is None:
            return values
        with torch.autocast(values.device.type, enabled=False):
            return values @ self.whitening

    def spanned(
        self, frames: Tensor, rows: NDArray[np.int64], times: NDArray[np.float64], window: float
    ) -> Tensor:
        """Return mean and deviation of the frames centred in each patch, (patches, 2 * dim)."""
        count = min(max(1, int(window / self.hop_seconds + 1e-6)), frames.shape[1])
        first = np.ceil(times / self.hop_seconds - 1e-6).astype(np.int64)
        first = first.clip(0, frames.shape[1] - count)
        places = torch.from_numpy(first[:, None] + np.arange(count)).to(frames.device)
        return pooled(frames[torch.from_numpy(rows).to(frames.device)[:, None], places])

    def nearest(
        self, frames: Tensor, rows: NDArray[np.int64], times: NDArray[np.float64], values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the frames that have values, (steps, dim), and the means of these values."""
        frame = np.rint(times / self.hop_seconds).astype(np.int64).clip(0, frames.shape[1] - 1)
        places, which = np.unique(rows * frames.shape[1] + frame, return_inverse=True)
        index = torch.from_numpy(which).to(values.device)
        total = values.new_zeros(len(places), values.shape[1]).index_add_(0, index, values)
        count = torch.bincount(index, minlength=len(places))
        return frames.flatten(0, 1)[torch.from_numpy(places).to(frames.device)], (
            total / count[:, None]
        )


def join(name: str, lessons: Sequence[Lessons | None], shares: Sequence[float]) -> Lesson:
    """Return what several sources know of one teacher.

    Parameters
    ----------
    name
        Of the teacher.
    lessons
        Its values in each source, where there are any.
    shares
        Of the excerpts, one a source.

    Raises
    ------
    ConfigError
        If no source has any, or their values are not of the very same teacher.
    """
    known = [
        (one, share)
        for one, share in zip(lessons, shares, strict=True)
        if one is not None and len(one.values)
    ]
    if not known:
        raise ConfigError(
            f"worker '{PREFIX}{name}': no source has values of that teacher. Run "
            f"`musicssl-train teach PACK --teacher {_asked(name)}`, or leave it out: "
            f"'-{PREFIX}{name}'."
        )
    facts = known[0][0].facts
    for other, _ in known:
        if not other.facts.same_values(facts):
            raise ConfigError(
                f"{known[0][0].file} and {other.file} are of different teachers "
                f"({facts.model}, {facts.sha256[:12]}; {other.facts.model}, "
                f"{other.facts.sha256[:12]}). Delete one and run `musicssl-train teach` again."
            )
    weights = np.array([share for _, share in known]) / sum(share for _, share in known)
    means, covariances = (
        np.stack(part) for part in zip(*(o.moments() for o, _ in known), strict=True)
    )
    mean = weights @ means
    between = (means - mean)[:, :, None] * (means - mean)[:, None, :]
    return Lesson(facts, mean, np.einsum("s,sij->ij", weights, covariances + between))


def decorrelation(covariance: NDArray[np.float64], share: float) -> Tensor:
    """Return a symmetric matrix for values of a covariance, (size, size), fp32.

    Directions of variance `v` have `v` to the power of ``1 - share`` after it, scaled to a mean of
    1; what varies less than `FAINT` of the mean direction is not raised further.
    """
    values, axes = np.linalg.eigh(covariance)
    values = values.clip(0)
    factor = (values + FAINT * values.mean()) ** (-share / 2)
    factor /= np.sqrt((values * factor**2).mean())
    return torch.from_numpy((axes * factor) @ axes.T).float()


def _asked(name: str) -> str:
    """Return what `musicssl-train teach` calls the teacher of that name, as far as it is known."""
    if name in TEACHERS:
        return name
    return f"{OWN}:{name}" if name in bundled_models() else "..."


def taught_by(configs: Iterable[WorkerConfig]) -> tuple[str, ...]:
    """Return the teachers of the workers that have one, each once, whatever they are labeled."""
    taught = (one.name for one in configs if isinstance(one, DistillationConfig))
    return tuple(dict.fromkeys(name.removeprefix(PREFIX) for name in taught))
