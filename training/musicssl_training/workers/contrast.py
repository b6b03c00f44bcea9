"""Tell the excerpts of one recording from those of all others (InfoNCE)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl_training.distributed import everywhere, processes, rank, summed
from musicssl_training.targets.features import FrameGrid
from musicssl_training.workers.base import Batch, Worker
from musicssl_training.workers.heads import mlp, pooled


class Contrast(Worker):
    """Find a recording's other excerpts among those of the batch, over all processes.

    Cross-entropy over cosines [1]_ [2]_, divided by the logarithm of the number of candidates,
    the loss of a guess. With several other excerpts of the recording, the mean over them, each
    among the excerpts of other recordings: so that partners do not compete, and perfection is 0
    (in [3]_ they do). Excerpts of a recording that overlap in time, where `Batch.starts` tells,
    are not looked for. An excerpt without a partner carries no loss.

    A batch holds few recordings, which are easily told apart: vectors of the batches before, at
    most `memory`, are candidates too [4]_, as the encoder gave them then and without a gradient.

    Parameters
    ----------
    dim
        Values a frame of the encoder; mean and standard deviation over time are compared.
    size
        Values of the vectors that are compared.
    hidden
        Units of the hidden layer.
    temperature
        Cosines are divided by it.
    memory
        Vectors of earlier batches that are remembered.

    References
    ----------
    .. [1] van den Oord, Li and Vinyals, "Representation learning with contrastive predictive
       coding", 2018.
    .. [2] Chen et al., "A simple framework for contrastive learning of visual representations",
       2020.
    .. [3] Khosla et al., "Supervised contrastive learning", 2020.
    .. [4] He et al., "Momentum contrast for unsupervised visual representation learning", 2020,
       without its second encoder.
    """

    memory: Tensor  # (vectors, size)
    owners: Tensor  # (vectors,): the recording of each; -1 where there is none yet

    def __init__(
        self,
        dim: int,
        *,
        size: int = 128,
        hidden: int = 256,
        temperature: float = 0.1,
        memory: int = 4096,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.head = mlp(2 * dim, hidden, size)
        self.register_buffer("memory", torch.zeros(memory, size))
        self.register_buffer("owners", torch.full((memory,), -1))

    def loss(self, frames: Tensor, batch: Batch) -> Tensor:
        seconds = batch.sound.audio.shape[1] / batch.sound.grid.sample_rate
        return self.compare(pooled(frames), batch.recordings, batch.starts, seconds)

    def compare(
        self, heard: Tensor, recordings: Tensor, starts: Tensor | None, seconds: float
    ) -> Tensor:
        """Return the loss of stretches that last `seconds`, (rows, 2 * dim)."""
        vectors = F.normalize(self.head(heard).float(), dim=1)
        found, owners = everywhere(vectors), everywhere(recordings)
        with torch.autocast(vectors.device.type, enabled=False):
            likeness = vectors @ found.T / self.temperature  # (rows, rows of all)
            remembered = vectors @ self.memory.T / self.temperature
        same = recordings[:, None] == owners
        rows = torch.arange(len(same), device=same.device)
        partners = same.clone()
        partners[rows, rows + rank() * len(rows)] = False
        if starts is not None:
            partners &= (starts[:, None] - everywhere(starts)).abs() >= seconds
        of_use = (self.owners >= 0) & (recordings[:, None] != self.owners)
        others = torch.cat(
            [likeness.masked_fill(same, -torch.inf), remembered.masked_fill(~of_use, -torch.inf)], 1
        ).logsumexp(dim=1, keepdim=True)
        self._remember(found, owners)
        wrong = F.softplus(others - likeness)  # of choosing each one among it and the others
        chance = (1 + (~same).sum(dim=1) + of_use.sum(dim=1)).clamp(min=2).log()
        count = partners.sum(dim=1)
        each = wrong.where(partners, 0.0).sum(dim=1) / count.clamp(min=1) / chance
        share = processes() / summed((count > 0).sum()).clamp(min=1)
        return each.sum() * share

    @torch.no_grad()
    def _remember(self, vectors: Tensor, owners: Tensor) -> None:
        """Put new vectors in front; the oldest are forgotten."""
        if self.training:
            count = len(self.owners)
            self.memory = torch.cat([vectors.detach(), self.memory])[:count]
            self.owners = torch.cat([owners, self.owners])[:count]


class Segments(Contrast):
    """Do the same with two short stretches an excerpt, one of its first third, one of its last.

    Parameters
    ----------
    dim, size, hidden, temperature, memory
        As for `Contrast`.
    grid
        Says the encoder's hop.
    seconds
        Of a stretch; at most a third of the excerpt is used.
    """

    def __init__(
        self,
        dim: int,
        grid: FrameGrid,
        *,
        seconds: float = 1.0,
        size: int = 128,
        hidden: int = 256,
        temperature: float = 0.1,
        memory: int = 4096,
    ) -> None:
        super().__init__(dim, size=size, hidden=hidden, temperature=temperature, memory=memory)
        self.step = grid.hop * grid.stride / grid.sample_rate
        self.frames = max(1, round(seconds / self.step))

    def loss(self, frames: Tensor, batch: Batch) -> Tensor:
        third = max(1, frames.shape[1] // 3)
        count = min(self.frames, third)
        drawn = torch.randint(third - count + 1, (2,), generator=batch.random).tolist()
        firsts = [drawn[0], frames.shape[1] - third + drawn[1]]
        heard = torch.cat([pooled(frames[:, first : first + count]) for first in firsts])
        starts = batch.starts
        if starts is not None:
            starts = torch.cat([starts + first * self.step for first in firsts])
        return self.compare(heard, batch.recordings.repeat(2), starts, count * self.step)
