"""Exponential moving average of an encoder's weights."""

import torch

from musicssl.encoders import Encoder


@torch.no_grad()
def update_ema(ema: Encoder, encoder: Encoder, step: int, decay: float) -> None:
    """Move the averaged weights towards the current ones, faster at first, and copy the buffers.

    `torch.optim.swa_utils.AveragedModel` does the same with other names in checkpoints, a first
    step that copies, and a count of its own; what is left to write around it is as long.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mean, now in zip(ema.parameters(), encoder.parameters(), strict=True):
        mean.lerp_(now, 1 - decay)
    for old, new in zip(ema.buffers(), encoder.buffers(), strict=True):
        old.copy_(new)
