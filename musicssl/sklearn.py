"""`MusicEmbedder`: music embeddings as a step of a scikit-learn pipeline.

It needs scikit-learn: ``pip install 'musicssl[sklearn]'``.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from musicssl.errors import AudioError, ConfigError, DependencyError, shown

try:
    import joblib
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_memory
except ImportError as error:
    raise DependencyError(
        "musicssl.sklearn needs scikit-learn: pip install 'musicssl[sklearn]'."
    ) from error

import numpy as np
import torch
from numpy.typing import NDArray

from musicssl import arguments
from musicssl.checkpoint.hashing import weights_sha256
from musicssl.embed import get_embedding
from musicssl.inference.device import pick_device
from musicssl.inference.options import EmbedOptions
from musicssl.kept import kept_model
from musicssl.model import MusicEncoder
from musicssl.network import Layer
from musicssl.pooling import POOLINGS
from musicssl.segments.segment import Segment

Vectors = NDArray[np.float32]


class MusicEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Embed music: paths, arrays or tensors to one vector each.

    There is nothing to fit: `transform` works at once.

    Parameters
    ----------
    model
        As in `musicssl.get_embedding`. A name or a folder is loaded once per process; a loaded
        model is copied with the pipeline.
    layer, pooling, sr, device, dtype, resampler, mono
        As there. All but `device` may be searched over.
    revision
        As there.
    n_jobs
        Processes that embed, each with a model of its own, as everywhere in scikit-learn.
    memory
        A folder, or a `joblib.Memory`, in which is kept what files and arrays gave: of all layers,
        the mean and the standard deviation over time, or the maximum. Searching over `layer` and
        over the poolings "mean" and "meanstd" then embeds each file once; "max" once more. A file
        that has changed is embedded anew.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> pipeline = make_pipeline(MusicEmbedder(), StandardScaler(), LogisticRegression())
    >>> pipeline.fit(paths, labels)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path | MusicEncoder | None = None,
        *,
        layer: Layer = None,
        pooling: str | None = None,
        sr: float | None = None,
        revision: str | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        resampler: str = "soxr",
        mono: str = "mean",
        n_jobs: int | None = None,
        memory: Any = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.pooling = pooling
        self.sr = sr
        self.revision = revision
        self.device = device
        self.dtype = dtype
        self.resampler = resampler
        self.mono = mono
        self.n_jobs = n_jobs
        self.memory = memory

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the settings; nothing is learned from `X`.

        Raises
        ------
        AudioError
            If `X` is no list of sounds.
        ConfigError
            If a setting does not exist or does not fit the others.
        ModelError
            If the model cannot be loaded.
        """
        if isinstance(X, Iterator):  # it would be empty for transform
            raise AudioError(f"X is read more than once, and {shown(X)} cannot be; pass list(X).")
        as_items(X)
        self._choice(self._loaded())
        return self

    def transform(self, X: Any) -> Vectors:
        """Return the embeddings.

        Parameters
        ----------
        X
            A list, an array or a Series of n paths, arrays, tensors or whatever
            `musicssl.get_embedding` takes; or an array of shape (n, samples) or
            (n, channels, samples).

        Returns
        -------
        numpy.ndarray, shape (n, dim)
            Float32.

        Raises
        ------
        AudioError
            If a sound cannot be embedded; the message says which.
        ConfigError
            If a setting does not exist or does not fit the others.
        ModelError
            If the model cannot be loaded.
        """
        items = as_items(X)
        model = self._loaded()
        layers, pooling = self._choice(model)
        if not items:
            return np.empty((0, self._n_features_out), np.float32)
        if self.memory is None:
            return self._embed(items, list(layers), pooling)
        family = "max" if pooling == "max" else "meanstd"
        kept = self._kept(items, model, family)
        kept = kept.reshape(len(items), POOLINGS[family].factor, model.layers, -1)
        return kept[:, : POOLINGS[pooling].factor, list(layers)].reshape(len(items), -1)

    @property
    def _n_features_out(self) -> int:
        """Values per sound, for `get_feature_names_out`."""
        model = self._loaded()
        layers, pooling = self._choice(model)
        return len(layers) * model.encoder.dim * POOLINGS[pooling].factor

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True  # paths; and, as usual, numbers of shape (n, samples)
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _check_jobs_and_memory(self) -> None:
        """Refuse what joblib would take for something else."""
        if self.n_jobs is not None and not arguments.integer(self.n_jobs, "n_jobs", least=None):
            raise ConfigError("n_jobs must not be 0; -1 is one process per core.")
        folder = isinstance(self.memory, (str, os.PathLike))
        if self.memory is not None and not folder and not hasattr(self.memory, "cache"):
            raise ConfigError(f"memory must be a folder or a joblib.Memory, got {self.memory!r}.")

    def _loaded(self) -> MusicEncoder:
        """Return the model, which `get_embedding` keeps for the process."""
        if isinstance(self.model, MusicEncoder):
            return self.model
        name = arguments.model_name(self.model)
        return kept_model(name, self.revision, pick_device(self.device))

    def _choice(self, model: MusicEncoder) -> tuple[tuple[int, ...], str]:
        """Return the layers and the pooling; all settings are checked."""
        self._check_jobs_and_memory()
        options = EmbedOptions(pooling=self.pooling, layer=self.layer, dtype=self.dtype)
        settings = options.resolve(model)
        if settings.pooling == "none":
            raise ConfigError("pooling 'none' gives frames, not one vector per sound.")
        return settings.layers, settings.pooling

    def _embed(self, items: list[Any], layer: Layer, pooling: str) -> Vectors:
        """Embed in this process, or in `n_jobs`, which each take a stretch of the list."""
        choices = {
            "model": self.model,
            "revision": self.revision,
            "layer": layer,
            "pooling": pooling,
            "device": self.device,
            "dtype": self.dtype,
            "resampler": self.resampler,
            "mono": self.mono,
        }
        jobs = min(joblib.effective_n_jobs(self.n_jobs), len(items))
        if jobs == 1:
            return _vectors(items, 0, self.sr, choices)
        edges = np.linspace(0, len(items), jobs + 1).round().astype(int)
        parts = joblib.Parallel(n_jobs=jobs)(
            joblib.delayed(_vectors)(items[start:stop], int(start), self.sr, choices)
            for start, stop in pairwise(edges)
        )
        return np.concatenate(parts)

    def _kept(self, items: list[Any], model: MusicEncoder, family: str) -> Vectors:
        """Return the pooled values of all layers; those that are not kept yet are embedded."""
        memory = self.memory
        memory = check_memory(str(memory) if isinstance(memory, os.PathLike) else memory)
        recall = memory.cache(_recall, ignore=["made"])
        settings = (
            weights_sha256(model),
            family,
            self.resampler,
            self.mono,
            str(self.dtype),
            self.sr,
        )
        keys = [_identity(item) for item in items]
        new = [
            i
            for i, key in enumerate(keys)
            if key is None or not recall.check_call_in_cache(key, settings, made=None)
        ]
        made: dict[int, Vectors] = {}
        if new:
            values = self._embed([items[i] for i in new], "all", family)
            made = dict(zip(new, values, strict=True))
        return np.stack(
            [
                made[i] if key is None else recall(key, settings, made=made.get(i))
                for i, key in enumerate(keys)
            ]
        )


