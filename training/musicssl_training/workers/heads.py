"""The small networks that the workers share."""

import torch
from torch import Tensor, nn


def mlp(inputs: int, hidden: int, outputs: int, *, silent: bool = False) -> nn.Sequential:
    """Return one hidden layer with PReLU, as in PASE; `silent` ones give zeros at first."""
    last = nn.Linear(hidden, outputs)
    if silent:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.PReLU(), last)


def pooled(frames: Tensor) -> Tensor:
    """Return mean and standard deviation over time, (batch, frames, dim) to (batch, 2 * dim)."""
    frames = frames.float()
    spread = frames.var(dim=1, unbiased=False).add(1e-6).sqrt()  # finite slope at 0
    return torch.cat([frames.mean(dim=1), spread], dim=1)
