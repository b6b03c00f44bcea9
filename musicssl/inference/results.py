"""Types of what goes into an embedding and what comes out."""

from typing import TYPE_CHECKING, Any, BinaryIO, Generic, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musicssl.errors import MusicSSLError

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from typing_extensions import TypeVar

    from musicssl.segments import Segment

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
        | Segment
    )
    AnyAudio: TypeAlias = NotTensor | Tensor
    N = TypeVar("N", bound=NotTensor)
    # One sound or several, where both give one array; and what is several for a checker, too.
    Sounds: TypeAlias = NotTensor | Sequence[NotTensor] | Iterator[NotTensor]
    Tensors: TypeAlias = Tensor | Sequence[Tensor] | Iterator[Tensor]
    AnySounds: TypeAlias = AnyAudio | Sequence[AnyAudio] | Iterator[AnyAudio]
    Many: TypeAlias = list[N] | tuple[N, ...] | Generator[N, None, None]
    ManyTensors: TypeAlias = list[Tensor] | tuple[Tensor, ...] | Generator[Tensor, None, None]
    Rate: TypeAlias = float | None
    Rates: TypeAlias = float | Sequence[float | None] | None
else:  # older Pythons know no defaults
    from typing import TypeVar

    Values, Times, N = TypeVar("Values"), TypeVar("Times"), TypeVar("N")
    NotTensor = AnyAudio = Sounds = Tensors = AnySounds = ManyTensors = Rate = Rates = Any
    Many = list[N]


class Embedding(NamedTuple, Generic[Values, Times]):
    """Embeddings of frames or windows, and the time of each; tensors where the audio is one."""

    values: Values  # (frames, dim)
    times: Times  # (frames,), seconds from the start to the centers


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
    | list[Vectors | None]
    | list[Tensor | None]
    | list[Vectors | Tensor | None]
    | list[Embedding | None]
    | list[TensorEmbedding | None]
    | list[Embedding | TensorEmbedding | None]
    | None
)
Result: TypeAlias = Vectors | Embedding | MusicSSLError