def as_items(X: Any) -> list[Any]:
    """Return what scikit-learn passes on as a list of sounds.

    Raises
    ------
    AudioError
        If it is none.
    """
    iterable = isinstance(X, Iterable) or hasattr(X, "__array__") or hasattr(X, "tocsr")
    if isinstance(X, (str, bytes, os.PathLike, dict)) or not iterable:
        raise AudioError(f"X must be a list of sounds, got {shown(X, kind=True)}.")
    if hasattr(X, "tocsr"):
        raise AudioError("X is a sparse matrix; sparse input is not supported.")
    if not hasattr(X, "shape") and hasattr(X, "__array__"):
        X = np.asarray(X)
    if (shape := getattr(X, "shape", None)) is None:
        return [np.asarray(item) if isinstance(item, list) else item for item in X]
    table = hasattr(X, "to_numpy")
    array = X.to_numpy() if table else X
    numbers = (kind := getattr(array.dtype, "kind", "f")) in "fiu"  # of torch: no kind
    if kind == "c":
        raise AudioError("Complex data not supported: X holds complex numbers.")
    if len(shape) == 1 and not numbers:
        return list(array)
    if len(shape) == 2 and shape[1] == 1 and not numbers:  # a column
        return list(array[:, 0])
    if len(shape) < 2 or not numbers:
        raise AudioError(
            f"X has the shape {tuple(shape)}; expected a list of sounds, or numbers of the shape "
            "(n, samples). Reshape your data to (1, samples) if it is one sound."
        )
    return list(array)


def _vectors(items: list[Any], first: int, sr: float | None, choices: dict[str, Any]) -> Vectors:
    vectors: Any = get_embedding(items, sr, **choices)
    return np.asarray(vectors.cpu() if isinstance(vectors, torch.Tensor) else vectors)


def _recall(key: str, settings: tuple[Any, ...], made: Vectors | None) -> Vectors | None:
    """Return what was just made, for joblib to keep under the other arguments."""
    return made


def _identity(item: Any) -> str | None:
    """Return what names a sound and changes with it; None for what has no such name."""
    if isinstance(item, Mapping) and item.get("array") is None and item.get("bytes") is None:
        item = item.get("path")  # of Hugging Face datasets, not decoded
    if isinstance(item, Segment):
        file = _identity(item.path)
        return file and repr((file, item.start, item.end))
    if isinstance(item, (str, os.PathLike)):
        path = Path(os.path.abspath(item))  # noqa: PTH100, links keep their names
        try:
            state = path.stat()
        except OSError:  # get_embedding says what is wrong
            return None
        return repr((str(path), state.st_size, state.st_mtime_ns, state.st_ino))
    if hasattr(item, "read"):
        return None
    try:
        return str(joblib.hash(item.cpu().numpy() if isinstance(item, torch.Tensor) else item))
    except Exception:  # a decoder, or what get_embedding says is no audio
        return None
