"""Whose embedding is measured: a model's, a function's, or arrays that are there already."""

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from musicssl.errors import AudioError, ConfigError
from musicssl.folder.manifest import Space
from musicssl.model import MusicEncoder
from musicssl_training.evaluation.baselines import BASELINES, FRAMES, HOP, RATE
from musicssl_training.evaluation.collection import Audio, Clip
from musicssl_training.evaluation.errors import DataError

Vector = NDArray[np.float32]  # (dim,)
Frames = tuple[NDArray[np.float32], NDArray[np.float64]]  # (frames, dim), seconds (frames,)


class Embedder(ABC):
    """Sounds in, one vector each out; perhaps frames too.

    Attributes
    ----------
    name
        In tables.
    space
        What decides whether two embeddings can be compared; the key of the cache.
    sample_rate
        Hz, of the audio that is given; 0 if none is wanted, for then the clips say enough.
    """

    name: str
    space: str
    sample_rate: int = RATE

    @abstractmethod
    def embed(self, clips: Sequence[Clip], audio: Sequence[Audio]) -> list[Vector]:
        """Return one vector a clip, shape (dim,)."""

    def frames(self, clip: Clip, audio: Audio) -> Frames:
        """Return the vectors of a clip's frames and the times of their centres.

        Raises
        ------
        ConfigError
            If this embedding has none.
        """
        raise ConfigError(f"{self.name} has one vector a clip and no frames.")


class ModelEmbedder(Embedder):
    """A `MusicEncoder` with a choice of layer and pooling."""

    def __init__(self, model: MusicEncoder, name: str, **choices: Any) -> None:
        self.model, self.name, self.choices = model, name, choices
        self.sample_rate = model.sample_rate
        settings = model.settings(**choices)
        self.space = Space(
            model=model.model_id,
            weights_sha256=model.weights_sha256 or _fingerprint(model),
            level="clip",
            pooling=settings.pooling,
            layers=settings.layers,
            resampler="soxr",
        ).id

    def embed(self, clips: Sequence[Clip], audio: Sequence[Audio]) -> list[Vector]:
        found: Any = self.model.embed(list(audio), self.sample_rate, **self.choices)
        return list(found)

    def frames(self, clip: Clip, audio: Audio) -> Frames:
        choices = {k: v for k, v in self.choices.items() if k != "pooling"}
        found: Any = self.model.embed(audio, self.sample_rate, level="frame", **choices)
        return found.values, found.times


def _fingerprint(model: MusicEncoder) -> str:
    """Return a hash of weights that were never saved."""
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        digest.update(key.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


class FunctionEmbedder(Embedder):
    """A function of audio and sample rate that returns (dim,), or (frames, dim) over the sound.

    The audio is mono, in [-1, 1], at ``function.sample_rate`` if the function has that attribute,
    else at 22,050 Hz. Of frames, a clip's vector is the mean and the standard deviation over time;
    frame ``i`` of ``n`` is taken to be centred on ``(i + 1/2) / n`` of the duration.
    """

    def __init__(self, function: Callable[[Audio, int], Any], name: str, version: str = "") -> None:
        self.function, self.name = function, name
        self.sample_rate = int(getattr(function, "sample_rate", RATE))
        self.space = f"{name}@{version or _source_hash(function)}/clip/{self.sample_rate}"

    def embed(self, clips: Sequence[Clip], audio: Sequence[Audio]) -> list[Vector]:
        return [_pooled(self._call(clip, sound)) for clip, sound in zip(clips, audio, strict=True)]

    def frames(self, clip: Clip, audio: Audio) -> Frames:
        values = self._call(clip, audio)
        if values.ndim == 1:
            return super().frames(clip, audio)
        n = len(values)
        return values, (np.arange(n) + 0.5) / n * len(audio) / self.sample_rate

    def _call(self, clip: Clip, audio: Audio) -> NDArray[np.float32]:
        values = self.function(audio, self.sample_rate)
        if isinstance(values, torch.Tensor):
            values = values.detach().cpu().numpy()
        return _checked(np.asarray(values), self.name, clip.id)


class BaselineEmbedder(FunctionEmbedder):
    """A key of `BASELINES`, with frames where there is one of `FRAMES` too."""

    def __init__(self, name: str) -> None:
        super().__init__(BASELINES[name], name)

    def frames(self, clip: Clip, audio: Audio) -> Frames:
        if self.name not in FRAMES:
            return super().frames(clip, audio)
        values = FRAMES[self.name](audio, self.sample_rate)
        return values, np.arange(len(values)) * HOP / self.sample_rate


class ArrayEmbedder(Embedder):
    """Arrays made elsewhere: ``FOLDER/ID.npy`` or ``FOLDER/ID.npz`` (its array ``embedding``).

    The folder may have a subfolder named after the collection or not. So ``musicssl-embed DATA -o
    FOLDER`` makes one. Shapes (dim,), or (frames, dim), of which the mean and the standard
    deviation are taken.
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
        return [_pooled(self._read(clip)) for clip in clips]

    def _read(self, clip: Clip) -> NDArray[np.float32]:
        for start in (clip.id, *(f"{c}/{clip.id}" for c in self._subfolders())):
            for suffix in (".npy", ".npz"):
                file = self.folder / f"{start}{suffix}"
                if file.is_file():
                    loaded = np.load(file, allow_pickle=False)
                    values = loaded if suffix == ".npy" else loaded["embedding"]
                    return _checked(np.asarray(values), self.name, clip.id)
        raise DataError(
            f"{self.folder} holds no array for item {clip.id!r}; expected {clip.id}.npy or "
            f"{clip.id}.npz with an array named 'embedding'."
        )

    def _subfolders(self) -> list[str]:
        return sorted(p.name for p in self.folder.iterdir() if p.is_dir())


def _pooled(values: NDArray[np.float32]) -> Vector:
    if values.ndim == 1:
        return values
    return np.concatenate([values.mean(axis=0), values.std(axis=0)])


def _checked(values: NDArray[Any], name: str, item: str) -> NDArray[np.float32]:
    if values.ndim not in (1, 2) or not values.size:
        raise DataError(
            f"{name}: item {item!r} has an embedding of the shape {values.shape}; expected (dim,) "
            "or (frames, dim)."
        )
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise AudioError(f"{name}: the embedding of item {item!r} is not finite.")
    return values


def _source_hash(function: Callable[..., Any]) -> str:
    """Return a hash of the file that a function comes from (and its arguments), or of its name."""
    try:
        if isinstance(function, partial):
            text = repr((_source_hash(function.func), function.args, function.keywords))
        else:
            text = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):
        text = repr(getattr(function, "__qualname__", function))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
