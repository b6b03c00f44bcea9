"""Types of what goes into an embedding and what comes out."""

from typing import TYPE_CHECKING, Any, BinaryIO, Generic, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musicssl.errors import MusicSSLError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from typing_extensions import TypeVar

    Values = TypeVar("Values", default=NDArray[np.float32])
    Times = TypeVar("Times", default=NDArray[np.float64])
    NotTensor: TypeAlias = (
        str
        | bytes
        | os.PathLike[str]
        | BinaryIO
        | NDArray[Any]
        | tuple[NDArray[Any], float]
        | Mapping[str, Any]
    )
    AnyAudio: TypeAlias = NotTensor | Tensor
    N = TypeVar("N", bound=NotTensor)
else:  # older Pythons know no defaults
    from typing import TypeVar

    Values, Times, N = TypeVar("Values"), TypeVar("Times"), TypeVar("N")
    NotTensor = AnyAudio = Any


class Embedding(NamedTuple, Generic[Values, Times]):
    """Frame embeddings and the time of each: numpy arrays, or tensors where the audio is one."""

    values: Values  # (frames, dim)
    times: Times  # (frames,), seconds from the start to the centres


Vectors: TypeAlias = NDArray[np.float32]  # (dim,) or (n, dim)
TensorEmbedding: TypeAlias = Embedding[Tensor, Tensor]
Embedded: TypeAlias = (
    Vectors
    | Tensor
    | Embedding
    | TensorEmbedding
    | list[Embedding]
    | list[TensorEmbedding]
    | list[Embedding | TensorEmbedding]
)
Result: TypeAlias = Vectors | Embedding | MusicSSLError
