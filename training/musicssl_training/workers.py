"""The pretext tasks: each predicts, from the encoder's frames, something of the clean sound."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.errors import pick
from musicssl.frontends import Spectra
from musicssl_training.targets import frontend as targets


class Worker(nn.Module, ABC):
    """A head on the encoder's output; thrown away after pre-training."""

    @abstractmethod
    def loss(self, frames: Tensor, spectra: Spectra) -> Tensor:
        """Return a scalar, about 1 before learning.

        Parameters
        ----------
        frames
            The encoder's output, (batch, frames, dim), of the distorted input.
        spectra
            The clean spectra of the same excerpts.
        """


class Regression(Worker):
    """Predict a target, each dimension normalised by its true mean and standard deviation.

    The statistics are gathered while `measure` is called, before training (Welford's update).
    """

    mean: Tensor
    spread: Tensor
    seen: Tensor

    def __init__(
        self, dim: int, target: Callable[[Spectra], Tensor], size: int, hidden: int, pool: int = 1
    ) -> None:
        super().__init__()
        self.target, self.pool = target, pool
        last = nn.Linear(hidden, size)
        nn.init.zeros_(last.weight)  # the first guess is the mean: a loss of 1
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Linear(dim, hidden), nn.PReLU(), last)
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("spread", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def measure(self, spectra: Spectra) -> None:
        """Add the targets of these excerpts to the statistics."""
        values = self.target(spectra).flatten(0, 1).double()
        total = self.seen + len(values)
        delta = values.mean(dim=0) - self.mean
        self.spread += values.var(dim=0, unbiased=False) * len(values)
        self.spread += delta.square() * self.seen * len(values) / total
        self.mean += delta * len(values) / total
        self.seen.copy_(total)

    def normalised(self, spectra: Spectra) -> Tensor:
        """Return the target with mean 0 and standard deviation 1, (batch, steps, size)."""
        deviation = (self.spread / self.seen.clamp(min=1)).sqrt()
        floor = 1e-3 * deviation.median()
        scaled = (self.target(spectra) - self.mean.float()) / deviation.clamp(min=floor).float()
        return scaled.clamp(-6, 6)

    def loss(self, frames: Tensor, spectra: Spectra) -> Tensor:
        with torch.no_grad():
            target = self.normalised(spectra)
        if self.pool > 1:
            frames = F.avg_pool1d(frames.transpose(1, 2), self.pool).transpose(1, 2)
        steps = min(frames.shape[1], target.shape[1])
        return F.mse_loss(self.head(frames[:, :steps]).float(), target[:, :steps])


class Contrast(Worker):
    """Find the other excerpt of the same recording among all in the batch (InfoNCE).

    Rows 2k and 2k + 1 belong together. Cross-entropy over cosines at temperature 0.1, divided by
    the logarithm of the number of candidates (van den Oord et al., 2018; Chen et al., 2020).
    """

    temperature = 0.1

    def __init__(self, dim: int, size: int, hidden: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(2 * dim, hidden), nn.PReLU(), nn.Linear(hidden, size))

    def loss(self, frames: Tensor, spectra: Spectra) -> Tensor:
        pooled = torch.cat([frames.mean(dim=1), frames.float().std(dim=1).to(frames)], dim=1)
        vectors = F.normalize(self.head(pooled).float(), dim=1)
        count = len(vectors)
        logits = vectors @ vectors.T / self.temperature
        logits = logits.masked_fill(torch.eye(count, dtype=torch.bool), -torch.inf)
        other = torch.arange(count) ^ 1
        return F.cross_entropy(logits, other) / torch.log(torch.tensor(count - 1.0))


# target, size, read-out (frames averaged); sizes hold for the default front end
TARGETS: dict[str, tuple[Callable[[Spectra], Tensor], int, int]] = {
    "log_mel": (targets.log_mel, 128, 1),
    "mfcc": (targets.mfcc, 40, 1),
    "notes": (targets.notes, 84, 1),
    "chroma": (targets.chroma, 12, 1),
    "onsets": (targets.onsets, 2 * targets.ONSET_BANDS, 1),
    "tempogram": (targets.tempogram, 4 * targets.LAGS, 8),
    "shape": (targets.shape, 10, 1),
}


def _regression(name: str) -> Callable[[int, int], Worker]:
    target, size, pool = TARGETS[name]
    return lambda dim, hidden: Regression(dim, target, size, hidden, pool)


# (values a frame, hidden units) -> worker
WORKERS: dict[str, Callable[[int, int], Worker]] = {
    **{name: _regression(name) for name in TARGETS},
    "contrast": lambda dim, hidden: Contrast(dim, 128, hidden),
}


def make_workers(names: list[str], dim: int, hidden: int = 256) -> nn.ModuleDict:
    """Return the named workers for an encoder of `dim` values a frame."""
    return nn.ModuleDict({name: pick(WORKERS, name, "worker")(dim, hidden) for name in names})
