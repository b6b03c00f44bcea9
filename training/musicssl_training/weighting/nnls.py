"""Small non-negative least-squares problems on a Gram matrix, in float64 on the CPU."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.float64]
NOISE = 1e-6  # of scalar products of unit vectors that were summed in fp32


def coordinates(gram: Array) -> Array:
    """Return vectors with these scalar products, none of them zero, as columns.

    Directions weaker than the rounding of the scalar products are left out, so that copies of
    one vector come out as copies.

    Parameters
    ----------
    gram
        Shape (vectors, vectors), positive semi-definite up to rounding.

    Returns
    -------
    Array
        Shape (rank, vectors).
    """
    norms = np.sqrt(gram.diagonal())
    values, axes = np.linalg.eigh(gram / np.outer(norms, norms))
    kept = values > len(gram) * NOISE
    units: Array = np.sqrt(values[kept, None]) * axes[:, kept].T
    vectors: Array = units / np.linalg.norm(units, axis=0) * norms
    return vectors


def nearest_to_origin(points: Array) -> Array:
    """Return the shares, 0 or more with sum 1, of the point of least norm in the convex hull.

    With f = (0, ..., 0, 1) and E the points above a row of ones, it is the minimum of
    ``|E u - f|`` over u of 0 or more, scaled to sum 1 [1]_.

    References
    ----------
    .. [1] Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23.
    """
    norms = np.linalg.norm(points, axis=0)
    scale = np.exp(np.log(np.maximum(norms, 1e-12 * norms.max())).mean())
    system = np.vstack([points / scale, np.ones(len(norms))])
    found = non_negative(system, np.append(np.zeros(len(points)), 1.0))
    shares: Array = found / found.sum()
    return shares


def non_negative(system: Array, target: Array) -> Array:
    """Return x of 0 or more with the least ``|system x - target|``."""
    found: Array = nnls(system, target, maxiter=100 * system.shape[1])[0]
    return found
