"""Hashes of weights."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a state dict, for weights that were never saved or were cast since."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        data = tensor.cpu().contiguous().flatten().view(torch.uint8)  # of any type
        total.update(name.encode() + data.numpy().tobytes())
    return total.hexdigest()


def checksum(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return a sum of each tensor's bits: the same on any device, another after any training."""
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = [x.detach().view(integers[x.element_size()]).sum() for x in state.values()]
    return tuple(torch.stack(sums).tolist())
