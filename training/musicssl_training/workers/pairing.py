"""PASE's yes-or-no questions about pairs of stretches, with their shortcuts removed."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.errors import ConfigError
from musicssl_training.targets.features import FrameGrid
from musicssl_training.workers.base import Batch, Worker
from musicssl_training.workers.heads import mlp

CHANCE = math.log(2)  # cross-entropy of a guess between two


def pair_weights(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return how much each pair of rows counts as one recording's, and as two recordings'.

    Returns
    -------
    tuple of Tensor
        Two matrices (rows, rows); a row's weights sum to 1 in both, or to 0 in both where it has
        no partner that does not overlap it in time, or nothing to be told from. With as many
        excerpts of every recording, columns do so too: nothing that one excerpt alone shows,
        such as its gain, tells the answer.
    """
    recordings, starts = batch.recordings, batch.starts
    same = recordings[:, None] == recordings
    partners = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    if starts is not None:
        seconds = batch.sound.audio.shape[1] / batch.sound.grid.sample_rate
        partners &= (starts[:, None] - starts).abs() >= seconds
    usable = partners.any(dim=1)
    others = ~same & usable & usable[:, None]
    usable = usable & others.any(dim=1)
    return (
        _shares(partners & usable & usable[:, None]),
        _shares(others & usable & usable[:, None]),
    )


def _shares(chosen: Tensor) -> Tensor:
    return chosen / chosen.sum(dim=1, keepdim=True).clamp(min=1)


class Pairs(nn.Module):
    """A perceptron on every pair of rows side by side: (rows, ..., dim) to (rows, rows, ...)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(dim, hidden), nn.Linear(dim, hidden, bias=False)
        self.top = nn.Sequential(nn.PReLU(), nn.Linear(hidden, 1))

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.top(self.first(rows)[:, None] + self.second(rows)[None])
        return out[..., 0].float()


class Gim(Worker):
    """Global Info Max: whether two excerpts, averaged over time, are one recording's [1]_ [2]_.

    Binary cross-entropy over all ordered pairs of the batch, yes and no weighing the same,
    divided by that of a guess. PASE pairs a distorted anchor with clean contexts, and one false
    context with each true one; here all excerpts are distorted alike, each is anchor and context,
    and every other recording is a false context.

    References
    ----------
    .. [1] Ravanelli and Bengio, "Learning speaker representations with mutual information", 2019.
    .. [2] Pascual et al., "Learning Problem-Agnostic Speech Representations from Multiple
       Self-supervised Tasks", 2019.
    """

    def __init__(self, dim: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.head = Pairs(dim, hidden)

    def loss(self, frames: Tensor, batch: Batch) -> Tensor:
        return self.ask(frames.mean(dim=1, keepdim=True), batch)

    def ask(self, moments: Tensor, batch: Batch) -> Tensor:
        """Return the loss of (rows, moments, dim), moment by moment."""
        yes, no = pair_weights(batch)
        scores = self.head(moments)  # (rows, rows, moments)
        wrong = yes * F.softplus(-scores).mean(dim=2) + no * F.softplus(scores).mean(dim=2)
        return wrong.sum() / (yes.sum() + no.sum()).clamp(min=1) / CHANCE


class Lim(Gim):
    """Local Info Max: whether two excerpts, frame by frame, are one recording's. See `Gim`.

    Parameters
    ----------
    dim
        Values a frame of the encoder.
    hidden
        Units of the hidden layer.
    moments
        Frames drawn from each excerpt, at the same places in all.
    """

    def __init__(self, dim: int, *, hidden: int = 256, moments: int = 32) -> None:
        super().__init__(dim, hidden=hidden)
        self.moments = moments

    def loss(self, frames: Tensor, batch: Batch) -> Tensor:
        chosen = torch.randperm(frames.shape[1], generator=batch.random)[: self.moments]
        return self.ask(frames[:, chosen.to(frames.device)], batch)


class Spc(Worker):
    """Sequence Predicting Coding: whether a stretch comes after a frame or before it [1]_.

    Yes (1) for the frames that begin `gap_seconds` after the anchor, no (0) for those that end as
    long before it; neither overlaps the anchor or the other. Binary cross-entropy divided by that
    of a guess. Anchors are drawn at the same places in all rows; each is asked both questions.

    Parameters
    ----------
    dim
        Values a frame of the encoder.
    grid
        Says the encoder's hop.
    hidden
        Units of the hidden layer.
    gap_seconds
        From the anchor to the nearest frame of the stretch; at least one frame.
    window
        Frames of the stretch.
    anchors
        Anchors an excerpt.

    References
    ----------
    .. [1] Pascual et al., "Learning Problem-Agnostic Speech Representations from Multiple
       Self-supervised Tasks", 2019.
    """

    def __init__(
        self,
        dim: int,
        grid: FrameGrid,
        *,
        hidden: int = 256,
        gap_seconds: float = 0.16,
        window: int = 5,
        anchors: int = 16,
    ) -> None:
        super().__init__()
        self.gap = max(1, math.ceil(gap_seconds * grid.sample_rate / (grid.hop * grid.stride)))
        self.window, self.anchors = window, anchors
        self.head = mlp((1 + window) * dim, hidden, 1)

    def loss(self, frames: Tensor, batch: Batch) -> Tensor:
        count, reach = frames.shape[1], self.gap + self.window - 1
        if count <= 2 * reach:
            raise ConfigError(
                f"spc needs excerpts of more than {2 * reach} frames, got {count}. "
                "Longer excerpts, or no spc?"
            )
        drawn = torch.randint(reach, count - reach, (self.anchors,), generator=batch.random)
        anchors = drawn.to(frames.device)
        steps = torch.arange(self.window, device=frames.device)
        after = self._ask(frames, anchors, anchors[:, None] + self.gap + steps)
        before = self._ask(frames, anchors, anchors[:, None] - reach + steps)
        return 0.5 * (F.softplus(-after).mean() + F.softplus(before).mean()) / CHANCE

    def _ask(self, frames: Tensor, anchors: Tensor, windows: Tensor) -> Tensor:
        """Return how much each anchor's window seems to come after it: (batch, anchors)."""
        both = torch.cat([anchors[:, None], windows], dim=1)  # (anchors, 1 + window)
        out: Tensor = self.head(frames[:, both].flatten(2))
        return out[..., 0].float()
