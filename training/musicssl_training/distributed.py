"""Differentiable all-gather, and sums over the processes of one run."""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def processes() -> int:
    """Return how many processes learn together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def all_gather(values: Tensor) -> Tensor:
    """Return the rows of all processes, one process after the other.

    Parameters
    ----------
    values
        Shape (rows, ...), the same in every process.

    Returns
    -------
    Tensor
        Shape (processes * rows, ...). The gradient of every process's use of this process's rows
        comes back summed: averaged over processes, parameters get the gradient of the mean of
        the processes' losses.
    """
    if processes() == 1:
        return values
    out: Tensor = _AllGather.apply(values)  # type: ignore[no-untyped-call, unused-ignore]
    return out


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum over all processes, without a gradient."""
    if processes() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def mean_over_all(total: Tensor, count: Tensor) -> Tensor:
    """Return a process's share of a mean, whose average over processes is the mean of the whole.

    Parameters
    ----------
    total
        Sum over what this process has, of any shape.
    count
        How many it has (or their weight), of the same shape or a scalar.

    Returns
    -------
    Tensor
        Zero where no process has any.
    """
    return total * (processes() / all_reduce_sum(count).clamp(min=1e-6))


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.rows = len(values)
        parts = [torch.empty_like(values) for _ in range(processes())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = all_reduce_sum(grad.contiguous())
        return total[rank() * ctx.rows : (rank() + 1) * ctx.rows]
