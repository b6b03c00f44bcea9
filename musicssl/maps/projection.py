"""Points of a plane for vectors, near where these are alike."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import DependencyError, pick

Plane = NDArray[np.float64]  # (n, 2)
_BLOCK = 2**14


def project(units: NDArray[np.float32], method: str) -> Plane:
    """Return a place in the unit square for each vector.

    Parameters
    ----------
    units
        Shape (n, dim), of length 1, n at least 1.
    method
        A key of `PROJECTIONS`.

    Returns
    -------
    numpy.ndarray, shape (n, 2)
        From 0 to 1.

    Raises
    ------
    ConfigError
        If there is no such method.
    DependencyError
        If it needs a package that is missing.
    """
    plane = pick(PROJECTIONS, method, "method")(units)
    low, high = plane.min(axis=0), plane.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    return np.where(high > low, (plane - low) / span, 0.5)


def _pca(units: NDArray[np.float32]) -> Plane:
    """Project onto the two directions in which the vectors differ most, the same every time."""
    n, dim = units.shape
    blocks = [units[i : i + _BLOCK].astype(np.float64) for i in range(0, n, _BLOCK)]
    center = sum(block.sum(axis=0) for block in blocks) / n
    scatter = np.zeros((dim, dim))
    for block in blocks:
        scatter += (block - center).T @ (block - center)
    axes = np.linalg.eigh(scatter)[1][:, ::-1][:, :2]  # the largest last
    axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
    largest = axes[np.abs(axes).argmax(axis=0), range(2)]
    axes = axes * np.where(largest < 0, -1.0, 1.0)  # either sign is an answer: always the same one
    return np.concatenate([(block - center) @ axes for block in blocks])


def _umap(units: NDArray[np.float32]) -> Plane:
    umap = _imported("umap", "umap-learn")
    near = min(15, len(units) - 1)
    if near < 2:
        return _pca(units)
    model = umap.UMAP(n_neighbors=near, min_dist=0.1, metric="cosine", random_state=0, n_jobs=1)
    return np.asarray(model.fit_transform(units), np.float64)


def _tsne(units: NDArray[np.float32]) -> Plane:
    manifold = _imported("sklearn.manifold", "scikit-learn")
    perplexity = min(30.0, (len(units) - 1) / 3)
    if perplexity < 1:
        return _pca(units)
    # of unit vectors, Euclidean distances are in the order of cosines
    model = manifold.TSNE(perplexity=perplexity, init="pca", random_state=0)
    return np.asarray(model.fit_transform(units), np.float64)


def _imported(module: str, package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise DependencyError(f"this projection needs {package}: pip install {package}.") from error


PROJECTIONS: dict[str, Callable[[NDArray[np.float32]], Plane]] = {
    "pca": _pca,
    "umap": _umap,
    "tsne": _tsne,
}
