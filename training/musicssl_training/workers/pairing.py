"""Binary discrimination of pairs (PASE's LIM, GIM and SPC), without shortcuts."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.errors import ConfigError
from musicssl_training.distributed import all_gather, mean_over_all
from musicssl_training.distributed import rank as process_rank
from musicssl_training.targets.features import FrameGrid
from musicssl_training.workers.base import NO_EXTRAS, Batch, Extras, Views, Worker, WorkerConfig
from musicssl_training.workers.heads import mlp

CHANCE = math.log(2)  # cross-entropy of a guess between two
FADE_SECONDS = 0.01  # at the ends of a stretch that is cut out


def pair_weights(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return how much each pair of rows counts as one recording's, and as two recordings'.

    Returns
    -------
    tuple of Tensor
        Two matrices (rows, rows of all processes); a row's weights sum to 1 in both, or to 0 in
        both where it has no partner that does not overlap it in time, or nothing to be told from.
        With as many excerpts of every recording, columns do so too: nothing that one excerpt alone
        shows, such as its gain, tells the answer.
    """
    recordings = all_gather(batch.recordings)
    same = recordings[:, None] == recordings
    partners = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    if batch.starts is not None:
        starts = all_gather(batch.starts)
        seconds = batch.sound.audio.shape[1] / batch.sound.grid.sample_rate
        partners &= (starts[:, None] - starts).abs() >= seconds - 1e-6
    usable = partners.any(dim=1)
    others = ~same & usable & usable[:, None]
    usable = usable & others.any(dim=1)
    first = process_rank() * len(batch.recordings)
    here = slice(first, first + len(batch.recordings))
    return (
        _shares(partners & usable & usable[:, None])[here],
        _shares(others & usable & usable[:, None])[here],
    )


def _shares(chosen: Tensor) -> Tensor:
    return chosen / chosen.sum(dim=1, keepdim=True).clamp(min=1)


class PairHead(nn.Module):
    """A perceptron on every pair of rows side by side, those of all processes as contexts.

    (rows, ..., dim) to (rows, rows of all processes, ...).
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        if hidden < 1:  # a sum of two linear maps cannot tell which rows belong together
            raise ConfigError(f"hidden of gim and lim must be at least 1, got {hidden}.")
        self.first, self.second = nn.Linear(dim, hidden), nn.Linear(dim, hidden, bias=False)
        self.top = nn.Sequential(nn.PReLU(), nn.Linear(hidden, 1))

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.top(self.first(rows)[:, None] + self.second(all_gather(rows))[None])
        return out[..., 0].float()


@dataclass(frozen=True, kw_only=True)
class GimConfig(WorkerConfig):
    """Size of the head."""

    name: str = "gim"
    hidden: int = 256  # units


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

    config: GimConfig
    accuracy: Tensor  # share of right answers, yes and no weighing the same

    def __init__(self, config: GimConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid)
        self.head = PairHead(dim, config.hidden)
        self.register_buffer("accuracy", torch.tensor(float("nan")), persistent=False)

    def asks(self, batch: Batch, extras: Extras = NO_EXTRAS) -> bool:
        return bool(pair_weights(batch)[0].any())

    def metrics(self) -> dict[str, float]:
        return {"accuracy": self.accuracy.item()}

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        return self.ask(frames.mean(dim=1, keepdim=True), batch)

    def ask(self, moments: Tensor, batch: Batch) -> Tensor:
        """Return the loss of (rows, moments, dim), moment by moment."""
        yes, no = pair_weights(batch)
        scores = self.head(moments)  # (rows, rows of all, moments)
        wrong = yes * F.softplus(-scores).mean(dim=2) + no * F.softplus(scores).mean(dim=2)
        count = yes.sum() + no.sum()
        with torch.no_grad():
            sure = (scores > 0).float().mean(dim=2)
            self.accuracy = (yes * sure + no * (1 - sure)).sum() / count  # NaN if nothing was asked
        return mean_over_all(wrong.sum(), count) / CHANCE


@dataclass(frozen=True, kw_only=True)
class LimConfig(GimConfig):
    """As for `Gim`, and how many frames are compared."""

    name: str = "lim"
    moments: int = 32  # frames drawn from each excerpt, at the same places in all

    def __post_init__(self) -> None:
        if self.moments < 1:
            raise ConfigError(f"workers.{self.name}.moments must be at least 1.")


class Lim(Gim):
    """Local Info Max: whether two excerpts, frame by frame, are one recording's. See `Gim`."""

    config: LimConfig

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        drawn = torch.randperm(frames.shape[1], generator=batch.random)[: self.config.moments]
        chosen = all_gather(drawn.to(frames.device))[: len(drawn)]  # those of the first process
        return self.ask(frames[:, chosen], batch)


@dataclass(frozen=True, kw_only=True)
class SpcConfig(WorkerConfig):
    """Which stretches are cut out, and how they are asked about."""

    name: str = "spc"
    hidden: int = 256  # units
    share: float = 0.4  # of the excerpts; whole rows of stretches
    seconds: float = 1.5  # of a stretch; shorter if the excerpt is
    gap_seconds: float = 0.16  # between the two stretches
    window: int = 5  # frames of the one stretch that are put beside the anchor
    anchors: int = 16  # frames of the other stretch, one after the other

    def __post_init__(self) -> None:
        if min(self.share, self.seconds) <= 0 or self.gap_seconds < 0:
            raise ConfigError(
                f"workers.{self.name}: share and seconds must be positive, gap_seconds 0 or more, "
                f"got {self.share}, {self.seconds} and {self.gap_seconds}."
            )
        if min(self.window, self.anchors) < 1:
            raise ConfigError(f"workers.{self.name}: window and anchors must be at least 1.")


