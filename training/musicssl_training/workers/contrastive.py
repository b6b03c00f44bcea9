"""Contrastive loss (InfoNCE): tell the excerpts of one recording from those of all others."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.errors import ConfigError, pick
from musicssl_training.distributed import everywhere, mean_over_all
from musicssl_training.distributed import rank as process_rank
from musicssl_training.targets.features import FrameGrid
from musicssl_training.workers.base import NO_EXTRAS, Batch, Extras, Worker, WorkerConfig
from musicssl_training.workers.heads import mlp, pooled, without_parameters

CANDIDATES = ("all", "source")


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(WorkerConfig):
    """Head, temperature and candidates of `Contrastive`."""

    name: str = "contrast"
    hidden: int = 256  # units
    size: int = 128  # of the vectors that are compared
    temperature: float = 0.1  # cosines are divided by it
    candidates: str = "all"  # recordings to be told from; "source": those of the same corpus alone
    queue: int = 0  # vectors of earlier batches, by the EMA encoder, that are candidates too
    momentum: float = 0.99  # of the head's EMA, with a queue

    def __post_init__(self) -> None:
        pick(dict.fromkeys(CANDIDATES), self.candidates, f"workers.{self.name}.candidates")
        if self.temperature <= 0:
            raise ConfigError(
                f"workers.{self.name}.temperature must be positive, got {self.temperature}."
            )
        if self.queue < 0 or not 0 <= self.momentum < 1:
            raise ConfigError(
                f"workers.{self.name}: queue must be 0 or more and momentum lie in [0, 1), "
                f"got {self.queue} and {self.momentum}."
            )


class Stretches(NamedTuple):
    """Where the audio comes from that is compared: one value for each row of vectors."""

    recordings: Tensor
    excerpts: Tensor  # a number of their own in all processes
    starts: Tensor | None  # seconds
    sources: Tensor | None
    seconds: float  # that each lasts


class Pairs(NamedTuple):
    """Which of the vectors of all processes each row is compared with, (rows, all rows)."""

    partners: Tensor  # to be found
    others: Tensor  # to be told from


class Contrastive(Worker):
    """Find a recording's other excerpts among those of the batch, over all processes.

    The loss is the cross-entropy over cosines [1]_ [2]_, divided by the logarithm of the number
    of candidates, so that a guess costs 1. Every other excerpt of the recording is a partner,
    unless the two overlap in time. With several partners, the loss is the mean over them, each
    against the other recordings: partners do not compete, unlike in [3]_, so that perfection
    costs 0. Excerpts without a partner carry no loss.

    With a queue, keys come from the EMA encoder and an EMA of the head, and keys of earlier
    batches are candidates too [4]_. Without one they are the batch's own vectors. (Remembering
    vectors of the encoder itself teaches nothing: old ones are told from new ones by the drift of
    the weights. Keys that follow slowly drift too, only less.)

    References
    ----------
    .. [1] van den Oord, Li and Vinyals, "Representation learning with contrastive predictive
       coding", 2018.
    .. [2] Chen et al., "A simple framework for contrastive learning of visual representations",
       2020.
    .. [3] Khosla et al., "Supervised contrastive learning", 2020.
    .. [4] He et al., "Momentum contrast for unsupervised visual representation learning", 2020.
    """

    config: ContrastiveConfig
    memory: Tensor  # (queue, size)
    owners: Tensor  # (queue,): the recording of each; -1 where there is none yet
    origins: Tensor  # (queue,): the source of each
    accuracy: Tensor  # share of the rows whose nearest in the batch was a partner
    in_batch: Tensor  # the loss of the batch's own candidates

    def __init__(self, config: ContrastiveConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid)
        self.head = mlp(2 * dim, config.hidden, config.size)
        self.key_head = without_parameters(self.head) if config.queue else None
        self.register_buffer("memory", torch.zeros(config.queue, config.size))
        self.register_buffer("owners", torch.full((config.queue,), -1))
        self.register_buffer("origins", torch.full((config.queue,), -1), persistent=False)
        for name in ("accuracy", "in_batch"):
            self.register_buffer(name, torch.tensor(float("nan")), persistent=False)

    @property
    def wants_keys(self) -> bool:
        return self.config.queue > 0

    def asks(self, batch: Batch, extras: Extras = NO_EXTRAS) -> bool:
        return bool(self.pairs(self.stretches(batch)).partners.any())

    def metrics(self) -> dict[str, float]:
        return {"accuracy": self.accuracy.item(), "in_batch": self.in_batch.item()}

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        keys = None if extras.keys is None else pooled(extras.keys)
        return self.compare(pooled(frames), keys, self.stretches(batch))

    def stretches(self, batch: Batch) -> Stretches:
        """Return what is compared: the excerpts as they are."""
        rows = len(batch.recordings)
        numbers = torch.arange(rows, device=batch.recordings.device) + process_rank() * rows
        seconds = batch.sound.audio.shape[1] / batch.sound.grid.sample_rate
        return Stretches(batch.recordings, numbers, batch.starts, batch.sources, seconds)

    def pairs(self, here: Stretches) -> Pairs:
        """Return which rows of all processes are partners, and which are others."""
        same = here.recordings[:, None] == everywhere(here.recordings)
        partners = same & (here.excerpts[:, None] != everywhere(here.excerpts))
        if here.starts is not None:
            apart = (here.starts[:, None] - everywhere(here.starts)).abs()
            partners &= apart >= here.seconds - 1e-6
        others = ~same
        if self.config.candidates == "source" and here.sources is not None:
            others &= here.sources[:, None] == everywhere(here.sources)
        return Pairs(partners & others.any(dim=1, keepdim=True), others)

    def compare(self, heard: Tensor, keys: Tensor | None, here: Stretches) -> Tensor:
        """Return the loss of pooled stretches, (rows, 2 * dim), and of their keys, if any."""
        vectors = F.normalize(self.head(heard).float(), dim=1)
        found = everywhere(vectors if not self.wants_keys else self.make_keys(keys))
        partners, others = self.pairs(here)
        count = partners.sum(dim=1)
        with torch.autocast(vectors.device.type, enabled=False):
            likeness = vectors @ found.T / self.config.temperature  # (rows, rows of all)
            rivals = likeness.masked_fill(~others, -torch.inf)
            chance = (1 + others.sum(dim=1)).clamp(min=2).log()
            self.note(likeness, rivals, partners, chance)
            if self.wants_keys:
                usable = self.usable(here)
                remembered = vectors @ self.memory.T / self.config.temperature
                rivals = torch.cat([rivals, remembered.masked_fill(~usable, -torch.inf)], dim=1)
                chance = (1 + others.sum(dim=1) + usable.sum(dim=1)).clamp(min=2).log()
                self.remember(found, here)
        each = wrongness(likeness, rivals, partners) / chance
        return mean_over_all(each.sum(), (count > 0).sum())

    @torch.no_grad()
    def make_keys(self, keys: Tensor | None) -> Tensor:
        """Return what is searched for: vectors of the EMA encoder and head."""
        if keys is None or self.key_head is None:
            raise ConfigError(
                f"worker {self.config.name!r} has a queue and needs Extras.keys, "
                "the EMA encoder's frames of the batch."
            )
        if self.training:
            pairs = zip(self.key_head.buffers(), self.head.parameters(), strict=True)
            for mean, now in pairs:
                mean.lerp_(now, 1 - self.config.momentum)
        return F.normalize(self.key_head(keys).float(), dim=1)

    def usable(self, here: Stretches) -> Tensor:
        """Return which remembered vectors each row is to be told from, (rows, queue)."""
        usable = (self.owners >= 0) & (here.recordings[:, None] != self.owners)
        if self.config.candidates == "source" and here.sources is not None:
            usable &= here.sources[:, None] == self.origins
        return usable

    @torch.no_grad()
    def remember(self, vectors: Tensor, here: Stretches) -> None:
        """Put new vectors in front, those that are finite; the oldest are forgotten."""
        owners = everywhere(here.recordings)
        origins = torch.full_like(owners, -1)
        if here.sources is not None:
            origins = everywhere(here.sources)
        finite = vectors.isfinite().all(dim=1)
        if self.training:
            count = self.config.queue
            self.memory = torch.cat([vectors.detach()[finite], self.memory])[:count]
            self.owners = torch.cat([owners[finite], self.owners])[:count]
            self.origins = torch.cat([origins[finite], self.origins])[:count]

    @torch.no_grad()
    def note(self, likeness: Tensor, rivals: Tensor, partners: Tensor, chance: Tensor) -> None:
        """Keep how well partners are found among the candidates of the batch."""
        asked = partners.any(dim=1)
        best = likeness.masked_fill(~partners, -torch.inf).amax(dim=1)
        right = (best > rivals.amax(dim=1))[asked].float()
        self.accuracy = right.mean()  # NaN if nothing was asked
        self.in_batch = (wrongness(likeness, rivals, partners) / chance)[asked].mean()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Begin with an empty queue where the saved one has another length."""
        for name in ("memory", "owners"):
            own, saved = getattr(self, name), state_dict.get(prefix + name)
            if saved is not None and saved.shape != own.shape:
                state_dict[prefix + name] = own
        super()._load_from_state_dict(state_dict, prefix, *rest)


