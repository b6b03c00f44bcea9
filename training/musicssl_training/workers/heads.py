"""Small networks that several workers use."""

import copy

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


def without_parameters(module: nn.Module) -> nn.Module:
    """Return a copy that computes the same from buffers, which no optimizer sees."""
    module = copy.deepcopy(module)
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach().clone())
    return module
