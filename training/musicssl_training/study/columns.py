"""Columns of a linear model: their codes, their products, and what their rows can tell."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musicssl_training.linalg import svd

Array = NDArray[np.float64]


def sum_codes(levels: int) -> Array:
    """Return one row a level, (levels, levels - 1), whose columns each sum to 0."""
    return np.vstack([np.eye(levels - 1), -np.ones((1, levels - 1))])


def products(a: Array, b: Array) -> Array:
    """Return all products of the columns of two factors, in the order of `np.outer`."""
    found: Array = np.einsum("ni,nj->nij", a, b).reshape(len(a), -1)
    return found


def project_told(x: Array) -> Array:
    """Return the projection of coefficients onto what the rows of `x` can tell of them."""
    rows = column_basis(x.T)
    return rows @ rows.T


def count_independent(groups: Sequence[Array]) -> int:
    """Return the number of independent columns."""
    return column_basis(np.hstack(groups)).shape[1]


def column_basis(x: Array) -> Array:
    """Return an orthonormal basis of the columns of `x`."""
    u, s, _ = svd(x)
    return u[:, s > s[0] * max(x.shape) * np.finfo(float).eps * 10]
