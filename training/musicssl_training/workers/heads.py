"""Small networks that several workers use."""

import torch
from torch import Tensor, nn

from musicssl.errors import ConfigError


def mlp(inputs: int, hidden: int, outputs: int, *, zero_init: bool = False) -> nn.Sequential:
    """Return a perceptron with one hidden layer and PReLU, as in PASE.

    Parameters
    ----------
    inputs, hidden, outputs
        Units. Without hidden ones it is a linear map: what it finds, a linear probe will find too.
    zero_init
        Whether the outputs are all zero at first.

    Raises
    ------
    ConfigError
        If `hidden` is negative.
    """
    if hidden < 0:
        raise ConfigError(f"hidden must be 0 (a linear head) or more units, got {hidden}.")
    last = nn.Linear(hidden or inputs, outputs)
    if zero_init:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*([nn.Linear(inputs, hidden), nn.PReLU()] if hidden else []), last)


def pooled(frames: Tensor) -> Tensor:
    """Return mean and standard deviation over time, (batch, frames, dim) to (batch, 2 * dim)."""
    frames = frames.float()
    deviation = frames.var(dim=1, unbiased=False).add(1e-6).sqrt()  # finite slope at 0
    return torch.cat([frames.mean(dim=1), deviation], dim=1)
