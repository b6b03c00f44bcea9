"""`get_embedding`: any audio to embeddings in one call."""

from pathlib import Path
from typing import Never, Required, Unpack, overload

import torch
from torch import Tensor

from musicssl import arguments
from musicssl.errors import ConfigError
from musicssl.inference.device import pick_device
from musicssl.inference.inputs import embed_inputs, same_rate
from musicssl.inference.keywords import Clip, EmbedKeywords, Frame, Raise, Skip, Window
from musicssl.inference.options import EmbedOptions
from musicssl.inference.results import (
    AnySounds,
    Embedded,
    Embedding,
    Many,
    ManyTensors,
    N,
    NotTensor,
    Rate,
    Rates,
    Sounds,
    TensorEmbedding,
    Tensors,
    Vectors,
)
from musicssl.inference.running import Progress, RunOptions
from musicssl.kept import kept_model
from musicssl.model import MusicEncoder
from musicssl.network import Layer


class _Model(EmbedKeywords, total=False):
    model: str | Path | MusicEncoder | None
    revision: str | None
    device: str | torch.device


class _Clip(Clip, _Model, total=False):
    on_error: Raise


class _ClipOrNone(Clip, _Model, total=False):
    on_error: Required[Skip]


class _Frame(Frame, _Model, total=False):
    on_error: Raise


class _FrameOrNone(Frame, _Model, total=False):
    on_error: Required[Skip]


class _Window(Window, _Model, total=False):
    on_error: Raise


class _WindowOrNone(Window, _Model, total=False):
    on_error: Required[Skip]


@overload
def get_embedding(audio: Sounds, sr: Rates = None, **options: Unpack[_Clip]) -> Vectors: ...


@overload
def get_embedding(audio: Tensors, sr: Rates = None, **options: Unpack[_Clip]) -> Tensor: ...


@overload
def get_embedding(audio: NotTensor, sr: Rate = None, **options: Unpack[_Frame]) -> Embedding: ...


@overload
def get_embedding(audio: Tensor, sr: Rate = None, **options: Unpack[_Frame]) -> TensorEmbedding: ...


@overload
def get_embedding(
    audio: Many[N], sr: Rates = None, **options: Unpack[_Frame]
) -> list[Embedding]: ...


@overload
def get_embedding(
    audio: ManyTensors, sr: Rates = None, **options: Unpack[_Frame]
) -> list[TensorEmbedding]: ...


@overload
def get_embedding(audio: NotTensor, sr: Rate = None, **options: Unpack[_Window]) -> Embedding: ...


@overload
def get_embedding(
    audio: Tensor, sr: Rate = None, **options: Unpack[_Window]
) -> TensorEmbedding: ...


@overload
def get_embedding(
    audio: Many[N], sr: Rates = None, **options: Unpack[_Window]
) -> list[Embedding]: ...


@overload
def get_embedding(
    audio: ManyTensors, sr: Rates = None, **options: Unpack[_Window]
) -> list[TensorEmbedding]: ...


@overload
def get_embedding(
    audio: Many[N], sr: Rates = None, **options: Unpack[_ClipOrNone]
) -> list[Vectors | None]: ...


@overload
def get_embedding(
    audio: Many[N], sr: Rates = None, **options: Unpack[_FrameOrNone]
) -> list[Embedding | None]: ...


@overload
def get_embedding(
    audio: Many[N], sr: Rates = None, **options: Unpack[_WindowOrNone]
) -> list[Embedding | None]: ...


@overload
def get_embedding(
    audio: AnySounds,
    sr: Rates = None,
    *,
    level: str = "clip",
    pooling: str | None = None,
    window: float | None = None,
    hop: float | None = None,
    on_error: str = "raise",
    **options: Unpack[_Model],
) -> Embedded: ...


@arguments.strict
def get_embedding(
    audio: AnySounds,
    sr: Rates = None,
    *,
    model: str | Path | MusicEncoder | None = None,
    revision: str | None = None,
    level: str = "clip",
    pooling: str | None = None,
    window: float | None = None,
    hop: float | None = None,
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
    on_error: str = "raise",
    jobs: int | None = None,
    progress: Progress = False,
    **unknown: Never,
) -> Embedded:
    """Return the embedding of music: one vector a clip, or one a window or a frame with its time.

    Parameters
    ----------
    audio
        A path, a `Segment` of one, a URL (by fsspec: ``pip install 'musicssl[remote]'``), a
        binary file object, an array or a tensor, or a list mixing these. Also samples
        with their rate, as `librosa.load` and `soundfile.read` return them; values of an audio
        column of Hugging Face datasets; torchcodec's decoders and samples; a file's bytes; and for
        a list an array, a Series or an iterator of paths. Arrays have the shape (samples,) or
        (channels, samples) with up to 8 channels, unless `channel_axis` is given; floats in
        [-1, 1], int8, int16, int32 or uint8.
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
    window, hop
        Pool windows of `window` seconds, beginning every `hop` seconds (by default, one after the
        other), in place of the whole clip; both at least one frame. A window pools the frames
        whose centers lie in it, and these have heard what lies around it. The last window is the
        first that reaches the end, and holds what is left; a clip shorter than `window` is one.
    layer
        One layer, several to put side by side, "all", or None for the checkpoint's choice.
    device
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps". A loaded model stays where
        it is.
    dtype
        Of the encoder's arithmetic: "auto" (float16 on a GPU, float32 elsewhere), "float32",
        "bfloat16" or "float16", or fp32, bf16, fp16; spectra are always in float32. On a CPU that
        has it, "bfloat16" is 1.5 to 2 times as fast, with cosines above 0.9998 to float32.
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
    on_error
        What becomes of audio that cannot be used: "raise" raises, of a list at the first such item;
        "skip" goes on, logs a warning that says why, and puts None in place of that result. A list
        then gives a list of results, as long as what was given, at clip level too.
    jobs
        Sounds at a time, each in one thread: decoded ahead and encoded beside others; of a single
        long one, chunks. None for one per core that the process may use, on a CPU no more than
        `torch.get_num_threads` says. Results are the same, and in order.
    progress
        True draws a bar on stderr; a function is called with how many sounds are done, and of how
        many.
    **unknown
        None: other names are refused.

    Returns
    -------
    numpy.ndarray, Tensor, Embedding or list of Embedding
        Clip level: shape (dim,), for a list (n, dim). Frame level and windows: an `Embedding` of
        values (frames, dim) and times (frames,), the centers in seconds, for a list a list of
        them. Tensors if the audio is tensors, on their device; otherwise numpy arrays, float32.

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
        window=window,
        hop=hop,
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
    run = RunOptions(jobs=jobs, progress=progress, on_error=on_error)
    return embed_inputs(encoder, audio, same_rate(sr, sampling_rate), options, run)
