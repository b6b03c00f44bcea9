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
