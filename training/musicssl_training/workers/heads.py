"""Small networks that several workers use."""

import torch
from torch import Tensor, nn


def mlp(inputs: int, hidden: int, outputs: int, *, zero_init: bool = False) -> nn.Sequential:
    """Return a perceptron with one hidden layer and PReLU, as in PASE.

    Parameters
    ----------
    inputs, hidden, outputs
        Units.
    zero_init
        Whether the outputs are all zero at first.
    """
    last = nn.Linear(hidden, outputs)
    if zero_init:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.PReLU(), last)


def pooled(frames: Tensor) -> Tensor:
    """Return mean and standard deviation over time, (batch, frames, dim) to (batch, 2 * dim)."""
    frames = frames.float()
    deviation = frames.var(dim=1, unbiased=False).add(1e-6).sqrt()  # finite slope at 0
    return torch.cat([frames.mean(dim=1), deviation], dim=1)
