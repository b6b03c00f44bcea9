"""`get_embedding`: any audio to embeddings in one call."""

import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Literal, Never, Unpack, overload

import torch
from torch import Tensor

from musicssl import arguments, forking
from musicssl.checkpoint.bundled import DEFAULT_MODEL, bundled_models
from musicssl.checkpoint.names import CONFIG, WEIGHTS
from musicssl.errors import ConfigError
from musicssl.inference.device import pick_device
from musicssl.inference.inputs import embed_inputs, same_rate
from musicssl.inference.options import ClipPooling, EmbedKeywords, EmbedOptions, FramePooling
from musicssl.inference.results import (
    AnyAudio,
    Embedded,
    Embedding,
    N,
    NotTensor,
    TensorEmbedding,
    Vectors,
)
from musicssl.model import MusicEncoder, Rates, load_model
from musicssl.network import Layer

Key = tuple[object, ...]
_models: dict[Key, tuple[Key, MusicEncoder]] = {}  # where from: in which state, and what
_loading = forking.Lock()


class Keywords(EmbedKeywords, total=False):
    """`EmbedKeywords`, and which model to use, for overloads."""

    model: str | Path | MusicEncoder | None
    revision: str | None
    device: str | torch.device


@overload
def get_embedding(
    audio: NotTensor | Sequence[NotTensor] | Iterator[NotTensor],
    sr: Rates = None,
    *,
    level: Literal["clip"] = "clip",
    pooling: ClipPooling = None,
    **options: Unpack[Keywords],
) -> Vectors: ...


@overload
def get_embedding(
    audio: Tensor | Sequence[Tensor] | Iterator[Tensor],
    sr: Rates = None,
    *,
    level: Literal["clip"] = "clip",
    pooling: ClipPooling = None,
    **options: Unpack[Keywords],
) -> Tensor: ...


@overload
def get_embedding(
    audio: NotTensor,
    sr: float | None = None,
    *,
    level: Literal["frame"],
    pooling: FramePooling = None,
    **options: Unpack[Keywords],
) -> Embedding: ...


@overload
def get_embedding(
    audio: Tensor,
    sr: float | None = None,
    *,
    level: Literal["frame"],
    pooling: FramePooling = None,
    **options: Unpack[Keywords],
) -> TensorEmbedding: ...


@overload
def get_embedding(
    audio: list[N] | tuple[N, ...] | Generator[NotTensor, None, None],
    sr: Rates = None,
    *,
    level: Literal["frame"],
    pooling: FramePooling = None,
    **options: Unpack[Keywords],
) -> list[Embedding]: ...


@overload
def get_embedding(
    audio: list[Tensor] | tuple[Tensor, ...] | Generator[Tensor, None, None],
    sr: Rates = None,
    *,
    level: Literal["frame"],
    pooling: FramePooling = None,
    **options: Unpack[Keywords],
) -> list[TensorEmbedding]: ...


@overload
def get_embedding(
    audio: AnyAudio | Sequence[AnyAudio] | Iterator[AnyAudio],
    sr: Rates = None,
    *,
    level: str = "clip",
    pooling: str | None = None,
    **options: Unpack[Keywords],
) -> Embedded: ...


