"""Contrastive loss (InfoNCE): tell the excerpts of one recording from those of all others."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.errors import ConfigError, pick
from musicssl_training.distributed import all_gather, mean_over_all
from musicssl_training.distributed import rank as process_rank
from musicssl_training.targets.features import FrameGrid
from musicssl_training.workers.base import NO_EXTRAS, Batch, Extras, Worker, WorkerConfig
from musicssl_training.workers.heads import mlp, pooled

CANDIDATES = ("all", "source")


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(WorkerConfig):
    """Head, temperature and candidates."""

    name: str = "contrast"
    hidden: int = 256  # units
    size: int = 128  # of the vectors that are compared
    temperature: float = 0.1  # cosines are divided by it
    candidates: str = "all"  # recordings to be told from; "source": those of the same corpus alone

    def __post_init__(self) -> None:
        pick(dict.fromkeys(CANDIDATES), self.candidates, f"workers.{self.name}.candidates")
        if self.temperature <= 0:
            raise ConfigError(
                f"workers.{self.name}.temperature must be positive, got {self.temperature}."
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

    Candidates are those of this step alone. Vectors that are remembered from earlier steps [4]_
    are told from new ones by the drift of the weights, which a loss falls by even on noise, also
    if the EMA encoder made them.

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
    accuracy: Tensor  # share of the rows whose nearest was a partner

    def __init__(self, config: ContrastiveConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid)
        self.head = mlp(2 * dim, config.hidden, config.size)
        self.register_buffer("accuracy", torch.tensor(float("nan")), persistent=False)

    def asks(self, batch: Batch, extras: Extras = NO_EXTRAS) -> bool:
        return bool(self.pairs(self.stretches(batch)).partners.any())

    def metrics(self) -> dict[str, float]:
        return {"accuracy": self.accuracy.item()}

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        return self.compare(pooled(frames), self.stretches(batch))

    def stretches(self, batch: Batch) -> Stretches:
        """Return what is compared: the excerpts as they are."""
        rows = len(batch.recordings)
        numbers = torch.arange(rows, device=batch.recordings.device) + process_rank() * rows
        seconds = batch.sound.audio.shape[1] / batch.sound.grid.sample_rate
        return Stretches(batch.recordings, numbers, batch.starts, batch.sources, seconds)

    def pairs(self, here: Stretches) -> Pairs:
        """Return which rows of all processes are partners, and which are others."""
        same = here.recordings[:, None] == all_gather(here.recordings)
        partners = same & (here.excerpts[:, None] != all_gather(here.excerpts))
        if here.starts is not None:
            apart = (here.starts[:, None] - all_gather(here.starts)).abs()
            partners &= apart >= here.seconds - 1e-6
        others = ~same
        if self.config.candidates == "source" and here.sources is not None:
            others &= here.sources[:, None] == all_gather(here.sources)
        return Pairs(partners & others.any(dim=1, keepdim=True), others)

    def compare(self, heard: Tensor, here: Stretches) -> Tensor:
        """Return the loss of pooled stretches, (rows, 2 * dim)."""
        vectors = F.normalize(self.head(heard).float(), dim=1)
        partners, others = self.pairs(here)
        with torch.autocast(vectors.device.type, enabled=False):
            likeness = vectors @ all_gather(vectors).T / self.config.temperature
        rivals = likeness.masked_fill(~others, -torch.inf)
        # -log(e^p / (e^p + sum e^r)) = softplus(logsumexp(r) - p)
        wrong = F.softplus(rivals.logsumexp(dim=1, keepdim=True) - likeness)
        count = partners.sum(dim=1)
        each = wrong.where(partners, 0.0).sum(dim=1) / count.clamp(min=1)
        chance = (1 + others.sum(dim=1)).clamp(min=2).log()
        with torch.no_grad():
            best = likeness.masked_fill(~partners, -torch.inf).amax(dim=1)
            right = best > rivals.amax(dim=1)
            self.accuracy = right[count > 0].float().mean()  # NaN if nothing was asked
        return mean_over_all((each / chance).sum(), (count > 0).sum())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Leave out the vectors that states of earlier versions hold."""
        for name in ("memory", "owners"):
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *rest)


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
        heard = torch.cat([pooled(frames[:, first : first + count]) for first in firsts])
        whole = self.stretches(batch)
        here = Stretches(
            whole.recordings.repeat(2),
            whole.excerpts.repeat(2),
            None if whole.starts is None else whole.starts.repeat(2),
            None if whole.sources is None else whole.sources.repeat(2),
            whole.seconds,  # frames hear what lies around them
        )
        return self.compare(heard, here)
