"""Masked prediction of random-projection tokens (BEST-RQ)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.errors import ConfigError, pick
from musicssl_training.distributed import mean_over_all
from musicssl_training.targets import TARGETS
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import FrameGrid, averaged
from musicssl_training.workers.base import NO_EXTRAS, Batch, Extras, Worker, WorkerConfig
from musicssl_training.workers.statistics import RunningMoments, values_of

MEMORY = 0.99  # of the counts of codes, a loss


@dataclass(frozen=True, kw_only=True)
class MaskedConfig(WorkerConfig):
    """What tokens are made of."""

    name: str = "masked"
    target: str = "log_mel"  # a name in TARGETS
    codes: int = 1024  # tokens in a codebook
    books: int = 2  # codebooks, each with a projection of its own; the loss is their mean
    size: int = 16  # of a code
    token_seconds: float = 0.04  # of the target in one token, at least; whole steps
    seed: int = 0  # of projections and codes

    def __post_init__(self) -> None:
        pick(TARGETS, self.target, f"workers.{self.name}.target")
        if self.codes < 2 or min(self.books, self.size) < 1:
            raise ConfigError(
                f"workers.{self.name}: codes must be at least 2, books and size at least 1, got "
                f"{self.codes}, {self.books} and {self.size}."
            )


class Masked(Worker):
    """Predict the tokens of masked frames (BEST-RQ [1]_).

    The target, each dimension with mean 0 and standard deviation 1 and without the excerpt's own
    mean over time and dimensions (its level, which any frame would tell), is stacked over the
    steps of a token (around its own; the ends are repeated) and projected by a fixed random
    matrix; its token is the nearest of fixed random codes, all on the unit sphere. Cross-entropy,
    divided by the logarithm of the number of codes.

    Tokens count if nothing that they are made of was heard: if neither `Extras.masked` nor the
    target's own window, which reaches beyond its frame, leaves any of it. Batches without such
    frames carry no loss.

    References
    ----------
    .. [1] Chiu et al., "Self-supervised learning with random-projection quantizer for speech
       recognition", 2022.
    """

    projection: Tensor
    codebook: Tensor
    counts: Tensor

    config: MaskedConfig
    needs_mask = True
    accuracy: Tensor  # share of the tokens that were named rightly

    def __init__(
        self, config: MaskedConfig, dim: int, grid: FrameGrid, target: Target | None = None
    ) -> None:
        super().__init__(config, dim, grid)
        self.target = target or TARGETS[config.target](grid)
        self.codes, self.books = config.codes, config.books
        step = self.hop_seconds * self.target.pool
        self.stack = max(1, round(config.token_seconds / step))
        self.values = RunningMoments(self.target.size)
        self.head = nn.Linear(dim, self.books * self.codes)
        random = torch.Generator().manual_seed(config.seed)
        shape = (self.books, self.stack * self.target.size, config.size)
        projection = torch.randn(shape, generator=random)
        codes = torch.randn(self.books, self.codes, config.size, generator=random)
        self.register_buffer("projection", projection)
        self.register_buffer("codebook", F.normalize(codes, dim=2))
        self.register_buffer("counts", torch.zeros(self.books, self.codes))
        self.register_buffer("accuracy", torch.tensor(float("nan")), persistent=False)

    def asks(self, batch: Batch, extras: Extras = NO_EXTRAS) -> bool:
        return extras.masked is not None and bool(self.unheard(extras.masked).any())

    def metrics(self) -> dict[str, float]:
        return {"accuracy": self.accuracy.item(), "codes_used": self.usage.item()}

    def measure(self, batch: Batch) -> None:
        """Add the targets of these excerpts to the statistics, over all processes."""
        self.values.add(values_of(self.target, batch.sound).flatten(0, 1))

    @property
    def usage(self) -> Tensor:
        """Perplexity of the codes seen of late, as a share of all codes, mean over codebooks."""
        shares = self.counts / self.counts.sum(dim=1, keepdim=True).clamp(min=1)
        entropy: Tensor = torch.special.entr(shares).sum(dim=1)
        return (entropy.exp() / self.codes).mean()

    @torch.no_grad()
    def tokens(self, values: Tensor) -> Tensor:
        """Return the tokens of stacked, normalised values: (rows, inputs) to (rows, books)."""
        with torch.autocast(values.device.type, enabled=False):
            vectors = torch.einsum("ni,bis->bns", values, self.projection)
            cosines = vectors @ self.codebook.transpose(1, 2)  # but for the vectors' lengths
            tokens: Tensor = cosines.argmax(dim=2).T
        return tokens

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        values = self._stacked(self._leveled(values_of(self.target, batch.sound)))
        pool = self.target.pool
        steps = min(frames.shape[1] // pool, values.shape[1])
        heard = averaged(frames[:, : steps * pool], pool)
        chosen = torch.zeros(heard.shape[:2], dtype=torch.bool, device=heard.device)
        if extras.masked is not None:
            chosen = self.unheard(extras.masked).to(heard.device)[:, :steps]
        tokens = self.tokens(values[:, :steps][chosen])
        self._count(tokens)
        logits = self.head(heard[chosen]).float().view(-1, self.codes)
        wrong = F.cross_entropy(logits, tokens.flatten(), reduction="sum")
        self.accuracy = (logits.detach().argmax(dim=1) == tokens.flatten()).float().mean()
        count = torch.tensor(tokens.numel(), device=frames.device)
        return mean_over_all(wrong, count) / math.log(self.codes)

    def unheard(self, masked: Tensor) -> Tensor:
        """Return the steps of which nothing was heard, (batch, frames) to (batch, steps)."""
        pool = self.target.pool
        # each step's target hears `beyond` seconds outside its own frames
        step = self.hop_seconds * pool
        beyond = self.target.reach - step / 2 + self.stack // 2 * step
        margin = max(0, math.ceil(beyond / self.hop_seconds - 1e-6))
        heard = F.pad(~masked, (margin, margin)).float()[:, None]
        reached = F.max_pool1d(heard, 2 * margin + 1, 1)[:, 0] > 0
        steps = masked.shape[1] // pool
        return ~torch.unflatten(reached[:, : steps * pool], 1, (steps, pool)).any(dim=2)

    def _leveled(self, values: Tensor) -> Tensor:
        """Return normalized values whose mean over an excerpt is that of all.

        The level of an excerpt, which a random gain draws anew, is heard in whatever is not masked.
        """
        level = values.mean(dim=(1, 2), keepdim=True)
        return self.values.normalize(values - level + self.values.mean.mean().to(values))

    def _stacked(self, values: Tensor) -> Tensor:
        """Lay the steps around each side by side: (batch, steps, stack * size)."""
        if self.stack == 1:
            return values
        before = (self.stack - 1) // 2
        values = values.transpose(1, 2)
        values = F.pad(values, (before, self.stack - 1 - before), mode="replicate")
        return values.unfold(2, self.stack, 1).transpose(1, 2).flatten(2)

    @torch.no_grad()
    def _count(self, tokens: Tensor) -> None:
        places = tokens + self.codes * torch.arange(self.books, device=tokens.device)
        found = torch.zeros(self.books * self.codes, device=tokens.device)
        found.scatter_add_(0, places.flatten(), torch.ones_like(found[:1]).expand(tokens.numel()))
        self.counts = MEMORY * self.counts + found.view_as(self.counts)
