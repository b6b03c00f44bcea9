"""Teachers whose networks are stored as ONNX, run by onnxruntime."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import DependencyError, ModelError
from musicssl_training.teachers.base import Teacher, package_folder, sha256_of
from musicssl_training.teachers.pieces import covering

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


class OnnxTeacher(Teacher):
    """A network that hears overlapping pieces of a recording and gives a number of steps for each.

    Parameters
    ----------
    network
        Called with a piece by `steps_of`.
    sha256
        Of its weights.
    """

    package: ClassVar[str]  # that holds the weights
    weights: ClassVar[Path]  # in it
    install: ClassVar[str]  # command
    step: ClassVar[int]  # samples
    steps: ClassVar[int]  # of a piece
    before: ClassVar[int]  # samples of a piece before its first step
    size: ClassVar[int]  # samples of a piece

    def __init__(self, network: Network, sha256: str) -> None:
        self.network, self.sha256 = network, sha256

    @classmethod
    def load(cls) -> Self:
        """Return the one whose package is installed.

        Raises
        ------
        DependencyError
            If the package or onnxruntime is not installed.
        ModelError
            If its weights cannot be read.
        """
        file = package_folder(cls.package, cls.install) / cls.weights
        return cls(load_network(file), sha256_of(file))

    @abstractmethod
    def steps_of(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values of a piece's own steps, (steps, values)."""

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        found = covering(blocks, self.size, self.step, self.steps, self.before)
        for piece, steps, _ in found:
            yield self.steps_of(piece)[:steps]
