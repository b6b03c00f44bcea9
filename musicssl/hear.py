"""The HEAR common API: `load_model`, `get_scene_embeddings`, `get_timestamp_embeddings`.

Its rules: https://hearbenchmark.com/hear-api.html. The sounds of a batch are of equal length, in
[-1, 1], at ``model.sample_rate``; timestamps are in milliseconds.
"""

import torch
from torch import Tensor

from musicssl import model as _model
from musicssl.errors import AudioError, ConfigError, shown
from musicssl.model import MusicEncoder


def load_model(model_file_path: str = "") -> MusicEncoder:
    """Load a checkpoint folder, a Hugging Face repository, or, by default, musicssl-small.

    Returns
    -------
    MusicEncoder
        On the CPU.
    """
    default = isinstance(model_file_path, str) and not model_file_path
    return _model.load_model(None if default else model_file_path, device="cpu")


def get_scene_embeddings(audio: Tensor, model: MusicEncoder) -> Tensor:
    """Return one embedding a sound.

    Parameters
    ----------
    audio
        Shape (sounds, samples).
    model
        What `load_model` returned, on any device.

    Returns
    -------
    Tensor
        Shape (sounds, scene_embedding_size), float32, on the audio's device.

    Raises
    ------
    AudioError
        If the audio is not a batch of sounds, is empty, or holds non-finite values.
    ConfigError
        If `model` is not a model.
    """
    rows = _rows(audio, model)
    return model.embed(rows, model.sample_rate, dtype="fp32")


def get_timestamp_embeddings(audio: Tensor, model: MusicEncoder) -> tuple[Tensor, Tensor]:
    """Return the embeddings of every sound's frames, and when they are.

    Parameters
    ----------
    audio
        Shape (sounds, samples).
    model
        What `load_model` returned, on any device.

    Returns
    -------
    tuple of Tensor
        Embeddings (sounds, frames, timestamp_embedding_size), and the frames' centres in
        milliseconds (sounds, frames); both float32, on the audio's device.

    Raises
    ------
    AudioError
        If the audio is not a batch of sounds, is empty, or holds non-finite values.
    ConfigError
        If `model` is not a model.
    """
    rows = _rows(audio, model)
    sounds = model.embed(rows, model.sample_rate, level="frame", dtype="fp32")
    values = torch.stack([sound.values for sound in sounds])
    times = torch.stack([sound.times for sound in sounds])
    return values, (1000 * times).to(audio.device, torch.float32)


def _rows(audio: Tensor, model: MusicEncoder) -> list[Tensor]:
    if not isinstance(model, MusicEncoder):
        raise ConfigError(f"model must be what load_model returns, got {shown(model, kind=True)}.")
    if not isinstance(audio, Tensor):
        raise AudioError(f"audio must be a tensor, got {shown(audio, kind=True)}.")
    if audio.ndim != 2 or not len(audio):
        raise AudioError(f"audio must have the shape (sounds, samples), got {tuple(audio.shape)}.")
    return list(audio)
