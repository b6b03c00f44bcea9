"""Score supervision: predict notes, instruments, beats, tempo, key, chords and style of music."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl_training.distributed import all_reduce_sum, mean_over_all
from musicssl_training.midi.charts import STYLES
from musicssl_training.midi.score import NOBODY, Score
from musicssl_training.targets import score as truth
from musicssl_training.targets.features import FrameGrid, averaged
from musicssl_training.workers.base import NO_EXTRAS, Batch, Extras, Worker, WorkerConfig
from musicssl_training.workers.heads import mlp, pooled
from musicssl_training.workers.statistics import RunningMoments

RAREST = 1e-4  # share of steps, below which a label is taken to be as rare
TEMPO_LOW, TEMPO_HIGH = 40.0, 240.0  # beats a minute
TEMPO_BINS = 16  # an octave


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(WorkerConfig):
    """Size of the head."""

    hidden: int = 256  # units


class MultiLabel(Worker):
    """Which of several labels hold at each step: binary cross-entropy, on rows that have a score.

    Every label begins with the share of steps in which it was seen, and a group of labels is
    divided by the mean entropy of these shares: each group starts at 1, however rare its labels.
    Rows without a score, and values that are NaN, carry no loss; a group of which nothing is known
    does not count.

    Parameters
    ----------
    config, dim, grid
        As for every worker.
    truth
        Takes scores, frames and seconds of a frame; gives (scores, frames, labels) in {0, 1} or
        NaN.
    groups
        Labels of each group, in order; the loss is the mean over groups.
    pool
        Frames of a step: read-outs are averaged, a label holds if it does in any of the frames,
        and is unknown if it does in none and is unknown in some.
    """

    config: ScoreConfig

    def __init__(
        self,
        config: ScoreConfig,
        dim: int,
        grid: FrameGrid,
        truth: Callable[[Sequence[Score], int, float], Tensor],
        groups: tuple[int, ...],
        *,
        pool: int = 1,
    ) -> None:
        super().__init__(config, dim, grid)
        self.truth, self.groups, self.pool = truth, groups, pool
        self.head = mlp(dim, config.hidden, sum(groups), zero_init=True)
        self.values = RunningMoments(sum(groups))

    def measure(self, batch: Batch) -> None:
        """Add the labels of these excerpts to the shares, over all processes."""
        sound = batch.sound
        labels = self.labels(batch, sound.frames // sound.grid.stride)
        self.values.add(labels.flatten(0, 1))

    def labels(self, batch: Batch, frames: int) -> Tensor:
        """Return the labels of the rows that have a score, (rows, steps, labels)."""
        return batch.sound.cached((self, frames), lambda: self._labels(batch, frames))

    def _labels(self, batch: Batch, frames: int) -> Tensor:
        scores = [score for score in batch.scores if score is not None]
        pool = min(self.pool, frames)
        steps = frames // pool
        if not scores:
            return torch.zeros(0, steps, sum(self.groups))
        truth = self.truth(scores, frames, self.hop_seconds)[:, : steps * pool].float()
        parts = truth.reshape(len(scores), steps, pool, -1)
        holds = parts.nan_to_num(0.5).amax(dim=2)  # between the two that are known
        return holds.masked_fill(holds == 0.5, torch.nan)

    def asks(self, batch: Batch, extras: Extras = NO_EXTRAS) -> bool:
        steps = batch.sound.frames // batch.sound.grid.stride
        return bool((~self.labels(batch, steps).isnan()).any())

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        truth = self.labels(batch, frames.shape[1]).to(frames.device)
        heard = frames[torch.tensor(scored(batch), dtype=torch.int64, device=frames.device)]
        heard = averaged(heard, min(self.pool, frames.shape[1]))
        seen = self.values.seen
        share = ((self.values.mean * seen + 0.5) / (seen + 1)).clamp(RAREST, 1 - RAREST)
        logits = self.head(heard).float() + share.logit().float()
        known = ~truth.isnan()
        wrong = F.binary_cross_entropy_with_logits(
            logits, truth.nan_to_num(), weight=known.float(), reduction="none"
        ).sum(dim=(0, 1))
        entropy = torch.special.entr(share) + torch.special.entr(1 - share)
        chance = known.sum(dim=(0, 1)) * entropy.float()
        groups = list(self.groups)
        parts = [torch.stack([x.sum() for x in torch.split(y, groups)]) for y in (wrong, chance)]
        asked = all_reduce_sum(parts[1]) > 0  # in any process
        return mean_over_all(*parts).where(asked, 0.0).sum() / asked.sum().clamp(min=1)


class MultiClass(Worker):
    """Which one of several classes an excerpt has: cross-entropy on mean and deviation over time.

    Begins with the share of excerpts in which each class was seen, and is divided by the entropy
    of these shares. Rows without a score, and those whose class is unknown, carry no loss.

    Parameters
    ----------
    config, dim, grid
        As for every worker.
    truth
        Takes scores; gives a distribution over the classes, (scores, size), or NaN.
    size
        Number of classes.
    """

    config: ScoreConfig

    def __init__(
        self,
        config: ScoreConfig,
        dim: int,
        grid: FrameGrid,
        truth: Callable[[Sequence[Score]], Tensor],
        size: int,
    ) -> None:
        super().__init__(config, dim, grid)
        self.truth, self.size = truth, size
        self.head = mlp(2 * dim, config.hidden, size, zero_init=True)
        self.values = RunningMoments(size)

    def measure(self, batch: Batch) -> None:
        """Add the classes of these excerpts to the shares, over all processes."""
        self.values.add(self.classes(batch))

    def classes(self, batch: Batch) -> Tensor:
        """Return the distributions of the rows that have a score, (rows, size)."""
        scores = [score for score in batch.scores if score is not None]
        return self.truth(scores).float() if scores else torch.zeros(0, self.size)

    def asks(self, batch: Batch, extras: Extras = NO_EXTRAS) -> bool:
        return bool((~self.classes(batch).isnan().any(dim=1)).any())

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        truth = self.classes(batch)
        known = ~truth.isnan().any(dim=1)
        rows = torch.tensor(scored(batch), dtype=torch.int64)[known.cpu()].to(frames.device)
        share = (self.values.mean * self.values.seen + 1) / (self.values.seen + self.size)
        entropy: Tensor = torch.special.entr(share).sum().float()
        wrong = self.zero_loss(frames)
        if len(rows):
            logits = self.head(pooled(frames[rows])).float() + share.log().float()
            wrong = F.cross_entropy(logits, truth[known].to(frames.device), reduction="sum")
        count = torch.tensor(len(rows), device=frames.device)
        return mean_over_all(wrong, count) / entropy.clamp(min=0.1)


def scored(batch: Batch) -> list[int]:
    """Return the rows that have a score."""
    return [row for row, score in enumerate(batch.scores) if score is not None]


def tempo_classes(tempo: Tensor) -> Tensor:
    """Return tempo as a distribution over log-spaced classes from 40 to 240 beats a minute.

    A bell of one class' width (a sixteenth of an octave) around the tempo, after the classes of
    Schreiber and Müller, "A single-step approach to musical tempo estimation using a
    convolutional neural network", 2018.

    Parameters
    ----------
    tempo
        Beats a minute, shape (batch,); NaN where unknown.

    Returns
    -------
    Tensor
        Shape (batch, 42), NaN where unknown.
    """
    octaves = math.log2(TEMPO_HIGH / TEMPO_LOW)
    place = (tempo.float().clamp(TEMPO_LOW, TEMPO_HIGH) / TEMPO_LOW).log2() * TEMPO_BINS
    classes = torch.arange(math.ceil(octaves * TEMPO_BINS), device=tempo.device)
    bell: Tensor = -0.5 * (classes - place[:, None]).square()
    return bell.softmax(dim=1)


def key_classes(key: Tensor) -> Tensor:
    """Return keys 0 to 23 as distributions, (batch,) to (batch, 24); NaN for -1."""
    out: Tensor = F.one_hot(key.clamp(min=0), 24).float()
    return out.masked_fill(key[:, None] < 0, float("nan"))


def style_classes(style: Tensor) -> Tensor:
    """Return places in `STYLES` as distributions, (batch,) to (batch, 16); NaN for -1."""
    out: Tensor = F.one_hot(style.clamp(min=0), len(STYLES)).float()
    return out.masked_fill(style[:, None] < 0, float("nan"))


class PianoRoll(MultiLabel):
    """The 88 pitches that sound, and those that begin."""

    def __init__(self, config: ScoreConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid, self.rolls, (88, 88))

    @staticmethod
    def rolls(scores: Sequence[Score], frames: int, seconds: float) -> Tensor:
        """Return both rolls side by side."""
        sounding = truth.piano_roll(scores, frames, seconds)
        return torch.cat([sounding, truth.onset_roll(scores, frames, seconds)], dim=2)


class Families(MultiLabel):
    """The instrument families that play, second by second; of stems, those that are known."""

    def __init__(self, config: ScoreConfig, dim: int, grid: FrameGrid) -> None:
        size = truth.families([NOBODY], 1, 1.0).shape[2]
        second = max(1, round(grid.sample_rate / (grid.hop * grid.stride)))
        super().__init__(config, dim, grid, truth.families, (size,), pool=second)


class Beats(MultiLabel):
    """The frames of beats, and those of downbeats."""

    def __init__(self, config: ScoreConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid, truth.beat_phase, (1, 1))


class Chord(MultiLabel):
    """The pitch classes that sound."""

    def __init__(self, config: ScoreConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid, truth.chord, (12,))


class Tempo(MultiClass):
    """The tempo, in classes of a sixteenth of an octave."""

    def __init__(self, config: ScoreConfig, dim: int, grid: FrameGrid) -> None:
        size = tempo_classes(torch.zeros(1)).shape[1]
        super().__init__(config, dim, grid, self.classes_of, size)

    @staticmethod
    def classes_of(scores: Sequence[Score]) -> Tensor:
        """Return distributions over the classes."""
        return tempo_classes(truth.tempo(scores))


class Key(MultiClass):
    """Which of the 24 keys."""

    def __init__(self, config: ScoreConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid, self.classes_of, 24)

    @staticmethod
    def classes_of(scores: Sequence[Score]) -> Tensor:
        """Return distributions over the keys."""
        return key_classes(truth.key(scores))


class Style(MultiClass):
    """Which of the 16 styles of accompaniments."""

    def __init__(self, config: ScoreConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid, self.classes_of, len(STYLES))

    @staticmethod
    def classes_of(scores: Sequence[Score]) -> Tensor:
        """Return distributions over the styles."""
        return style_classes(truth.style(scores))
