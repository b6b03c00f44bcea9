"""Arrays and tensors as audio: which dtypes and shapes mean what."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.audio.decode import Decoder
from musicssl.errors import AudioError

INTEGER_SCALES = {"int8": 2**7, "uint8": 2**7, "int16": 2**15, "int32": 2**31}
DTYPES = ("float16", "float32", "float64", *INTEGER_SCALES)


class ArrayDecoder(Decoder):
    """Slices of an array, converted one at a time."""

    def __init__(self, audio: NDArray[Any], rate: int) -> None:
        """Take audio of shape (samples, channels)."""
        super().__init__()
        self._audio, self.rate = audio, rate
        self.frames, self.channels = audio.shape
        self.promised = self.frames

    def read(self) -> Iterator[NDArray[np.float32]]:
        """Scale integers to [-1, 1]; uint8 is centred on 128, as in WAV files."""
        scale = INTEGER_SCALES.get(self._audio.dtype.newbyteorder("=").name)
        for start in range(0, len(self._audio), self.block_frames):
            part = self._audio[start : start + self.block_frames]
            with np.errstate(over="ignore"):  # float64 beyond float32: reported as infinite
                block = part.astype(np.float32, copy=False)
            if scale is not None:
                offset = 128 if part.dtype == np.uint8 else 0
                block = (block - np.float32(offset)) * np.float32(1 / scale)
            yield block


def open_array(audio: Any, sr: int | None, channel_axis: int | None) -> ArrayDecoder:
    """Check an array or tensor and make it readable in blocks.

    Parameters
    ----------
    audio
        Shape (samples,) or (channels, samples), of a dtype in `DTYPES` or bfloat16.
    sr
        Hz.
    channel_axis
        As in `open_source`.

    Raises
    ------
    AudioError
        If it is neither array nor tensor, or not audio; without naming it: the caller does.
    """
    array = _array(audio)
    if array is None:
        hint = "; wrap it in io.BytesIO" if isinstance(audio, (bytes, bytearray)) else ""
        raise AudioError(f"expected a path, binary file, numpy array or torch tensor{hint}.")
    if sr is None:
        raise AudioError("sr is missing; give the sample rate in Hz with arrays and tensors.")
    if array.dtype.newbyteorder("=").name not in DTYPES:
        raise AudioError(f"dtype {array.dtype}; expected one of {', '.join(DTYPES)}.")
    return ArrayDecoder(_samples_first(array, channel_axis), sr)


def _array(audio: Any) -> NDArray[Any] | None:
    """Return an array or tensor as a numpy array, anything else as None."""
    if isinstance(audio, np.ndarray):
        return np.asarray(audio)  # np.matrix would stay two-dimensional
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is None or not isinstance(audio, torch.Tensor):
        return None
    tensor = audio.detach().cpu()
    if tensor.layout != torch.strided:
        raise AudioError(f"layout {tensor.layout}; expected a dense tensor.")
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    array: NDArray[Any] = tensor.resolve_neg().numpy()
    return array


def _samples_first(array: NDArray[Any], channel_axis: int | None) -> NDArray[Any]:
    """Return a view of shape (samples, channels)."""
    if array.ndim == 1:
        array = array[:, None]
    elif array.ndim != 2:
        raise AudioError(
            f"{array.ndim} dimensions; expected (samples,) or (channels, samples), one sound."
        )
    else:
        rows, columns = array.shape
        if channel_axis is None and rows > columns > 0:
            raise AudioError(
                f"{rows:,} channels of {columns:,} samples? Expected (channels, samples). If it "
                "is (samples, channels), say channel_axis=1; if not, channel_axis=0."
            )
        array = array if channel_axis in (1, -1) else array.T
    samples, channels = array.shape
    if channels and not samples:
        raise AudioError("empty: there are 0 samples.")
    return array
