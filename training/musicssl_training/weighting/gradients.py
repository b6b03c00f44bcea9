"""Each loss's gradient at the encoder's output, and their scalar products."""

from collections.abc import Mapping

import torch
from torch import Tensor

from musicssl.errors import ConfigError

CHUNK = 1 << 16  # values a worker converted to fp32 at a time


def output_gradients(losses: Mapping[str, Tensor], frames: Tensor) -> Tensor:
    """Return each loss's gradient at the encoder's output, and let the heads keep theirs.

    One backward pass a head: the heads' parameters accumulate the gradients of the plain sum.
    Each graph is freed as soon as it was used. To go on into the encoder::

        encoded.backward(torch.einsum("k,k...->...", weights, gradients))

    Parameters
    ----------
    losses
        Scalars, by worker, that share nothing before `frames`.
    frames
        The encoder's output, detached, a leaf that requires a gradient.

    Returns
    -------
    Tensor
        Shape (workers, *frames.shape), in the order of `losses` and the type of `frames`; zeros
        for a loss that does not depend on `frames`.

    Raises
    ------
    ConfigError
        If `frames` is not such a leaf.
    """
    if not (frames.is_leaf and frames.requires_grad):
        raise ConfigError(
            "frames must be a leaf that requires a gradient: frames.detach().requires_grad_()."
        )
    gradients = frames.new_zeros(len(losses), *frames.shape)
    before, frames.grad = frames.grad, None
    for gradient, loss in zip(gradients, losses.values(), strict=True):
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        if frames.grad is not None:
            gradient.copy_(frames.grad)
        frames.grad = None
    frames.grad = before
    return gradients


def output_gram(gradients: Tensor) -> Tensor:
    """Return the scalar products of all pairs of gradients, summed in fp32.

    Parameters
    ----------
    gradients
        Shape (workers, ...), any floating type.

    Returns
    -------
    Tensor
        Shape (workers, workers), fp32.
    """
    rows = gradients.detach().flatten(start_dim=1)
    pieces = 1 + rows.shape[1] // CHUNK
    gram = torch.zeros(len(rows), len(rows), device=rows.device)
    with torch.autocast(rows.device.type, enabled=False):
        for part in torch.tensor_split(rows, pieces, dim=1):
            values = part.float()
            gram.addmm_(values, values.T)
    return gram
