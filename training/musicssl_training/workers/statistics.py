"""Running mean and variance of targets."""

import torch
from torch import Tensor, nn

from musicssl_training.distributed import all_reduce_sum
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio


@torch.no_grad()
def values_of(target: Target, sound: CleanAudio) -> Tensor:
    """Return a target in fp32 whatever the precision around: logarithms of small powers need it."""
    with torch.autocast(sound.audio.device.type, enabled=False):
        out: Tensor = target(sound)
    return out


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
    def deviation(self) -> Tensor:
        """Standard deviations, fp64; 1 where fewer than two values were seen.

        Never below 1e-3 of their median, nor below what fp32 resolves at the size of the mean.
        """
        found = (self.spread / self.seen.clamp(min=1)).sqrt()
        floor = torch.maximum(1e-3 * found.median(), 1e-6 * (1 + self.mean.abs()))
        return torch.where(self.seen > 1, torch.maximum(found, floor), 1.0)

    def normalize(self, values: Tensor) -> Tensor:
        """Return `values`, (..., size), with mean 0 and standard deviation 1."""
        return (values - self.mean.to(values)) / self.deviation.to(values)
