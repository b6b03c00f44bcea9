"""Networks that are stored as ONNX, run by onnxruntime."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import DependencyError, ModelError

Arrays = Mapping[str, NDArray[np.float32]]
Network = Callable[[Arrays], dict[str, NDArray[np.float32]]]  # inputs to outputs, by name


def load_network(file: Path) -> Network:
    """Return a network that many threads may ask, each with one thread of its own.

    Raises
    ------
    DependencyError
        If onnxruntime is not installed.
    ModelError
        If the file cannot be read.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            "this teacher needs onnxruntime: pip install 'musicssl-training[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session: Any = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own kinds have no common base
        raise ModelError(f"{file} cannot be read by onnxruntime: {error}.") from error
    names = [output.name for output in session.get_outputs()]

    def ask(inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return ask
