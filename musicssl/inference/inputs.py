"""One sound or many, numpy or torch: how audio comes in and results go out."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musicssl import arguments
from musicssl.audio import open_source
from musicssl.errors import AudioError, MusicSSLError, shown
from musicssl.inference.ahead import Opening
from musicssl.inference.options import EmbedOptions, Settings
from musicssl.inference.parts import Part, Parts
from musicssl.inference.results import AnyAudio, Embedding
from musicssl.inference.running import RunOptions, counted, in_threads
from musicssl.inference.sounds import has_channels_last, several, unwrap
from musicssl.network import Network
from musicssl.pooling import POOLINGS
from musicssl.segments.segment import Segment, checked

log = logging.getLogger(__name__)


def embed_inputs(
    model: Network,
    audio: AnyAudio | Sequence[AnyAudio] | Iterator[AnyAudio],
    sr: float | Sequence[float | None] | None,
    options: EmbedOptions,
    run: RunOptions | None = None,
) -> Any:
    """Embed one sound or a list of them: an `Embedded`; see `musicssl.get_embedding`."""
    run = run or RunOptions()
    settings = options.resolve(model)
    items = several(audio)
    if items is None:
        if (rates := _several(sr)) is not None:
            raise AudioError(f"sr is a list of {len(rates)} rates for one sound; give one number.")
        return _results(model, settings, [audio], [_rate(sr, "sr")], options, run)[0]
    results = _results(model, settings, items, _rates(sr, items), options, run)
    if run.skip or settings.level != "clip":
        return results
    if not results:
        values = len(settings.layers) * model.encoder.dim
        return np.empty((0, values * POOLINGS[settings.pooling].factor), np.float32)
    if all(isinstance(result, Tensor) for result in results):
        return torch.stack([result.to(results[0].device) for result in results])
    return np.stack([x.cpu().numpy() if isinstance(x, Tensor) else x for x in results])


def _results(
    model: Network,
    settings: Settings,
    items: Sequence[Any],
    rates: Sequence[Any],
    options: EmbedOptions,
    run: RunOptions,
) -> list[Any]:
    """Return one result a sound, of its kind; of several, errors name which.

    With `run.skip`, what is wrong with a sound is logged, and None stands in its place.
    """
    groups = _groups(items, rates)
    openings = [_opening([items[i] for i in g], rates[g[0]], model, options) for g in groups]
    out: list[Any] = [None] * len(items)
    order = chain.from_iterable(groups)
    with contextlib.ExitStack() as held:
        results = held.enter_context(
            in_threads(model, settings, openings, run.jobs, divide=options.chunk_seconds is None)
        )
        count = held.enter_context(counted(run.progress, len(items)))
        for i, result in zip(order, results, strict=True):
            if isinstance(result, MusicSSLError):
                error = type(result)(f"audio[{i}]: {result}") if len(items) > 1 else result
                if not (run.skip and isinstance(result, AudioError)):
                    raise error
                log.warning("%s", error)
            else:
                out[i] = _like(items[i], result)
            count()
    return out


def _opening(items: Sequence[Any], rate: Any, model: Network, options: EmbedOptions) -> Opening:
    """Return how to open one sound, or the segments of one file."""
    return Opening(
        partial(_opened, items, rate, model.sample_rate, options),
        count=len(items),
        # files that are open already may share what they read from
        elsewhere=not any(hasattr(items[0], name) for name in ("read", "get_all_samples")),
    )


def _groups(items: Sequence[Any], rates: Sequence[Any]) -> list[list[int]]:
    """Return the items, by their places, that are read together: the segments of one file."""
    groups: dict[Any, list[int]] = {}
    for i, (item, rate) in enumerate(zip(items, rates, strict=True)):
        key: Any = i
        if isinstance(item, Segment):
            with contextlib.suppress(AudioError):  # one that is none is alone, and fails alone
                checked(item)
                key = (os.path.abspath(item.path), rate)  # noqa: PTH100
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def _opened(items: Sequence[Any], rate: Any, sample_rate: int, options: EmbedOptions) -> Any:
    """Open one sound, or the segments of one file."""
    parts: list[Part] = []
    whole = not options.offset and options.duration is None
    sound, own, channel_axis = items[0], rate, options.channel_axis
    if isinstance(sound, Segment):
        if not whole:
            raise AudioError(f"{sound} is a part already; offset and duration would be another.")
        try:
            parts = [Part(*checked(one), str(one)) for one in items]
        except AudioError as error:
            path: Any = sound.path
            named = path if isinstance(path, (str, os.PathLike)) else shown(path)
            raise AudioError(f"{named}: {error}") from None
        sound = sound.path
    else:
        if channel_axis is None and has_channels_last(sound):
            channel_axis = 1
        sound, own = unwrap(sound, rate)
    source = open_source(
        sound,
        own,
        sample_rate=sample_rate,
        resampler=options.resampler,
        channel_axis=channel_axis,
        mono=options.mono,
    )
    if not parts and not whole:
        end = None if options.duration is None else options.offset + options.duration
        parts = [Part(options.offset, end, source.name, "offset")]
    return Parts(source, parts) if parts else source


def same_rate(sr: Any, sampling_rate: Any) -> Any:
    """Return the rate, which has two names.

    Raises
    ------
    AudioError
        If both are given.
    """
    if sampling_rate is None:
        return sr
    if sr is not None:
        raise AudioError("sr and sampling_rate are two names of the same; give one.")
    return sampling_rate


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
    item = item[0] if isinstance(item, tuple) else item
    if not isinstance(item, Tensor):
        return result
    if isinstance(result, Embedding):
        values, times = (torch.from_numpy(x) for x in result)
        if item.device.type == "mps":  # has no 64-bit floats
            times = times.float()
        return Embedding(values.to(item.device), times.to(item.device))
    return torch.from_numpy(result).to(item.device)
