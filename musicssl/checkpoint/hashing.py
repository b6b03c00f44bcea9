"""Hashes of weights."""

import hashlib
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Weighted(Protocol):
    """A model that may know the hash of its checkpoint's file."""

    @property
    def weights_sha256(self) -> str:
        """The hash; empty if its weights are of no file."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return its weights."""


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a state dict, for weights that were never saved or were cast since."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        data = tensor.cpu().contiguous().flatten().view(torch.uint8)  # of any type
        total.update(name.encode() + data.numpy().tobytes())
    return total.hexdigest()


def weights_sha256(model: Weighted) -> str:
    """Return the SHA-256 of a model's weights: of its checkpoint's file, or of what it has now."""
    return model.weights_sha256 or hash_weights(model.state_dict())


def checksum(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return a sum of each tensor's bits: the same on any device, another after any training.

    Each value counts by its place, so that the same values in another order have another sum.
    """
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = []
    for x in state.values():
        bits = x.detach().flatten().view(integers[x.element_size()])
        places = torch.arange(1, 2 * len(bits), 2, device=bits.device)
        sums.append((bits * places).sum())  # of 64 bits, around which it wraps
    return tuple(torch.stack(sums).tolist())
