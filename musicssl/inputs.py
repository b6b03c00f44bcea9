"""One sound or many, numpy or torch: how audio comes in and results go out."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicssl.audio import AudioInput, Source, open_source
from musicssl.engine import Embedding, Engine
from musicssl.errors import AudioError, MusicSSLError

Embedded = NDArray[np.float32] | Tensor | Embedding | list[Embedding]


def embed_inputs(
    engine: Engine,
    audio: AudioInput | Sequence[AudioInput],
    sr: float | Sequence[float | None] | None,
    *,
    resampler: str,
    channel_axis: int | None,
) -> Embedded:
    """Embed one sound or a list of them; see `musicssl.get_embedding`."""
    if not isinstance(audio, (list, tuple)):
        if isinstance(sr, (list, tuple, np.ndarray)):
            raise AudioError(f"sr is a list of {len(sr)} rates for one sound; give one number.")
        return _results(engine, [audio], [sr], resampler, channel_axis)[0]  # type: ignore[no-any-return]
    if not audio:
        raise AudioError("the list of audio is empty; expected at least one.")
    if all(isinstance(item, (int, float, np.number)) for item in audio):
        raise AudioError("audio is a list of numbers; pass numpy.asarray(...) for one sound.")
    results = _results(engine, audio, _rates(sr, audio), resampler, channel_axis)
    if engine.settings.pooling == "none":
        return results
    if all(isinstance(result, Tensor) for result in results):
        return torch.stack([result.to(results[0].device) for result in results])
    return np.stack([np.asarray(torch.as_tensor(result).cpu()) for result in results])


def _results(
    engine: Engine,
    items: Sequence[Any],
    rates: Sequence[Any],
    resampler: str,
    channel_axis: int | None,
) -> list[Any]:
    """Return one result a sound, of its kind; of several, errors name which."""

    def sources() -> Iterator[Source | MusicSSLError]:
        for item, rate in zip(items, rates, strict=True):
            try:
                yield open_source(
                    item,
                    rate,
                    sample_rate=engine.model.sample_rate,
                    resampler=resampler,
                    channel_axis=channel_axis,
                )
            except MusicSSLError as error:
                yield error

    out = []
    for i, (item, result) in enumerate(zip(items, engine.run(sources()), strict=True)):
        if isinstance(result, MusicSSLError):
            raise type(result)(f"audio[{i}]: {result}") if len(items) > 1 else result
        out.append(_like(item, result))
    return out


def _rates(sr: Any, items: Sequence[Any]) -> list[Any]:
    """Return one sample rate an item; a single one holds for arrays and tensors."""
    if not isinstance(sr, (list, tuple, np.ndarray)):
        return [sr if isinstance(item, (np.ndarray, Tensor)) else None for item in items]
    if len(sr) != len(items):
        raise AudioError(f"{len(sr)} sample rates for {len(items)} sounds; give one each.")
    return list(sr)


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
