"""Learning-rate schedules."""

import math

import torch

from musicssl_training.train.config import OptimConfig


def learning_rate_at(step: int, steps: int, optim: OptimConfig) -> float:
    """Return the learning rate: a linear warm-up, then a plateau and a linear fall, or a cosine.

    Parameters
    ----------
    step
        From 0.
    steps
        Of the whole run.
    optim
        The schedule and its lengths.
    """
    rise = (step + 1) / max(1, optim.warm_up)
    if optim.schedule == "cosine":
        done = (step - optim.warm_up) / max(1, steps - optim.warm_up)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
    else:
        fall = (steps - step) / max(1, optim.cool_down * steps)
    return optim.learning_rate * max(0.0, min(1.0, rise, fall))


def set_learning_rate(
    optimizer: torch.optim.Optimizer, step: int, steps: int, optim: OptimConfig
) -> None:
    """Give all groups of parameters the learning rate of a step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, steps, optim)
