"""Hashes of weights."""

import hashlib
from collections.abc import Mapping

from torch import Tensor


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a state dict's names and values, for models that were never saved."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
