"""What an `Engine` has in hand: sources to read, jobs under way, rounds of pieces to encode."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musicssl.errors import MusicSSLError
from musicssl.inference.chunking import Chunk, Cutter
from musicssl.inference.crew import Task
from musicssl.inference.parts import Event
from musicssl.pooling import Pool


class AudioStream(Protocol):
    """Mono audio at the model's rate, to be read once; such as `musicssl.audio.Source`."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples, each block of shape (samples,)."""


@runtime_checkable
class PartedStream(Protocol):
    """Several stretches of such audio, each with a result of its own, read together."""

    def __len__(self) -> int: ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield which part has something new: samples, an error, or None for its end."""


@dataclass(eq=False)
class Job:
    """One result under way."""

    pool: Pool
    cutter: Cutter | None  # until all of its audio is there
    waiting: int = 0  # pieces read but not yet encoded
    error: MusicSSLError | None = None
    memory: Tensor | None = None  # of what was encoded, for encoders that have one

    @property
    def done(self) -> bool:
        """Whether there is a result, or an error in its place."""
        return self.error is not None or (self.cutter is None and not self.waiting)


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of a job's audio, to be encoded."""

    job: Job
    chunk: Chunk
    audio: NDArray[np.float32]


@dataclass(eq=False)
class Round:
    """Pieces that are encoded at once, in one batch or several."""

    pieces: list[Piece]
    tasks: list[Task] = field(default_factory=list)
    frames: dict[Piece, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether all of it is encoded."""
        return all(task.done for task in self.tasks)

    def encode(
        self,
        encode: Callable[[list[Piece]], dict[Piece, NDArray[np.float32]]],
        batches: Iterable[list[Piece]],
    ) -> None:
        """Encode batches one after the other."""
        for batch in batches:
            self.frames.update(encode(batch))


def events_of(source: AudioStream | PartedStream) -> Iterator[tuple[int, Event]]:
    """Yield what is new of a source; a plain one is one part."""
    if isinstance(source, PartedStream):
        yield from source.events()
        return
    for block in source.blocks():
        yield 0, block
    yield 0, None
