"""Embedders made from models, Python functions, hand-crafted features and stored arrays."""

import hashlib
import inspect
import logging
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from musicssl.errors import AudioError, ConfigError
from musicssl.inference.options import EmbedOptions
from musicssl.model import MusicEncoder
from musicssl.space import Space
from musicssl_training.evaluation.datasets import Audio, Clip
from musicssl_training.evaluation.embedders.base import Embedder, Frames, Vector
from musicssl_training.evaluation.embedders.baselines import (
    BASELINES,
    FRAME_BASELINES,
    HOP,
    SAMPLE_RATE,
)
from musicssl_training.evaluation.embedders.supervision import HAND_CRAFTED, UNKNOWN
from musicssl_training.evaluation.errors import DataError

log = logging.getLogger(__name__)


class ModelEmbedder(Embedder):
    """A `MusicEncoder`, optionally with another layer and pooling."""

    def __init__(self, model: MusicEncoder, name: str, **options: Any) -> None:
        self.model, self.name, self.options = model, name, options
        self.sample_rate = model.sample_rate
        resolved = EmbedOptions(**options).resolve(model)
        if resolved.pooling == "none":
            raise ConfigError(
                f"{name}: pooling must be mean, max or meanstd: a clip has one vector."
            )
        self.space = Space.of(model, resolved).id

    def embed(self, clips: Sequence[Clip], audio: Sequence[Audio]) -> list[Vector]:
        return list(self.model.embed(list(audio), self.sample_rate, **self.options))

    def frames(self, clip: Clip, audio: Audio) -> Frames:
        options = {k: v for k, v in self.options.items() if k != "pooling"}
        found = self.model.embed(audio, self.sample_rate, level="frame", **options)
        return found.values, found.times


class FunctionEmbedder(Embedder):
    """A function of audio and sample rate that returns (dim,) or (frames, dim).

    The audio is mono, in [-1, 1], at ``function.sample_rate`` if the function has that attribute,
    otherwise at 22,050 Hz. ``function.supervision`` may say what it learned from.

    Frames are pooled to their mean and standard deviation over time; frame ``i`` of ``n`` is
    assumed to be centered at ``(i + 1/2) / n`` of the duration.
    """

    def __init__(self, function: Callable[[Audio, int], Any], name: str, version: str = "") -> None:
        self.function, self.name = function, name
        self.sample_rate = int(getattr(function, "sample_rate", SAMPLE_RATE))
        self.supervision = str(getattr(function, "supervision", UNKNOWN))
        self.space = f"{name}@{version or _source_hash(function)}/clip/{self.sample_rate}"

    def embed(self, clips: Sequence[Clip], audio: Sequence[Audio]) -> list[Vector]:
        return [_pool(self._call(clip, one)) for clip, one in zip(clips, audio, strict=True)]

    def frames(self, clip: Clip, audio: Audio) -> Frames:
        values = self._call(clip, audio)
        if values.ndim == 1:
            return super().frames(clip, audio)
        n = len(values)
        return values, (np.arange(n) + 0.5) / n * len(audio) / self.sample_rate

    def _call(self, clip: Clip, audio: Audio) -> NDArray[np.float32]:
        try:
            values = self.function(audio, self.sample_rate)
        except Exception as error:  # of anybody's code, which must not end what others measure
            log.warning("%s fails on item %r:", self.name, clip.id, exc_info=error)
            raise DataError(
                f"{self.name} fails on item {clip.id!r}: {type(error).__name__}: {error}"
            ) from error
        if isinstance(values, torch.Tensor):
            values = values.detach().cpu().numpy()
        return _check(np.asarray(values), self.name, clip.id)


class BaselineEmbedder(FunctionEmbedder):
    """A hand-crafted baseline; frames are available for the keys of `FRAME_BASELINES`."""

    def __init__(self, name: str) -> None:
        super().__init__(BASELINES[name], name)
        self.supervision = HAND_CRAFTED

    def frames(self, clip: Clip, audio: Audio) -> Frames:
        if self.name not in FRAME_BASELINES:
            return super().frames(clip, audio)
        values = FRAME_BASELINES[self.name](audio, self.sample_rate)
        return values, np.arange(len(values)) * HOP / self.sample_rate


class ArrayEmbedder(Embedder):
    """Precomputed arrays: ``FOLDER/ID.npy``, or ``FOLDER/ID.npz`` with an array ``embedding``.

    The files may lie in a subfolder named after the collection, as ``musicssl-embed DATA -o
    FOLDER`` writes them. Shapes are (dim,), or (frames, dim), which is pooled to the mean and
    standard deviation.
    """

    sample_rate = 0

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        files = sorted(p for p in folder.rglob("*.np[yz]"))
        digest = hashlib.sha256()
        for file in files:
            facts = file.stat()
            digest.update(
                f"{file.relative_to(folder)}\0{facts.st_size}\0{facts.st_mtime_ns}".encode()
            )
        self.space = f"{name}@{digest.hexdigest()[:12]}"

    def embed(self, clips: Sequence[Clip], audio: Sequence[Audio]) -> list[Vector]:
        return [_pool(self._read(clip)) for clip in clips]

    def _read(self, clip: Clip) -> NDArray[np.float32]:
        for start in (clip.id, *(f"{c}/{clip.id}" for c in self._subfolders())):
            for suffix in (".npy", ".npz"):
                file = self.folder / f"{start}{suffix}"
                if file.is_file():
                    return _check(_stored(file), self.name, clip.id)
        raise DataError(
            f"{self.folder} holds no array for item {clip.id!r}; expected {clip.id}.npy or "
            f"{clip.id}.npz with an array named 'embedding'."
        )

    def _subfolders(self) -> list[str]:
        return sorted(p.name for p in self.folder.iterdir() if p.is_dir())


def _stored(file: Path) -> NDArray[Any]:
    """Return the array of a file."""
    try:
        loaded = np.load(file, allow_pickle=False)
        return np.asarray(loaded if file.suffix == ".npy" else loaded["embedding"])
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} holds no array to be read ({error}).") from error


def _pool(values: NDArray[np.float32]) -> Vector:
    if values.ndim == 1:
        return values
    return np.concatenate([values.mean(axis=0), values.std(axis=0)])


def _check(values: NDArray[Any], name: str, item: str) -> NDArray[np.float32]:
    if values.ndim not in (1, 2) or not values.size:
        raise DataError(
            f"{name}: the embedding of item {item!r} has shape {values.shape}; expected (dim,) or "
            "(frames, dim)."
        )
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: the embedding of item {item!r} is of {values.dtype}, not numbers."
        )
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise AudioError(f"{name}: the embedding of item {item!r} is not finite.")
    return values


def _source_hash(function: Callable[..., Any]) -> str:
    """Return a hash of a function's source file and bound arguments, or of its name."""
    try:
        if isinstance(function, partial):
            text = repr((_source_hash(function.func), function.args, function.keywords))
        else:
            text = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):
        text = repr(getattr(function, "__qualname__", function))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
