"""Running mean and variance of targets."""

import math

import torch
from torch import Tensor, nn

from musicssl_training.distributed import all_reduce_sum
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio

FLAT = 1e-6  # variance of a normalized target in a batch, below which there is nothing to predict


@torch.no_grad()
def values_of(target: Target, sound: CleanAudio) -> Tensor:
    """Return a target in fp32 whatever the precision around: logarithms of small powers need it."""
    with torch.autocast(sound.audio.device.type, enabled=False):
        out: Tensor = target(sound)
    return out


@torch.no_grad()
def predicted_share(error: Tensor, target: Tensor) -> Tensor:
    """Return R², the share of a batch's variance that was predicted; NaN if it has none.

    Parameters
    ----------
    error
        Mean squared error, a scalar.
    target
        Shape (..., size), normalized.
    """
    rows = target.flatten(0, -2)
    variance = (rows - rows.mean(dim=0)).square().mean()
    return torch.where(variance > FLAT, 1 - error / variance, math.nan)


class RunningMoments(nn.Module):
    """Mean and variance of each dimension, gathered part by part over all processes.

    The pairwise update of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
    for computing sample variances", 1979, in 64-bit floats.
    """

    seen: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        for name in ("seen", "mean", "spread"):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def add(self, values: Tensor) -> None:
        """Add rows of values, (rows, size); NaN counts as unknown.

        Every process must call this as often as the others, with no rows if it has none.
        """
        values = values.to(self.mean)
        known = ~values.isnan()
        count = all_reduce_sum(known.sum(dim=0).to(self.mean))
        mean = all_reduce_sum(values.nansum(dim=0)) / count.clamp(min=1)
        spread = all_reduce_sum((values - mean).square().nansum(dim=0))
        total = (self.seen + count).clamp(min=1)
        delta = mean - self.mean
        self.spread += spread + delta.square() * self.seen * count / total
        self.mean += delta * count / total
        self.seen += count

    @property
    def vary(self) -> bool:
        """Whether any dimension does, as far as fp32 resolves it; true before values were seen."""
        found = (self.spread / self.seen.clamp(min=1)).sqrt()
        return not (self.seen > 1).any() or bool((found > self._resolved()).any())

    def _resolved(self) -> Tensor:
        """Return the least deviations that fp32 resolves at the size of the mean."""
        return 1e-6 * (1 + self.mean.abs())

    @property
    def deviation(self) -> Tensor:
        """Standard deviations, fp64; 1 where fewer than two values were seen.

        Never below 1e-3 of their median, nor below what fp32 resolves at the size of the mean.
        """
        found = (self.spread / self.seen.clamp(min=1)).sqrt()
        floor = torch.maximum(1e-3 * found.median(), self._resolved())
        return torch.where(self.seen > 1, torch.maximum(found, floor), 1.0)

    def normalize(self, values: Tensor) -> Tensor:
        """Return `values`, (..., size), with mean 0 and standard deviation 1."""
        return (values - self.mean.to(values)) / self.deviation.to(values)
