"""What is searched for: vectors, or music that becomes one."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError, ModelError, MusicSSLError, shown
from musicssl.search.standardize import BLOCK

if TYPE_CHECKING:  # it needs torch, which a search by name does without
    from musicssl.model import MusicEncoder


_NEEDED = ("model", "weights_sha256", "pooling", "layers", "resampler")  # of settings


def as_vectors(values: Any, what: str, dim: int | None = None) -> NDArray[np.float32]:
    """Return vectors as a matrix of finite numbers.

    Raises
    ------
    ConfigError
        If they are something else, or have another size than `dim`.
    """
    try:
        items = values if hasattr(values, "dtype") else [_on_cpu(value) for value in values]
        matrix = np.asarray(_on_cpu(items))
    except (TypeError, ValueError):  # no list, or one of vectors of different lengths
        matrix = np.empty(1, object)
    if matrix.dtype.kind not in "fiu":
        raise ConfigError(f"{what} must be numbers, got {shown(values, kind=True)}.")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        matrix = matrix.astype(np.float32, copy=False)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ConfigError(f"{what} must have the shape (n, dim), got {matrix.shape}.")
    if dim is not None and matrix.shape[1] != dim:
        raise ConfigError(
            f"{what} has {matrix.shape[1]:,} values, the index's vectors have {dim:,}. To search "
            "by audio, give its sample rate: sr=..."
        )
    for start in range(0, len(matrix), BLOCK):
        finite = np.isfinite(matrix[start : start + BLOCK]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise ConfigError(f"{what}[{row}] holds NaN or infinite values.")
    return matrix


def _on_cpu(value: Any) -> Any:
    """Return a tensor as an array, anything else as it is."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def is_audio(query: Any) -> bool:
    """Tell whether a query is audio by itself: a file, open or not, or samples with their rate."""
    if isinstance(query, (str, bytes, os.PathLike, dict)) or hasattr(query, "read"):
        return True
    return isinstance(query, tuple) and len(query) == 2 and np.ndim(query[0]) > 0


class Embedder:
    """Embeds as an index was embedded, by a model that is loaded when it is first needed.

    Parameters
    ----------
    space, settings
        Of the index.
    model
        What to embed with, None for what the settings name.
    device
        Where.
    """

    def __init__(
        self,
        space: str,
        settings: dict[str, Any],
        model: "str | Path | MusicEncoder | None",
        device: str,
    ) -> None:
        self.space, self.settings, self.model, self.device = space, settings, model, device
        self._loaded: MusicEncoder | None = None

    def __call__(self, audio: Sequence[Any], sr: float | None) -> NDArray[np.float32]:
        """Return one vector per sound.

        Raises
        ------
        AudioError
            If audio cannot be used.
        ConfigError
            If the index does not say what made it.
        ModelError
            If the model cannot be loaded, or is another.
        """
        vectors: Any = self.load().embed(
            list(audio),
            sr,
            pooling=self.settings["pooling"],
            layer=list(self.settings["layers"]),
            resampler=self.settings["resampler"],
            mono=self.settings.get("mono", "mean"),
        )
        return np.asarray(_on_cpu(vectors), np.float32)

    def load(self) -> "MusicEncoder":
        """Return the model, loaded the first time.

        Raises
        ------
        ConfigError
            If the index does not say what made it.
        ModelError
            If the model cannot be loaded, or is another.
        """
        if self._loaded is None:
            self._check_settings()
            self._loaded = self._checked(self._find())
        return self._loaded

    def _check_settings(self) -> None:
        if not self.settings:
            raise ConfigError(
                "this index holds bare vectors and does not say which model made them; search it "
                "by vector or by name."
            )
        if missing := [name for name in _NEEDED if name not in self.settings]:
            raise ConfigError(
                f"the settings of this index do not say {', '.join(missing)}, so files and audio "
                "cannot be embedded as it was; search it by vector or by name."
            )

    def _find(self) -> "MusicEncoder":
        from musicssl.model import MusicEncoder, load_model

        if isinstance(self.model, MusicEncoder):
            return self.model
        if self.model is not None:
            return load_model(self.model, device=self.device)
        name = self.settings["model"]
        try:
            return load_model(name, revision=self.settings.get("revision"), device=self.device)
        except MusicSSLError as error:
            raise ModelError(
                f"the model {shown(name)} that made this index cannot be loaded: {error} "
                "Say where it is: model=..."
            ) from error

    def _checked(self, model: "MusicEncoder") -> "MusicEncoder":
        if model.weights_sha256 != self.settings["weights_sha256"]:
            raise ModelError(
                f"the index is of the space {self.space}; the weights of {shown(model.model_id)} "
                f"are others ({model.weights_sha256[:8] or 'never saved'}), so its vectors cannot "
                "be compared. Give the model that made the index."
            )
        return model
