"""Items in two dimensions, to look at."""

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from musicssl_training.evaluation.probes import standardise

ITEMS = 1000  # at most


def map_items(
    values: NDArray[np.float32], method: str = "pca", seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which items were drawn, and where they are: shapes (n,) and (n, 2).

    Parameters
    ----------
    values
        Shape (items, dim).
    method
        "pca", or "tsne" (van der Maaten and Hinton, "Visualizing data using t-SNE", 2008).
    """
    order = np.random.default_rng(seed).permutation(len(values))
    chosen = np.sort(order[:ITEMS])
    (x,) = standardise(values[chosen].astype(np.float64))
    reduced = PCA(min(50, *x.shape), random_state=seed, svd_solver="full").fit_transform(x)
    if method == "tsne" and len(chosen) > 4:
        perplexity = min(30.0, (len(chosen) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        reduced = tsne.fit_transform(reduced)
    points = np.zeros((len(chosen), 2))
    points[:, : reduced.shape[1]] = reduced[:, :2]
    return chosen, points
