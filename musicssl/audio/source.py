"""`Source`: opened audio, decoded, mixed to mono, resampled and checked block by block."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from musicssl.audio.decoder import MOST_PEAK, Decoder, falls_short
from musicssl.audio.mix import Mix
from musicssl.audio.resample import Resampler, resampled_length
from musicssl.errors import AudioError

log = logging.getLogger(__name__)

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz
SHORTEST_DAMAGED = 0.04  # seconds; less than that of a damaged file is no result


@dataclass(eq=False)
class Source:
    """Opened audio, to be read once through `blocks`; close it, or use it in a ``with``.

    Sources do not share state: different ones can be read in different threads.
    """

    name: str  # for messages
    native_rate: int  # Hz, at the beginning
    channels: int  # at the beginning
    native_samples: int | None  # by the header; None: unknown
    sample_rate: int  # Hz, of the blocks
    _decoder: Decoder = field(repr=False)
    _make: Callable[[int, int], Resampler] = field(repr=False)
    _mix: Mix = field(repr=False)
    # What was heard, known after `blocks`:
    decoded: float = 0.0  # seconds
    promised: float | None = None  # seconds, by the header; None: it does not say
    damaged: int = 0  # spots where something could not be decoded and was skipped
    truncated: bool = False  # the content ends before what the header promised
    peak: float = 0.0  # of what is heard, before it is resampled
    cancels: bool = False  # the channels are in opposite phase: their mean is nearly silent
    _used: bool = field(default=False, repr=False)
    _skipped: int = field(default=0, repr=False)  # samples at the native rate

    def __post_init__(self) -> None:
        if (samples := self._decoder.promised) is not None:
            self.promised = samples / self.native_rate

    @property
    def samples(self) -> int | None:
        """Expected total of `blocks`; None if unknown, and a file's header may be wrong."""
        if self.native_samples is None:
            return None
        return resampled_length(self.native_samples, self.native_rate, self.sample_rate)

    @property
    def duration(self) -> float | None:
        """Expected seconds; None if unknown."""
        return None if self.native_samples is None else self.native_samples / self.native_rate

    @property
    def counted(self) -> bool:
        """True if `native_samples` was counted, not only read in a header that may be wrong."""
        return self._decoder.counted

    def skip(self, samples: int) -> int:
        """Pass over the beginning without decoding it, as far as that changes nothing of the rest.

        Parameters
        ----------
        samples
            At `sample_rate`; what comes from there on is to be the same as without this call.

        Returns
        -------
        int
            With which sample `blocks` will begin: at most `samples`, 0 where nothing is skipped.
        """
        step = self.native_rate // math.gcd(self.native_rate, self.sample_rate)
        native = samples * self.native_rate // self.sample_rate
        if self.sample_rate != self.native_rate:
            native -= self.native_rate  # a second: more than any resampler hears of the past
        native -= native % step  # where samples at both rates coincide
        if self._used or native <= 0 or not self._decoder.skip(native):
            return 0
        self._skipped = native
        self.decoded = native / self.native_rate
        return native * self.sample_rate // self.native_rate

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Decode, mix to mono, and resample.

        Returns
        -------
        iterator of numpy.ndarray, shape (samples,)
            About 10 s each; in total ``resampled_length(decoded samples)``, of each stretch at
            one rate where the rate changes inside a file.

        Raises
        ------
        AudioError
            If called a second time or after `close`; while reading, if the file cannot be read
            to its end, if there are no samples, or NaN, infinity or peaks that no audio has.
        """
        if self._used:
            raise AudioError(f"{self.name}: already read or closed; open it again.")
        self._used = True
        return self._blocks()

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        section = Section(self._rate_now(), self.sample_rate, self._make)
        native = self._skipped
        try:
            for block in self._decoder.read():
                if self._decoder.rate != section.rate:
                    if len(rest := section.end()):
                        yield rest
                    section = Section(self._rate_now(), self.sample_rate, self._make)
                mono = self._mix(block)
                peak = check_samples(block, mono, self._decoder.rate, self.decoded)
                self.peak = max(self.peak, peak)
                native += len(mono)
                self.decoded += len(mono) / section.rate
                if len(ready := section.add(mono)):
                    yield ready
            self._finish(native)
        except AudioError as error:
            if str(error).startswith(f"{self.name}: "):
                raise
            raise AudioError(f"{self.name}: {error}") from error.__cause__
        finally:
            self.close()
        if len(rest := section.end()):
            yield rest

    def _rate_now(self) -> int:
        """Return the rate of the block at hand."""
        return check_rate(self._decoder.rate, "its sample rate")

    def _finish(self, native: int) -> None:
        """Find out what is missing of a file that is damaged or ends before its time."""
        decoder = self._decoder
        if not native:
            raise AudioError(f"no samples could be decoded ({decoder.broken or 'empty'}).")
        self.damaged = decoder.damaged
        self.truncated = falls_short(
            max(native, round(decoder.reached * self.native_rate)),
            decoder.promised,
            self.native_rate,
        )
        if decoder.promised is None:
            self.promised = None  # also where what the first of several links said is void
            self.truncated = decoder.cut or decoder.broken is not None
        self.cancels = self._mix.cancels
        reason = f" ({decoder.broken})" if decoder.broken else ""
        if (self.truncated or self.damaged) and self.decoded < SHORTEST_DAMAGED:
            raise AudioError(
                f"damaged; only {1000 * self.decoded:.1f} ms could be decoded{reason}."
            )
        self._report(reason)

    def _report(self, reason: str) -> None:
        """Warn of what was skipped, cut off or unexpected."""
        if self.truncated:
            whole = "" if self.promised is None else f" of {self.promised:.3f} s"
            log.warning(
                "%s: cut off or damaged; only its first %.3f s%s are used%s.",
                self.name,
                self.decoded,
                whole,
                reason,
            )
        if self.damaged:
            spots = (
                "1 damaged spot was" if self.damaged == 1 else f"{self.damaged} damaged spots were"
            )
            log.warning("%s: %s skipped; %.3f s are used.", self.name, spots, self.decoded)
        if self.promised is not None and self.decoded > 1.03 * self.promised + 0.1:
            log.warning(
                "%s: its header promises %.3f s, but there are %.3f s, which are all used.",
                self.name,
                self.promised,
                self.decoded,
            )
        if self.cancels:
            log.warning(
                "%s: its channels are in opposite phase and cancel each other: their mean is "
                "nearly silent. mono='left' or 'right' hears one of them.",
                self.name,
            )

    def close(self) -> None:
        """Release the file; a file object that was passed in stays open."""
        self._used = True
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Section:
    """A stretch of audio at one rate on its way to another."""

    def __init__(self, rate: int, to_rate: int, make: Callable[[int, int], Resampler]) -> None:
        self.rate, self._to_rate = rate, to_rate
        self._resampler = None if rate == to_rate else make(rate, to_rate)
        self._native = self._given = 0

    def add(self, mono: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what can be said so far."""
        self._native += len(mono)
        ready = mono if self._resampler is None else self._resampler(mono)
        self._given += len(ready)
        return ready

    def end(self) -> NDArray[np.float32]:
        """Return what is left."""
        left = resampled_length(self._native, self.rate, self._to_rate) - self._given
        if self._resampler is None or not left:
            return np.empty(0, np.float32)
        return self._resampler(np.empty(0, np.float32), last=True)[:left]


