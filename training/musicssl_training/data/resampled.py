"""A pack as a source of excerpts at a lower sample rate, for encoders that hear less."""

import math
from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from musicssl.audio.resample import resampled_length
from musicssl_training.data.pack import Pack
from musicssl_training.data.recordings import RATE, Row
from musicssl_training.data.teaching import Lessons
from musicssl_training.midi.score import Score

MARGIN = 1024  # samples on both sides of an excerpt, for the resampler


class Stretch(NamedTuple):
    """Samples to read at one rate, so that a stretch at another is that of the whole recording."""

    first: int
    length: int  # if there is so much
    skip: int  # of the resampled ones, before the stretch begins

    @classmethod
    def around(cls, start: int, samples: int, rate: int, sample_rate: int) -> "Stretch":
        """Return what to read at `rate` for a stretch at `sample_rate`, with `MARGIN` around it."""
        step = sample_rate // math.gcd(rate, sample_rate)  # that many come from whole ones
        first = max(0, (start - MARGIN) // step) * step
        length = -(-(start - first + samples + MARGIN) * rate // sample_rate)
        return cls(first * rate // sample_rate, length, start - first)


class ResampledPack:
    """The recordings of a pack at another rate than its own."""

    def __init__(self, pack: Pack, sample_rate: int) -> None:
        self.pack, self.sample_rate = pack, sample_rate
        self.rates: list[int] = [item.get("sample_rate", RATE) for item in pack.items]
        self.items: list[Row] = [
            item
            | {
                "samples": resampled_length(item["samples"], rate, sample_rate),
                "sample_rate": sample_rate,
            }
            for item, rate in zip(pack.items, self.rates, strict=True)
        ]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.pack.name

    def excerpt(self, item: int, start: int, samples: int) -> NDArray[np.float32]:
        """Return a stretch of a recording in [-1, 1], the same as that of the whole, (samples,)."""
        rate = self.rates[item]
        first, length, skip = Stretch.around(start, samples, rate, self.sample_rate)
        length = min(length, self.pack.items[item]["samples"] - first)
        audio = soxr.resample(self.pack.excerpt(item, first, length), rate, self.sample_rate)
        out = np.zeros(samples, np.float32)  # the resampler may round the last sample away
        part = audio[skip : skip + samples]
        out[: len(part)] = part.clip(-1, 1)
        return out

    def score(self, item: int, start: int, samples: int) -> Score | None:
        """Return what truly sounds in that stretch, where it is known."""
        return self.pack.score_between(item, start / self.sample_rate, samples / self.sample_rate)

    def lessons(self, teacher: str) -> Lessons | None:
        """Return what a teacher said of the recordings, if it was asked."""
        return self.pack.lessons(teacher)

    def digest(self) -> str:
        """Return the SHA-256 of the pack's index."""
        return self.pack.digest()
