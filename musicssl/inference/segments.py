"""`pool`: frame embeddings to one vector per beat, bar or segment."""

import warnings
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from musicssl import arguments
from musicssl.errors import ConfigError, pick, shown
from musicssl.inference.results import Embedding, TensorEmbedding
from musicssl.pooling import POOLINGS


@overload
def pool(embedding: Embedding, boundaries: Any, *, pooling: str = "mean") -> Embedding: ...


@overload
def pool(
    embedding: TensorEmbedding, boundaries: Any, *, pooling: str = "mean"
) -> TensorEmbedding: ...


@arguments.strict
def pool(
    embedding: Embedding | TensorEmbedding, boundaries: Any, *, pooling: str = "mean"
) -> Embedding | TensorEmbedding:
    """Pool the frames between boundaries: to one vector per beat, bar or segment.

    Parameters
    ----------
    embedding
        Of frames, from `musicssl.get_embedding` with ``level="frame"``.
    boundaries
        Seconds, increasing, at least two: n + 1 of them bound n segments. A frame belongs to the
        segment in which its center lies.
    pooling
        "mean", "max" or "meanstd" (twice as many values).

    Returns
    -------
    Embedding
        Values (n, dim) and the segments' centers in seconds (n,). A segment that is too short
        to have a frame has the one nearest to its center; a warning counts those that lie outside
        of the audio.

    Raises
    ------
    ConfigError
        If `embedding` is none of frames, or boundaries are not such numbers.

    Examples
    --------
    >>> import musicssl, numpy as np
    >>> frames = musicssl.Embedding(np.arange(8.0).reshape(4, 2), np.array([0.0, 0.1, 0.2, 0.3]))
    >>> musicssl.pool(frames, [0.0, 0.2, 0.4])
    Embedding(values=array([[1., 2.],
           [5., 6.]], dtype=float32), times=array([0.1, 0.3]))
    """
    if not isinstance(embedding, Embedding):
        raise ConfigError(
            "embedding must be one of frames, as get_embedding(..., level='frame') returns it, "
            f"got {shown(embedding, kind=True)}."
        )
    kind = pick({name: p for name, p in POOLINGS.items() if name != "none"}, pooling, "pooling")
    edges = _edges(boundaries)
    tensor = embedding.values if isinstance(embedding.values, torch.Tensor) else None
    values, times = (
        x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
        for x in embedding
    )
    if values.ndim != 2 or times.shape != values.shape[:1] or not len(times):
        raise ConfigError(
            f"embedding must have values (frames, dim) and times (frames,), got {values.shape} "
            f"and {times.shape}."
        )
    centers = (edges[:-1] + edges[1:]) / 2
    _warn_outside(edges, times)
    places = np.searchsorted(times, edges)
    out = []
    for center, start, stop in zip(centers, places[:-1], places[1:], strict=True):
        if start == stop:
            start = int(np.abs(times - center).argmin())
            stop = start + 1
        pooled = kind()
        pooled.add(values[start:stop].astype(np.float32, copy=False))
        out.append(pooled.result())
    pooled_values = np.stack(out)
    if tensor is None:
        return Embedding(pooled_values, centers)
    return Embedding(torch.from_numpy(pooled_values).to(tensor.device), torch.from_numpy(centers))


def _warn_outside(edges: NDArray[np.float64], times: NDArray[Any]) -> None:
    """Warn of segments that lie before the first frame or behind the last one."""
    longest = float(np.diff(times).max()) if len(times) > 1 else 1.0  # from frame to frame
    outside = (edges[:-1] > times[-1] + longest) | (edges[1:] < times[0] - longest)
    if outside.any():
        warnings.warn(
            f"{int(outside.sum()):,} of {len(outside):,} segments lie outside of the frames, which "
            f"go from {times[0]:g} to {times[-1]:g} s, and get the first or last one's values. "
            "Boundaries are seconds: beats of librosa with units='time'.",
            stacklevel=4,
        )


def _edges(boundaries: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return boundaries as an array, checked."""
    if isinstance(boundaries, torch.Tensor):
        boundaries = boundaries.detach().cpu().numpy()
    try:
        edges = np.asarray(boundaries, np.float64)
    except (TypeError, ValueError):
        edges = np.empty(0)
    good = edges.ndim == 1 and len(edges) >= 2 and bool(np.isfinite(edges).all())
    if not good or not (np.diff(edges) > 0).all():
        raise ConfigError(
            "boundaries must be at least two times in seconds, increasing, "
            f"got {shown(boundaries, kind=True)}."
        )
    return edges
