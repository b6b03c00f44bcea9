"""Resample blocks of mono audio so that the blocks together equal the whole resampled in one go."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from musicssl.errors import AudioError, DependencyError
from musicssl.forking import uninterrupted

Samples = NDArray[np.float32]

LAST_TORCHAUDIO = (2, 11)  # torchaudio is no longer released after this one


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """Return ``ceil(samples * to_rate / from_rate)``, exact in integers.

    Examples
    --------
    >>> resampled_length(44_101, 44_100, 22_050)
    22051
    """
    return -(-samples * to_rate // from_rate)


class Resampler(ABC):
    """A stream of mono blocks at one rate to a stream at another; one object for one stream."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self.from_rate, self.to_rate = from_rate, to_rate

    @abstractmethod
    def __call__(self, block: Samples, *, last: bool = False) -> Samples:
        """Return what can be said so far; after `last`, at least `resampled_length` in total.

        Parameters
        ----------
        block
            Shape (samples,), contiguous; may be empty.
        last
            No block follows: what lies beyond is silence.
        """


class SoxrResampler(Resampler):
    """libsoxr at its HQ setting: the same samples as ``soxr.resample`` on the whole."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        super().__init__(from_rate, to_rate)
        self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")

    def __call__(self, block: Samples, *, last: bool = False) -> Samples:
        if last:  # soxr rounds the length and would leave out the last sample that we count
            tail = np.zeros(math.ceil(self.from_rate / self.to_rate) + 1, np.float32)
            block = np.concatenate([block, tail])
        with uninterrupted():
            resampled: Samples = self._stream.resample_chunk(block, last=last)
        return resampled


class OverlapResampler(Resampler):
    """Makes a streaming resampler of one that takes only whole signals.

    Blocks are cut at multiples of ``from_rate / gcd`` samples, where input and output samples
    coincide, and overlap by more than the filter's length, so the filter meets every sample at
    the phase and with the neighbours that it would have in one piece: exact up to the rounding
    of float32. What comes before and after the audio is silence, as it is for the originals.
    """

    def __init__(self, from_rate: int, to_rate: int, *, reach: int) -> None:
        """Keep `reach` samples of input, the filter's half length, on each side of a block."""
        super().__init__(from_rate, to_rate)
        divisor = math.gcd(from_rate, to_rate)
        self._step, self._out = from_rate // divisor, to_rate // divisor
        self._margin = math.ceil(reach / self._step) * self._step
        self._held = np.zeros(self._margin, np.float32)

    @abstractmethod
    def whole(self, audio: Samples) -> Samples:
        """Resample a signal of any length, shape (samples,)."""

    def __call__(self, block: Samples, *, last: bool = False) -> Samples:
        tail = np.zeros(self._margin + self._step if last else 0, np.float32)
        audio = np.concatenate([self._held, block, tail])
        steps = max(0, (len(audio) - 2 * self._margin) // self._step)
        self._held = audio[steps * self._step :].copy()
        if not steps:
            return np.empty(0, np.float32)
        first = self._margin // self._step * self._out
        resampled = self.whole(audio[: steps * self._step + 2 * self._margin])
        return resampled[first : first + steps * self._out]


class ResampyResampler(OverlapResampler):
    """resampy's ``kaiser_best``, for equality with older pipelines; about a hundred times slower.

    resampy itself gives ``floor`` of the new length: those samples are equal, one may follow.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._resampy = _import("resampy")
        filter_zeros = 64  # the most that a release of resampy has had in kaiser_best
        reach = math.ceil(filter_zeros * max(1, from_rate / to_rate)) + 1
        super().__init__(from_rate, to_rate, reach=reach)

    def whole(self, audio: Samples) -> Samples:
        """Resample with the filter ``kaiser_best``."""
        return self._resampy.resample(audio, self.from_rate, self.to_rate, filter="kaiser_best")


class TorchaudioResampler(OverlapResampler):
    """``torchaudio.functional.resample`` with its defaults, on the CPU.

    Its filter bank grows with the product of the rates over their divisor squared: rates that
    share none, such as 44,101 and 22,050 Hz, would take gigabytes and are refused.
    """

    MOST_WEIGHTS = 2**25

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._resample = _import("torchaudio").functional.resample
        self._torch = import_module("torch")
        filter_width, rolloff = 6, 0.99  # the defaults of functional.resample
        reach = math.ceil(filter_width * max(1, from_rate / to_rate) / rolloff) + 1
        super().__init__(from_rate, to_rate, reach=reach)
        weights = self._out * (self._step + 2 * reach)
        if weights > self.MOST_WEIGHTS:
            raise AudioError(
                f"torchaudio's filters from {from_rate:,} to {to_rate:,} Hz would take "
                f"{weights * 4 / 1e9:.1f} GB. Use resampler='soxr'."
            )

    def whole(self, audio: Samples) -> Samples:
        """Resample without recording gradients."""
        with uninterrupted(), self._torch.inference_mode():
            resampled: Samples = self._resample(
                self._torch.from_numpy(audio), self.from_rate, self.to_rate
            ).numpy()
            return resampled.copy()


RESAMPLERS: dict[str, Callable[[int, int], Resampler]] = {
    "soxr": SoxrResampler,
    "resampy": ResampyResampler,
    "torchaudio": TorchaudioResampler,
}


def _import(name: str) -> Any:
    """Import the package of an optional resampler, saying what to install if that fails."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise DependencyError(
                f"resampler={name!r} needs the package {name}: pip install 'musicssl[{name}]'."
            ) from None
        raise DependencyError(f"{name} cannot be imported: {error}.") from error
    except Exception as error:  # a mismatch shows as OSError, RuntimeError, AttributeError, ...
        advice = _matching_torch() if name == "torchaudio" else f"Reinstall {name}."
        raise DependencyError(f"{name} cannot be imported ({error}). {advice}") from error


def _matching_torch() -> str:
    """Say which torch and torchaudio are here and which would fit each other."""
    torch, torchaudio = version("torch"), version("torchaudio")
    release = torch.split("+")[0]
    here = f"torch is {torch} and torchaudio {torchaudio}; "
    if release == torchaudio.split("+")[0]:
        fit = "their builds (CPU or CUDA) differ: install both in one command from one index"
    elif tuple(int(part) for part in release.split(".")[:2]) <= LAST_TORCHAUDIO:
        fit = f"they must be equal: pip install torchaudio=={release}"
    else:
        last = ".".join(map(str, LAST_TORCHAUDIO))
        fit = (
            f"they must be equal, and torchaudio stops at {last}: "
            f"pip install 'torch=={last}.*' 'torchaudio=={last}.*'"
        )
    return f"{here}{fit}; or use resampler='soxr'."
