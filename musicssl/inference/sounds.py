"""The forms in which other libraries hand over audio, as what `open_source` takes."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from musicssl.audio.arrays import MOST_UNSAID
from musicssl.errors import AudioError, shown


def several(audio: Any) -> list[Any] | None:
    """Return the sounds of a list, a Series, an array of paths or an iterator; None for one sound.

    Raises
    ------
    AudioError
        If it is a list of numbers.
    """
    if isinstance(audio, (str, bytes, bytearray, memoryview, Mapping, Tensor)) or _is_pair(audio):
        return None
    if isinstance(audio, np.ndarray):
        return list(audio.ravel()) if audio.dtype.kind in "OUS" else None
    if hasattr(audio, "read") or hasattr(audio, "__fspath__") or _is_decoder(audio):
        return None
    if hasattr(audio, "columns"):
        raise AudioError("audio is a table; pass one of its columns, such as table['path'].")
    if hasattr(audio, "to_numpy") and _dtype_kind(audio) in "iuf":
        return None  # a Series of numbers is one sound
    # among sequences are the columns of Hugging Face datasets
    if not isinstance(audio, (Sequence, Iterator)) and not hasattr(audio, "to_numpy"):
        return None
    items = list(np.asarray(audio)) if _is_arrow(audio) else list(audio)
    if items and all(isinstance(item, (int, float, np.number)) for item in items):
        raise AudioError("audio is a list of numbers; pass numpy.asarray(...) for one sound.")
    return items


def unwrap(item: Any, rate: float | None) -> tuple[Any, float | None]:
    """Return a sound and its rate, where these come together.

    Parameters
    ----------
    item
        Samples with their rate, as `librosa.load` and `soundfile.read` return them; an audio
        column's value of Hugging Face datasets, decoded or not; a decoder or samples of
        torchcodec; a file's bytes; or what `open_source` takes anyway.
    rate
        Hz, as given beside it.

    Raises
    ------
    AudioError
        If it has no audio in it, or another rate than was given.
    """
    if isinstance(item, (str, np.ndarray, Tensor)):
        return item, rate
    if _is_pair(item):
        own = item[1]
        return item[0], _agreed(own if _is_number(own) else own.item(), rate)
    if isinstance(item, Mapping):
        return _from_mapping(item, rate)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return io.BytesIO(item), rate
    if hasattr(item, "get_all_samples"):
        item = item.get_all_samples()
    if _is_decoder(item):
        samples = item.data
        samples = samples.cpu().numpy() if isinstance(samples, Tensor) else samples
        return samples, _agreed(item.sample_rate, rate)
    if hasattr(item, "to_numpy"):  # a Series
        return np.asarray(item) if _is_arrow(item) else item.to_numpy(), rate
    return item, rate


def _dtype_kind(series: Any) -> str:
    """Return numpy's letter for what a Series or an array of Arrow holds, "O" for what has none."""
    dtype = getattr(np.asarray(series) if _is_arrow(series) else series, "dtype", None)
    return str(getattr(dtype, "kind", "O"))


def _is_arrow(audio: Any) -> bool:
    """Tell whether it is an array of Arrow, whose own items are no Python objects."""
    return hasattr(audio, "to_numpy") and not hasattr(audio, "dtype")


def _is_pair(item: Any) -> bool:
    """Tell whether it is samples and their rate."""
    if not isinstance(item, tuple) or len(item) != 2:
        return False
    samples, rate = item
    if isinstance(rate, (np.ndarray, Tensor)) and rate.ndim == 0:
        rate = rate.item()
    return isinstance(samples, (np.ndarray, Tensor)) and _is_number(rate)


def has_channels_last(item: Any) -> bool:
    """Tell whether it is several channels as `soundfile.read` returns them: with their rate."""
    if not _is_pair(item):
        return False
    shape = tuple(item[0].shape)
    return len(shape) == 2 and 0 < shape[1] <= MOST_UNSAID < shape[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _is_decoder(item: Any) -> bool:
    """Tell whether it is a decoder or the samples of torchcodec."""
    if hasattr(item, "get_all_samples"):
        return True
    return hasattr(item, "sample_rate") and hasattr(item, "pts_seconds") and hasattr(item, "data")


def _from_mapping(item: Mapping[str, Any], rate: float | None) -> tuple[Any, float | None]:
    if item.get("array") is not None and item.get("sampling_rate") is not None:
        samples = item["array"]
        return _array(samples), _agreed(item["sampling_rate"], rate)
    if (data := item.get("bytes")) is not None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise AudioError(f"audio['bytes'] must be bytes, got {shown(data, kind=True)}.")
        return io.BytesIO(data), rate
    if item.get("path") is not None:
        return item["path"], rate
    keys = ", ".join(f"{shown(k)}{': None' * (v is None)}" for k, v in item.items()) or "nothing"
    raise AudioError(
        f"audio is a dict of {keys}; expected 'array' and 'sampling_rate', 'bytes', or 'path'."
    )


def _array(samples: Any) -> Any:
    """Return samples as an array or a tensor.

    Raises
    ------
    AudioError
        If they are in no such form.
    """
    if isinstance(samples, Tensor):
        return samples
    try:
        return np.asarray(samples)
    except (TypeError, ValueError) as error:  # lists of different lengths
        raise AudioError(f"audio['array'] is no array ({error}).") from error


def _agreed(own: Any, rate: float | None) -> Any:
    """Return the rate that audio brings along, which a given one must not contradict."""
    if rate is not None and rate != own:
        raise AudioError(f"sr is {rate:g}, but the audio comes with the rate {shown(own)}.")
    return own


def check_part(offset: Any, duration: Any) -> tuple[float, float | None]:
    """Return where a part begins and how long it is, in seconds.

    Raises
    ------
    AudioError
        If these are no such numbers.
    """
    for name, value, least in (("offset", offset, "at least 0"), ("duration", duration, "above 0")):
        if name == "duration" and value is None:
            continue
        good = _is_number(value) and np.isfinite(value) and value >= 0
        if not good or (name == "duration" and value == 0):
            raise AudioError(
                f"{name} must be a number of seconds, {least}, got {shown(value, kind=True)}."
            )
    return float(offset), None if duration is None else float(duration)
