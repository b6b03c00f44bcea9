"""Predict what a score says: notes, instruments, beats, tempo, key, chords."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl_training.midi.score import Score
from musicssl_training.targets import score as truth
from musicssl_training.targets.features import FrameGrid, averaged
from musicssl_training.workers.base import Batch, Worker
from musicssl_training.workers.heads import mlp, pooled
from musicssl_training.workers.statistics import RunningMoments

RAREST = 1e-4  # share of steps, below which a label is taken to be as rare
TEMPO_LOW, TEMPO_HIGH = 40.0, 240.0  # beats a minute
TEMPO_BINS = 16  # an octave


class Labels(Worker):
    """Which of several labels hold at each step: binary cross-entropy, on rows that have a score.

    Every label begins with the share of steps in which it was seen, and a group of labels is
    divided by the mean entropy of these shares: each group starts at 1, however rare its labels.
    Rows without a score, and values that are NaN, carry no loss.

    Parameters
    ----------
    dim
        Values a frame of the encoder.
    grid
        Says the encoder's hop.
    truth
        Takes scores, frames and seconds a frame; gives (scores, frames, labels) in {0, 1} or NaN.
    groups
        Labels of each group, in order; the loss is the mean over groups.
    hidden
        Units of the hidden layer.
    pool
        Frames a step: read-outs are averaged, a label holds if it does in any of the frames.
    """

    def __init__(
        self,
        dim: int,
        grid: FrameGrid,
        truth: Callable[[Sequence[Score], int, float], Tensor],
        groups: tuple[int, ...],
        *,
        hidden: int = 256,
        pool: int = 1,
    ) -> None:
        super().__init__()
        self.truth, self.groups, self.pool = truth, groups, pool
        self.seconds = grid.hop * grid.stride / grid.sample_rate
        self.head = mlp(dim, hidden, sum(groups), silent=True)
        self.values = RunningMoments(sum(groups))

    def measure(self, batch: Batch) -> None:
        """Add the labels of these excerpts to the shares, over all processes."""
        sound = batch.sound
        labels = self.labels(batch, sound.frames // sound.grid.stride)
        self.values.add(labels.flatten(0, 1))

    def labels(self, batch: Batch, frames: int) -> Tensor:
        """Return the labels of the rows that have a score, (rows, steps, labels)."""
        scores = [score for score in batch.scores if score is not None]
        pool = min(self.pool, frames)
        steps = frames // pool
        if not scores:
            return torch.zeros(0, steps, sum(self.groups))
        truth = self.truth(scores, frames, self.seconds)[:, : steps * pool].float()
        return truth.reshape(len(scores), steps, pool, -1).amax(dim=2)

    def asks(self, batch: Batch) -> bool:
        return bool(scored(batch))

    def loss(self, frames: Tensor, batch: Batch) -> Tensor:
        rows = scored(batch)
        if not rows:
            return self.nothing(frames)
        truth = self.labels(batch, frames.shape[1]).to(frames.device)
        heard = frames[torch.tensor(rows, device=frames.device)]
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
        parts = zip(torch.split(wrong, groups), torch.split(chance, groups), strict=True)
        return torch.stack(
            [part.sum() / whole.sum().clamp(min=1e-6) for part, whole in parts]
        ).mean()


class Classes(Worker):
    """Which one of several classes an excerpt has: cross-entropy on mean and deviation over time.

    Begins with the share of excerpts in which each class was seen, and is divided by the entropy
    of these shares. Rows without a score, and those whose class is unknown, carry no loss.

    Parameters
    ----------
    dim
        Values a frame of the encoder.
    truth
        Takes scores; gives a distribution over the classes, (scores, size), or NaN.
    size
        Number of classes.
    hidden
        Units of the hidden layer.
    """

    def __init__(
        self,
        dim: int,
        truth: Callable[[Sequence[Score]], Tensor],
        size: int,
        *,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        self.truth, self.size = truth, size
        self.head = mlp(2 * dim, hidden, size, silent=True)
        self.values = RunningMoments(size)

    def measure(self, batch: Batch) -> None:
        """Add the classes of these excerpts to the shares, over all processes."""
        self.values.add(self.classes(batch))

    def classes(self, batch: Batch) -> Tensor:
        """Return the distributions of the rows that have a score, (rows, size)."""
        scores = [score for score in batch.scores if score is not None]
        return self.truth(scores).float() if scores else torch.zeros(0, self.size)

    def asks(self, batch: Batch) -> bool:
        return bool((~self.classes(batch).isnan().any(dim=1)).any())

    def loss(self, frames: Tensor, batch: Batch) -> Tensor:
        truth = self.classes(batch)
        known = ~truth.isnan().any(dim=1)
        rows = torch.tensor(scored(batch), dtype=torch.int64)[known.cpu()]
        if len(rows) == 0:
            return self.nothing(frames)
        share = (self.values.mean * self.values.seen + 1) / (self.values.seen + self.size)
        logits = self.head(pooled(frames[rows.to(frames.device)])).float() + share.log().float()
        entropy: Tensor = torch.special.entr(share).sum().float()
        return F.cross_entropy(logits, truth[known].to(frames.device)) / entropy.clamp(min=0.1)


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


def piano_roll(dim: int, grid: FrameGrid, hidden: int = 256) -> Worker:
    """Return a worker for the 88 pitches that sound, and for those that begin."""

    def both(scores: Sequence[Score], frames: int, seconds: float) -> Tensor:
        sounding = truth.piano_roll(scores, frames, seconds)
        return torch.cat([sounding, truth.onset_roll(scores, frames, seconds)], dim=2)

    return Labels(dim, grid, both, (88, 88), hidden=hidden)


def families(dim: int, grid: FrameGrid, hidden: int = 256) -> Worker:
    """Return a worker for the instrument families that play, second by second."""
    nobody = Score(np.zeros((0, 5), np.float32), np.zeros((0, 2), np.float32))
    size = truth.families([nobody], 1, 1.0).shape[2]
    second = max(1, round(grid.sample_rate / (grid.hop * grid.stride)))
    return Labels(dim, grid, truth.families, (size,), hidden=hidden, pool=second)


def beats(dim: int, grid: FrameGrid, hidden: int = 256) -> Worker:
    """Return a worker for the frames of beats, and those of downbeats."""
    return Labels(dim, grid, truth.beat_phase, (1, 1), hidden=hidden)


def chord(dim: int, grid: FrameGrid, hidden: int = 256) -> Worker:
    """Return a worker for the pitch classes that sound."""
    return Labels(dim, grid, truth.chord, (12,), hidden=hidden)


def tempo(dim: int, grid: FrameGrid, hidden: int = 256) -> Worker:
    """Return a worker for the tempo."""

    def classes(scores: Sequence[Score]) -> Tensor:
        return tempo_classes(truth.tempo(scores))

    size = tempo_classes(torch.zeros(1)).shape[1]
    return Classes(dim, classes, size, hidden=hidden)


def key(dim: int, grid: FrameGrid, hidden: int = 256) -> Worker:
    """Return a worker for the key."""

    def classes(scores: Sequence[Score]) -> Tensor:
        return key_classes(truth.key(scores))

    return Classes(dim, classes, 24, hidden=hidden)
