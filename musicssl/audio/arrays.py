"""Arrays and tensors as audio: which dtypes and shapes mean what."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.audio.decoder import Decoder
from musicssl.errors import AudioError

INTEGER_SCALES = {"int8": 2**7, "uint8": 2**7, "int16": 2**15, "int32": 2**31}
DTYPES = ("float16", "float32", "float64", *INTEGER_SCALES)
MOST_UNSAID = 8  # channels that an array may have without saying so: more look like a batch


class ArrayDecoder(Decoder):
    """Slices of an array, converted one at a time."""

    def __init__(self, audio: NDArray[Any], rate: int) -> None:
        """Take audio of shape (samples, channels)."""
        super().__init__()
        self._audio, self.rate = audio, rate
        self.frames, self.channels = audio.shape
        self.promised = self.frames

    def skip(self, samples: int) -> bool:
        if not 0 <= samples < len(self._audio):
            return False
        self._audio = self._audio[samples:]
        return True

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
        hint = ""
        if isinstance(audio, (bytes, bytearray)):
            hint = "; wrap it in io.BytesIO"
        elif isinstance(audio, Iterable) and not isinstance(audio, (list, tuple)):
            hint = "; pass several as a list, in whose order the results are, such as list(...)"
        raise AudioError(f"expected a path, binary file, numpy array or torch tensor{hint}.")
    if array.dtype.newbyteorder("=").name not in DTYPES:
        of_paths = array.dtype.kind in "UO" and array.ndim == 1
        hint = " For paths, pass a list of them." if of_paths else ""
        raise AudioError(f"dtype {array.dtype}; expected one of {', '.join(DTYPES)}.{hint}")
    if sr is None:
        raise AudioError("sr is missing; give the sample rate in Hz with arrays and tensors.")
    return ArrayDecoder(_samples_first(array, channel_axis), sr)


def _array(audio: Any) -> NDArray[Any] | None:
    """Return an array or tensor as a numpy array, anything else as None."""
    ma = sys.modules.get("numpy.ma")  # who has such an array has loaded it; it takes 0.1 s
    if ma is not None and isinstance(audio, ma.MaskedArray) and ma.is_masked(audio):
        raise AudioError(
            "some samples are masked, and there is no saying what is to be heard there; "
            "audio.filled(0) makes them silence."
        )
    if isinstance(audio, np.ndarray):
        return np.asarray(audio)  # np.matrix would stay two-dimensional
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is None or not isinstance(audio, torch.Tensor):
        return None
    try:
        return _values(audio, torch)
    except AudioError:
        raise
    except Exception as error:  # such as of tensors inside vmap, or on a device that is lost
        reason = str(error).partition("\n")[0]
        raise AudioError(f"the tensor's values cannot be read ({reason}).") from error


def _values(tensor: Any, torch: Any) -> NDArray[Any]:
    """Return a tensor's values, as they are after all that is pending."""
    kinds = {"meta": tensor.is_meta, "nested": tensor.is_nested, "quantized": tensor.is_quantized}
    for kind, found in kinds.items():
        if found:
            raise AudioError(f"a {kind} tensor; expected an ordinary one, with its samples.")
    if tensor.layout != torch.strided:
        raise AudioError(f"layout {tensor.layout}; expected a dense tensor.")
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in (*DTYPES, "bfloat16"):
        raise AudioError(f"dtype {name}; expected one of {', '.join(DTYPES)}.")
    tensor = tensor.detach().cpu()
    tensor = tensor.float() if name == "bfloat16" else tensor
    return tensor.resolve_neg().numpy()


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
        if channel_axis is None and (rows > columns > 0 or rows > MOST_UNSAID):
            raise AudioError(
                f"{rows:,} channels of {columns:,} samples? Expected (channels, samples) with at "
                f"most {MOST_UNSAID} channels. Say channel_axis=1 if it is (samples, channels), "
                "channel_axis=0 if it is not; if these are several sounds, pass list(audio)."
            )
        array = array if channel_axis in (1, -1) else array.T
    samples, channels = array.shape
    if channels and not samples:
        raise AudioError("empty: there are 0 samples.")
    return array