def check_samples(
    block: NDArray[np.float32], mono: NDArray[np.float32], rate: int, start: float = 0.0
) -> float:
    """Return the peak of what is heard.

    Parameters
    ----------
    block
        Shape (samples, channels).
    mono
        What was made of it, shape (samples,).
    rate
        Hz.
    start
        When the block begins, in seconds, for messages.

    Raises
    ------
    AudioError
        If it is no audio.
    """
    low, high = mono.min(), mono.max()
    if low >= -MOST_PEAK and high <= MOST_PEAK:  # false for NaN
        return max(float(-low), float(high))
    finite = np.isfinite(block).all(axis=1)
    if not finite.all():
        first = start + int(finite.argmin()) / rate
        raise AudioError(
            f"{np.count_nonzero(~finite):,} of {len(block):,} samples from "
            f"{start:.3f} s on are NaN or infinite, the first at {first:.6f} s."
        )
    raise AudioError(
        f"peak {max(-low, high):,.0f}, but audio lies in [-1, 1]. "
        "This looks like integers stored as floats: divide by 32768."
    )


def check_rate(value: Any, what: str) -> int:
    """Return a rate in Hz as an integer."""
    wanted = f"expected {LOWEST_RATE:,} to {HIGHEST_RATE:,} Hz"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise AudioError(f"{what} is {value!r}; {wanted}.")
    number = float(value)
    if not LOWEST_RATE <= number <= HIGHEST_RATE:
        hint = " Is that kHz?" if LOWEST_RATE <= number * 1000 <= HIGHEST_RATE else ""
        raise AudioError(f"{what} is {value}; {wanted}.{hint}")
    if number != int(number):
        raise AudioError(f"{what} is {value}; expected a whole number of Hz.")
    return int(number)
