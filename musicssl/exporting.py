"""Whether a model is at work, or only being written down by `torch.export` (and so for ONNX)."""

import torch

# torch before 2.7 tells only that something is tracing: compiling then takes the same branches
_ask = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def is_exporting() -> bool:
    """Tell whether a graph is being made, in which lengths are free.

    A loop over blocks of a recording would be unrolled for the length of the example. Where this
    is true, the recording is done in one piece, to the same values but for their rounding.
    """
    return bool(_ask())
