"""Pooling of padded batches of frames, as tensors that gradients pass through."""

from collections.abc import Callable

import torch
from torch import Tensor


def mean(frames: Tensor, inside: Tensor) -> Tensor:
    """Return the mean over time: (batch, dim)."""
    count = inside.sum(dim=1, keepdim=True)
    return torch.where(inside[..., None], frames, 0.0).sum(dim=1) / count


def largest(frames: Tensor, inside: Tensor) -> Tensor:
    """Return the largest values over time: (batch, dim)."""
    return torch.where(inside[..., None], frames, -torch.inf).amax(dim=1)


def mean_and_deviation(frames: Tensor, inside: Tensor) -> Tensor:
    """Return the mean and the standard deviation over time, one after the other: (batch, 2 * dim).

    Where nothing varies, the deviation is 0, and so is its gradient, which has no limit there.
    """
    center = mean(frames, inside)
    variance = mean((frames - center[:, None]).square(), inside)
    varies = variance > 0
    deviation = torch.where(varies, variance, 1.0).sqrt() * varies
    return torch.cat([center, deviation], dim=1)


# by the names of `pooling.POOLINGS`; of frames (batch, frames, dim) and which of them count
MASKED_POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean,
    "max": largest,
    "meanstd": mean_and_deviation,
}
