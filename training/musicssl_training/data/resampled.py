"""A pack as a source of excerpts at a lower sample rate, for encoders that hear less."""

import math

import numpy as np
import soxr
from numpy.typing import NDArray

from musicssl.audio.resample import resampled_length
from musicssl_training.data.pack import RATE, Pack, Row
from musicssl_training.data.teaching import Lessons
from musicssl_training.midi.score import Score

MARGIN = 1024  # samples on both sides of an excerpt, for the resampler


def whole_samples_before(start: int, rate: int, sample_rate: int) -> int:
    """Return a sample, `MARGIN` or more before `start`, that coincides with one at `rate`."""
    step = sample_rate // math.gcd(rate, sample_rate)  # that many come from whole ones
    return max(0, (start - MARGIN) // step) * step


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
        first = whole_samples_before(start, rate, self.sample_rate)
        begin = first * rate // self.sample_rate
        wanted = -(-(start - first + samples + MARGIN) * rate // self.sample_rate)
        wanted = min(wanted, self.pack.items[item]["samples"] - begin)
        audio = soxr.resample(self.pack.excerpt(item, begin, wanted), rate, self.sample_rate)
        out = np.zeros(samples, np.float32)  # the resampler may round the last sample away
        part = audio[start - first : start - first + samples]
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