@dataclass(frozen=True)
class StretchViews(Views):
    """Rows of stretches from different excerpts; the partner of each has its place further on.

    Half the rows hold one stretch of each pair, the other half the other.
    """

    earlier: Tensor  # (pairs,): 0 or 1, the half that holds the earlier one
    frames: int  # of a stretch
    per_row: int  # stretches


class Spc(Worker):
    """Sequence Predicting Coding: which of two stretches of an excerpt comes after the other [1]_.

    Both are cut out, with short fades, and encoded apart: within an excerpt, the silence beyond
    its ends tells an encoder that hears seconds how late it is. Stretches of several excerpts
    share a row of an excerpt's length, so that a pair costs little. The two of a pair lie at the
    same place of two rows, which a coin decides, so that nothing but their sound tells the order.

    Yes (1) for a window of frames from the later stretch beside an anchor from the earlier, no (0)
    the other way round. Binary cross-entropy divided by that of a guess.

    References
    ----------
    .. [1] Pascual et al., "Learning Problem-Agnostic Speech Representations from Multiple
       Self-supervised Tasks", 2019.
    """

    config: SpcConfig
    accuracy: Tensor  # share of right answers

    def __init__(self, config: SpcConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid)
        self.hop, self.sample_rate = grid.hop * grid.stride, grid.sample_rate
        self.gap = math.ceil(config.gap_seconds * grid.sample_rate / self.hop)  # frames
        self.head = mlp((1 + config.window) * dim, config.hidden, 1)
        self.register_buffer("accuracy", torch.tensor(float("nan")), persistent=False)

    def metrics(self) -> dict[str, float]:
        return {"accuracy": self.accuracy.item()}

    def stretch_frames(self, samples: int) -> int:
        """Return the frames of a stretch in excerpts of this length.

        Raises
        ------
        ConfigError
            If two stretches do not fit.
        """
        whole = samples // self.hop
        wanted = round(self.config.seconds / self.hop_seconds)
        count = min(wanted, (whole - self.gap) // 2)
        if count < self.config.window:
            least = 2 * self.config.window + self.gap
            raise ConfigError(
                f"worker {self.config.name!r} needs excerpts of at least {least} frames, got "
                f"{whole}. Longer excerpts, or no {self.config.name}?"
            )
        return count

    def extra_views(self, batch: Batch) -> StretchViews:
        audio, random = batch.sound.audio, batch.random
        rows, samples = audio.shape
        frames = self.stretch_frames(samples)
        length = frames * self.hop
        per_row = min(samples // length, rows)
        half = max(1, min(rows // per_row, round(self.config.share * rows / per_row)))
        pairs = half * per_row
        chosen = torch.randperm(rows, generator=random)[:pairs].tolist()
        apart = length + self.gap * self.hop
        firsts = torch.randint(samples - apart - length + 1, (pairs,), generator=random).tolist()
        earlier = torch.randint(2, (pairs,), generator=random)
        fade = _fades(length, round(FADE_SECONDS * self.sample_rate)).to(audio)
        view = audio.new_zeros(2, half, samples)
        for pair, (row, first) in enumerate(zip(chosen, firsts, strict=True)):
            place = slice(pair % per_row * length, (pair % per_row + 1) * length)
            for later in (0, 1):
                start = first + later * apart
                part = int(earlier[pair]) ^ later
                view[part, pair // per_row, place] = audio[row, start : start + length] * fade
        return StretchViews(view.flatten(0, 1), earlier, frames, per_row)

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        views, heard = extras.views, extras.view_frames
        if not isinstance(views, StretchViews) or heard is None:
            return self.zero_loss(frames)
        used = heard[:, : views.per_row * views.frames]
        parts = used.reshape(2, -1, views.frames, used.shape[2])  # (halves, pairs, frames, dim)
        pairs = torch.arange(parts.shape[1], device=used.device)
        earlier = views.earlier.to(used.device)
        first, second = parts[earlier, pairs], parts[1 - earlier, pairs]
        places = views.frames, views.frames - self.config.window + 1
        drawn = [torch.randint(n, (self.config.anchors,), generator=batch.random) for n in places]
        yes, no = self.score(first, second, drawn), self.score(second, first, drawn)
        self.accuracy = 0.5 * ((yes > 0).float().mean() + (no < 0).float().mean()).detach()
        return 0.5 * (F.softplus(-yes).mean() + F.softplus(no).mean()) / CHANCE

    def score(self, anchors: Tensor, windows: Tensor, places: list[Tensor]) -> Tensor:
        """Return how much windows seem to come after anchors, (pairs, anchors)."""
        at, first = (place.to(anchors.device) for place in places)
        steps = first[:, None] + torch.arange(self.config.window, device=first.device)
        both = torch.cat([anchors[:, at, None], windows[:, steps]], dim=2)
        out: Tensor = self.head(both.flatten(2))
        return out[..., 0].float()


def _fades(samples: int, fade: int) -> Tensor:
    """Return a gain that rises and falls within `fade` samples at the ends."""
    distance = torch.arange(samples).float() + 0.5
    distance = torch.minimum(distance, distance.flip(0))
    return (distance / max(1, fade)).clamp(max=1)
