"""Timestamps of decoded frames: where the last one ends, and what is missing between them."""

from typing import Any

GAP = 0.02  # seconds that a packet comes too late: something between was lost


class FrameClock:
    """Timestamps of a stream's frames, compared with how long those before them last.

    Parameters
    ----------
    even
        Times are numbers of frames times their length, so they mean nothing unless all but the
        last are equally long.
    """

    def __init__(self, *, even: bool) -> None:
        self._gaps = 0
        self._even, self._lengths = even, set[int]()
        self._first: float | None = None
        self._due: float | None = None
        self._heard = 0.0
        self._rates: set[int] = set()

    def add(self, frame: Any, *, counted: bool) -> None:
        """Take the next frame; a gap before it is not counted again."""
        self._rates.add(frame.sample_rate)
        if self._even:
            self._lengths.add(frame.samples)
        length = frame.samples / frame.sample_rate
        self._heard += length
        if frame.time is None:
            return
        if self._due is None:
            self._first = frame.time
        elif frame.time > self._due + GAP and not counted:
            self._gaps += 1
        self._due = frame.time + length

    @property
    def reached(self) -> float:
        """End of the last frame, in seconds."""
        return 0.0 if self._due is None or len(self._rates) > 1 else self._due

    @property
    def holes(self) -> int:
        """Number of gaps, if time is really missing: some timestamps are not exact."""
        if self._due is None or self._first is None:
            return 0
        if len(self._rates) > 1 or len(self._lengths) > 2:
            return 0
        missing = self._due - self._first - self._heard
        return min(self._gaps, max(1, int(missing / GAP))) if missing > GAP else 0
