"""Linear algebra that has to end, whatever the data."""

from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float64]


def svd(x: NDArray[Any]) -> tuple[Array, Array, Array]:
    """Return the reduced singular value decomposition, by the sure algorithm if the fast one fails.

    LAPACK's divide and conquer (``gesdd``), which NumPy calls, sometimes does not converge on
    matrices of low rank, such as embeddings with constant dimensions; QR iteration (``gesvd``)
    does, in several times the time.
    """
    try:
        u, s, vt = np.linalg.svd(x, full_matrices=False)
    except np.linalg.LinAlgError:
        u, s, vt = scipy.linalg.svd(x, full_matrices=False, lapack_driver="gesvd")
    return u, s, vt
