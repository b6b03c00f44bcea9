"""One sound or many, numpy or torch: how audio comes in and results go out."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicssl import arguments
from musicssl.audio import RESAMPLERS, AudioInput, Source, open_source
from musicssl.audio.mix import MIXES
from musicssl.errors import AudioError, MusicSSLError, pick, shown
from musicssl.inference.batching import Embedding, Engine

Embedded = NDArray[np.float32] | Tensor | Embedding | list[Embedding]


def embed_inputs(
    engine: Engine,
    audio: AudioInput | Sequence[AudioInput],
    sr: float | Sequence[float | None] | None,
    *,
    resampler: str,
    channel_axis: int | None,
    mono: str,
) -> Embedded:
    """Embed one sound or a list of them; see `musicssl.get_embedding`."""
    pick(RESAMPLERS, resampler, "resampler")
    pick(MIXES, mono, "mono")
    if channel_axis is not None:
        channel_axis = arguments.integer(
            channel_axis, "channel_axis", least=-2, most=1, error=AudioError
        )
    choices = {"resampler": resampler, "channel_axis": channel_axis, "mono": mono}
    if not isinstance(audio, (list, tuple)):
        if (rates := _several(sr)) is not None:
            raise AudioError(f"sr is a list of {len(rates)} rates for one sound; give one number.")
        return _results(engine, [audio], [_rate(sr, "sr")], choices)[0]  # type: ignore[no-any-return]
    _check_list(audio)
    results = _results(engine, audio, _rates(sr, audio), choices)
    if engine.settings.pooling == "none":
        return results
    if all(isinstance(result, Tensor) for result in results):
        return torch.stack([result.to(results[0].device) for result in results])
    return np.stack([x.cpu().numpy() if isinstance(x, Tensor) else x for x in results])


def check_batch(audio: Any, samples: Any, device: torch.device) -> None:
    """Refuse what a model cannot take: see `musicssl.MusicEncoder.forward`.

    Raises
    ------
    AudioError
        If it is no batch of audio on that device, or `samples` does not fit it.
    """
    if not isinstance(audio, Tensor) or not audio.is_floating_point():
        kind = audio.dtype if isinstance(audio, Tensor) else type(audio).__name__
        raise AudioError(f"audio must be a tensor of floats in [-1, 1], got {kind}.")
    if audio.ndim != 2 or 0 in audio.shape:
        raise AudioError(f"audio must have the shape (batch, samples), got {tuple(audio.shape)}.")
    if audio.device != device:
        raise AudioError(f"audio is on the device {audio.device}, the model on {device}.")
    if samples is None:
        return
    whole = isinstance(samples, Tensor) and not (
        samples.is_floating_point() or samples.is_complex() or samples.dtype is torch.bool
    )
    if not whole or samples.shape != audio.shape[:1]:
        raise AudioError(
            f"samples must be a tensor of {len(audio)} whole numbers, one a row, "
            f"got {shown(samples, kind=True)}."
        )


def _check_list(audio: Sequence[Any]) -> None:
    """Refuse lists that are no list of sounds."""
    if not audio:
        raise AudioError("the list of audio is empty; expected at least one.")
    numbers = [isinstance(item, (int, float, np.number)) for item in audio]
    if all(numbers):
        raise AudioError("audio is a list of numbers; pass numpy.asarray(...) for one sound.")
    if len(audio) == 2 and numbers[1] and isinstance(audio[0], (np.ndarray, Tensor)):
        raise AudioError(
            "audio is a pair of samples and their rate, as librosa.load and soundfile.read give; "
            "pass the two one after the other: audio, sr."
        )


def _results(
    engine: Engine, items: Sequence[Any], rates: Sequence[Any], choices: dict[str, Any]
) -> list[Any]:
    """Return one result a sound, of its kind; of several, errors name which."""

    def sources() -> Iterator[Source | MusicSSLError]:
        for item, rate in zip(items, rates, strict=True):
            try:
                yield open_source(item, rate, sample_rate=engine.model.sample_rate, **choices)
            except MusicSSLError as error:
                yield error

    out = []
    for i, (item, result) in enumerate(zip(items, engine.run(sources()), strict=True)):
        if isinstance(result, MusicSSLError):
            raise type(result)(f"audio[{i}]: {result}") if len(items) > 1 else result
        out.append(_like(item, result))
    return out


def _rates(sr: Any, items: Sequence[Any]) -> list[float | None]:
    """Return one sample rate an item; a single one holds for each of them."""
    rates = _several(sr)
    if rates is None:
        return [_rate(sr, "sr")] * len(items)
    if len(rates) != len(items):
        raise AudioError(f"{len(rates)} sample rates for {len(items)} sounds; give one each.")
    return [_rate(rate, f"sr[{i}]") for i, rate in enumerate(rates)]


def _several(sr: Any) -> list[Any] | None:
    """Return a list of rates as a list, one rate as None."""
    if isinstance(sr, (list, tuple, range)):
        return list(sr)
    dimensions = getattr(sr, "ndim", 0)  # of an array, a tensor, a pandas.Series
    if dimensions not in (0, 1):
        raise AudioError(f"sr has {shown(dimensions)} dimensions; give one rate or a list.")
    return list(sr) if dimensions else None


def _rate(sr: Any, what: str) -> float | None:
    """Return a plain number of Hz, in whatever form it came; its range is `open_source`'s."""
    if sr is None:
        return None
    hertz = arguments.number(sr, what, error=AudioError)
    return int(hertz) if hertz.is_integer() else hertz


def _like(item: Any, result: Any) -> Any:
    """Return a result as a tensor on its device if the audio was a tensor."""
    if not isinstance(item, Tensor):
        return result
    if isinstance(result, Embedding):
        values, times = (torch.from_numpy(x) for x in result)
        if item.device.type == "mps":  # has no 64-bit floats
            times = times.float()
        return Embedding(values.to(item.device), times.to(item.device))
    return torch.from_numpy(result).to(item.device)
