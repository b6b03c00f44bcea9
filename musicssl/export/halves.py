"""Weights in 16 bits, arithmetic in 32: half the file, the same values."""

from typing import Any

import numpy as np

LEAST = 256  # values of a weight that is worth it


def store_in_halves(proto: Any) -> None:
    """Store those weights of a ModelProto in fp16 that lose nothing by it, and cast them on use.

    Filter banks and windows, which would lose something, stay as they are.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in proto.graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < LEAST or not np.array_equal(half.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
