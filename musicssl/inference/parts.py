"""`Parts`: parts of one source, each heard as if it were all, decoded together and once."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from musicssl.audio import Source
from musicssl.errors import AudioError, MusicSSLError

log = logging.getLogger(__name__)

Block: TypeAlias = NDArray[np.float32]
Event: TypeAlias = Block | MusicSSLError | None  # samples of a part, what is wrong, or its end
SHORT = 1.0  # seconds; if a part of a list ends that much beyond the audio, that is said


class Part(NamedTuple):
    """A stretch of a source."""

    start: float  # seconds
    end: float | None  # None for that of the source
    name: str  # for messages
    word: str = "start"  # how whoever gave it calls its beginning


class Parts:
    """Parts of one source, in any order, which may overlap.

    Parameters
    ----------
    source
        What to read; what comes before the first part is not decoded where the source can do
        without.
    parts
        At least one.
    """

    def __init__(self, source: Source, parts: Sequence[Part]) -> None:
        self.source, self.parts = source, parts

    def __len__(self) -> int:
        return len(self.parts)

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks of the source."""
        return self.source.blocks()

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield which part has something new: samples, an error, or None for its end.

        Yields
        ------
        tuple of int and numpy.ndarray, MusicSSLError or None
            Parts that overlap take turns.
        """
        rate = self.source.sample_rate
        starts = [round(part.start * rate) for part in self.parts]
        stops = [
            None if part.end is None else start + max(1, round((part.end - part.start) * rate))
            for part, start in zip(self.parts, starts, strict=True)
        ]
        waiting = deque(sorted(range(len(starts)), key=starts.__getitem__))
        open_: list[int] = []
        at = self.source.skip(starts[waiting[0]])
        for block in self.blocks():
            end = at + len(block)
            while waiting and starts[waiting[0]] < end:
                open_.append(waiting.popleft())
            still = []
            for i in open_:
                stop = stops[i]
                yield i, block[max(0, starts[i] - at) : None if stop is None else stop - at]
                if stop is not None and stop <= end:
                    yield i, None
                else:
                    still.append(i)
            open_, at = still, end
            if not open_ and not waiting:
                return
        for i in open_:
            self._report_short(self.parts[i], at / rate)
            yield i, None
        for i in waiting:
            part = self.parts[i]
            yield (
                i,
                AudioError(
                    f"{part.name}: {part.word} is {part.start:g} s, but the audio lasts "
                    f"{at / rate:.3f} s."
                ),
            )

    def _report_short(self, part: Part, lasts: float) -> None:
        """Warn of a part of a list that ends well beyond the audio; an excerpt may."""
        if part.word == "start" and part.end is not None and part.end > lasts + SHORT:
            log.warning(
                "%s: end is %g s, but the audio lasts %.3f s; what is there is used.",
                part.name,
                part.end,
                lasts,
            )
