"""`get_embedding`: any audio to embeddings in one call."""

import threading
from collections.abc import Sequence
from pathlib import Path

import torch

from musicssl.audio import AudioInput
from musicssl.devices import pick_device
from musicssl.errors import ConfigError
from musicssl.inputs import Embedded
from musicssl.model import Layer, MusicEncoder, load_model

_models: dict[tuple[object, ...], MusicEncoder] = {}
_loading = threading.Lock()


def get_embedding(
    audio: AudioInput | Sequence[AudioInput],
    sr: float | Sequence[float | None] | None = None,
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
) -> Embedded:
    """Return the embedding of music: one vector a clip, or one a frame with its time.

    Parameters
    ----------
    audio
        A path, a binary file object, an array or a tensor, or a list mixing these. Arrays have
        the shape (samples,) or (channels, samples); floats in [-1, 1], int16, int32 or uint8.
    sr
        Sample rate of arrays and tensors in Hz, 1,000 to 1,000,000: one, or one an item (None for
        files, which say their own).
    model
        None for the bundled default, a bundled model's name, a checkpoint folder, a Hugging Face
        repository ("owner/name"), or a loaded model. Loaded models are kept for the process.
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
        the result. Default 120.
    resampler
        "soxr", or "resampy" or "torchaudio" where these are installed.
    channel_axis
        Which axis of 2-D arrays counts channels, where it is not the first.

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
    encoder = model if isinstance(model, MusicEncoder) else _kept(model, revision, device)
    if encoder is model and revision is not None:
        raise ConfigError("revision chooses what to load, but a loaded model was given.")
    return encoder.embed(
        audio,
        sr,
        level=level,
        pooling=pooling,
        layer=layer,
        dtype=dtype,
        batch_size=batch_size,
        chunk_seconds=chunk_seconds,
        resampler=resampler,
        channel_axis=channel_axis,
    )


def _kept(
    model: str | Path | None, revision: str | None, device: str | torch.device
) -> MusicEncoder:
    """Return a model loaded before in this process, loading it the first time."""
    where = pick_device(device)
    key = (None if model is None else str(model), revision, where)
    with _loading:
        if key not in _models:
            _models[key] = load_model(model, revision=revision, device=where)
        return _models[key]
