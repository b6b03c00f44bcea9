"""Name what was masked: random-projection tokens of the clean sound."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl_training.targets.base import Target
from musicssl_training.targets.features import averaged
from musicssl_training.workers.base import Batch, Worker
from musicssl_training.workers.statistics import RunningMoments, values_of

MEMORY = 0.99  # of the counts of codes, a loss


class Masked(Worker):
    """Predict the tokens of masked frames (BEST-RQ [1]_), of all frames where none is masked.

    The target, each dimension with mean 0 and standard deviation 1, is stacked over `stack` steps
    and projected by a fixed random matrix; its token is the nearest of fixed random codes, all on
    the unit sphere. Cross-entropy, divided by the logarithm of the number of codes.

    Parameters
    ----------
    dim
        Values a frame of the encoder.
    target
        What the tokens are made of.
    codes
        Tokens a codebook.
    books
        Codebooks, each with a projection of its own; the loss is their mean.
    size
        Values of a code.
    stack
        Steps of the target in one token, around its own; the ends are repeated.
    seed
        Of projections and codes.

    References
    ----------
    .. [1] Chiu et al., "Self-supervised learning with random-projection quantizer for speech
       recognition", 2022.
    """

    projection: Tensor
    codebook: Tensor
    counts: Tensor

    def __init__(
        self,
        dim: int,
        target: Target,
        *,
        codes: int = 1024,
        books: int = 2,
        size: int = 16,
        stack: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.target, self.codes, self.books, self.stack = target, codes, books, stack
        self.values = RunningMoments(target.size)
        self.head = nn.Linear(dim, books * codes)
        random = torch.Generator().manual_seed(seed)
        projection = torch.randn(books, stack * target.size, size, generator=random)
        codebook = F.normalize(torch.randn(books, codes, size, generator=random), dim=2)
        self.register_buffer("projection", projection)
        self.register_buffer("codebook", codebook)
        self.register_buffer("counts", torch.zeros(books, codes), persistent=False)

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

    def loss(self, frames: Tensor, batch: Batch) -> Tensor:
        values = self.values.normalised(values_of(self.target, batch.sound))
        values = self._stacked(values)
        pool = self.target.pool
        steps = min(frames.shape[1] // pool, values.shape[1])
        heard = averaged(frames[:, : steps * pool], pool)
        if batch.masked is None:
            chosen = torch.ones(heard.shape[:2], dtype=torch.bool, device=frames.device)
        else:
            chosen = batch.masked[:, : steps * pool].reshape(-1, steps, pool).all(dim=2)
            chosen = chosen | ~chosen.any()
        tokens = self.tokens(values[:, :steps][chosen])
        self._count(tokens)
        logits = self.head(heard[chosen]).float().view(-1, self.codes)
        return F.cross_entropy(logits, tokens.flatten()) / math.log(self.codes)

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