def wrongness(likeness: Tensor, rivals: Tensor, partners: Tensor) -> Tensor:
    """Return the mean over a row's partners of the cross-entropy of each among the rivals."""
    # -log(e^p / (e^p + sum e^r)) = softplus(logsumexp(r) - p)
    each = F.softplus(rivals.logsumexp(dim=1, keepdim=True) - likeness)
    return each.where(partners, 0.0).sum(dim=1) / partners.sum(dim=1).clamp(min=1)


@dataclass(frozen=True, kw_only=True)
class SegmentsConfig(ContrastiveConfig):
    """As for `Contrastive`, and the length of a stretch."""

    name: str = "segments"
    seconds: float = 1.0  # of a stretch; at most a third of the excerpt is used


class Segments(Contrastive):
    """`Contrastive` with two short stretches of each excerpt, from its first and last third.

    Partners are those of the recording's other excerpts: stretches of one excerpt, or of two that
    overlap, share what the encoder heard around them, and those of one its distortion.
    """

    config: SegmentsConfig

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        third = max(1, frames.shape[1] // 3)
        count = min(max(1, round(self.config.seconds / self.hop_seconds)), third)
        drawn = torch.randint(third - count + 1, (2,), generator=batch.random).tolist()
        firsts = [drawn[0], frames.shape[1] - third + drawn[1]]
        heard = self.cut(frames, firsts, count)
        keys = None if extras.keys is None else self.cut(extras.keys, firsts, count)
        whole = self.stretches(batch)
        here = Stretches(
            whole.recordings.repeat(2),
            whole.excerpts.repeat(2),
            None if whole.starts is None else whole.starts.repeat(2),
            None if whole.sources is None else whole.sources.repeat(2),
            whole.seconds,  # frames hear what lies around them
        )
        return self.compare(heard, keys, here)

    @staticmethod
    def cut(frames: Tensor, firsts: list[int], count: int) -> Tensor:
        """Return the pooled stretches, those of the first third of all excerpts first."""
        return torch.cat([pooled(frames[:, first : first + count]) for first in firsts])