def get_embedding(
    audio: AnyAudio | Sequence[AnyAudio] | Iterator[AnyAudio],
    sr: Rates = None,
    *,
    model: str | Path | MusicEncoder | None = None,
    revision: str | None = None,
    level: str = "clip",
    pooling: str | None = None,
    layer: Layer = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    batch_size: int | None = None,
    chunk_seconds: float | None = None,
    resampler: str = "soxr",
    channel_axis: int | None = None,
    mono: str = "mean",
    offset: float = 0.0,
    duration: float | None = None,
    sampling_rate: Rates = None,
    **unknown: Never,
) -> Embedded:
    """Return the embedding of music: one vector a clip, or one a frame with its time.

    Parameters
    ----------
    audio
        A path, a binary file object, an array or a tensor, or a list mixing these. Also samples
        with their rate, as `librosa.load` returns them; values of an audio column of Hugging Face
        datasets; torchcodec's decoders and samples; a file's bytes; and for a list an array, a
        Series or an iterator of paths. Arrays have
        the shape (samples,) or (channels, samples) with up to 8 channels, unless `channel_axis`
        is given; floats in [-1, 1], int8, int16, int32 or uint8.
    sr
        Sample rate of arrays and tensors in Hz, 1,000 to 1,000,000: one, or one an item. Files say
        theirs, and one that differs is an error: None for them.
    model
        None for the bundled default, a bundled model's name, a checkpoint folder (a `Path` always
        is one), a Hugging Face repository ("owner/name"), or a loaded model. Loaded models are
        kept for the process, by what they are and not by how they were named; a folder whose
        files have changed is loaded anew, a repository is not asked again.
    revision
        Branch, tag or commit of a Hugging Face repository.
    level
        "clip" or "frame".
    pooling
        Of a clip's frames: "mean", "max", "meanstd" (twice as many values), "none" (the same as
        ``level="frame"``), or None for the checkpoint's choice.
    layer
        One layer, several to put side by side, "all", or None for the checkpoint's choice.
    device
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps". A loaded model stays where
        it is.
    dtype
        Of the encoder's arithmetic: "auto" (fp16 on a GPU, fp32 elsewhere), "fp32", "bf16",
        "fp16". The spectra are always computed in fp32.
    batch_size
        Chunks in a batch, at most; None for as many as fit 30 s of audio (600 s on a GPU).
    chunk_seconds
        Longer audio is cut to this, in seconds, with exact overlap; it bounds the memory, not
        the result. At least one frame; inf for all in one piece. Default 120.
    resampler
        "soxr", or "resampy" or "torchaudio" where these are installed.
    channel_axis
        Which axis of 2-D arrays counts channels, where it is not the first, or where they are
        more than 8.
    mono
        How channels become one: "mean", or "left" or "right" for the first or second alone.
    offset, duration
        The part to embed, in seconds from the start; what is outside is not heard. None for all
        that follows.
    sampling_rate
        Another name for `sr`.
    **unknown
        None: other names are refused.

    Returns
    -------
    numpy.ndarray, Tensor, Embedding or list of Embedding
        Clip level: shape (dim,), for a list (n, dim). Frame level: an `Embedding` of values
        (frames, dim) and times (frames,) in seconds, for a list a list of them. Tensors if the
        audio is tensors, on their device; otherwise numpy arrays, float32.

    Raises
    ------
    AudioError
        If audio cannot be used.
    ConfigError
        If a choice does not exist here or does not fit the others.
    ModelError
        If the model cannot be found, fetched or loaded.

    Examples
    --------
    >>> import musicssl, numpy as np
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    >>> vector = musicssl.get_embedding(tone, 44_100)
    >>> values, times = musicssl.get_embedding(tone, 44_100, level="frame")
    >>> times[:3]
    array([0.  , 0.04, 0.08])
    """
    arguments.no_more(unknown, get_embedding)
    where = pick_device(device)
    if isinstance(model, MusicEncoder):
        if revision is not None:
            raise ConfigError("revision chooses what to load, but a loaded model was given.")
        encoder = model
    else:
        encoder = kept_model(arguments.model_name(model), revision, where)
    options = EmbedOptions(
        level=level,
        pooling=pooling,
        layer=layer,
        dtype=dtype,
        batch_size=batch_size,
        chunk_seconds=chunk_seconds,
        resampler=resampler,
        channel_axis=channel_axis,
        mono=mono,
        offset=offset,
        duration=duration,
    )
    return embed_inputs(encoder, audio, same_rate(sr, sampling_rate), options)


def kept_model(
    model: str | Path | None, revision: str | None, device: torch.device
) -> MusicEncoder:
    """Return a model loaded before in this process, loading it the first time."""
    if revision is not None:
        arguments.text(revision, "revision")
    source, state = _identify(model)
    key = (*source, revision, device)
    if (kept := _models.get(key)) and kept[0] == state:
        return kept[1]
    with _loading:
        if not (kept := _models.get(key)) or kept[0] != state:
            kept = _models[key] = state, load_model(model, revision=revision, device=device)
        return kept[1]


def _identify(model: str | Path | None) -> tuple[Key, Key]:
    """Return what a model's name stands for now, and the state that its files are in."""
    if model is None or (isinstance(model, str) and model in bundled_models()):
        return ("bundled", model or DEFAULT_MODEL), ()
    folder = Path(os.path.realpath(os.path.expanduser(model)))  # noqa: PTH111, of nobody's home
    try:
        files = [(folder / name).stat() for name in (CONFIG, WEIGHTS)]
    except OSError:  # no folder, or one that will be refused
        return ("elsewhere", model), ()
    return ("folder", folder), tuple((x.st_mtime_ns, x.st_size, x.st_ino) for x in files)
