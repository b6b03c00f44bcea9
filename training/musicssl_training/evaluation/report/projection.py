"""Two-dimensional projections of embeddings by PCA or t-SNE."""

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from musicssl_training.evaluation.protocol.probes import standardize
from musicssl_training.evaluation.protocol.scoring import TaskInstance
from musicssl_training.evaluation.report.results import Map

MAX_ITEMS = 1000


def project(
    values: NDArray[np.float32], method: str = "pca", seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the indices of up to 1,000 random items, (n,), and their positions, (n, 2).

    Parameters
    ----------
    values
        Shape (items, dim).
    method
        "pca", or "tsne" (van der Maaten and Hinton, "Visualizing data using t-SNE", 2008).
    """
    order = np.random.default_rng(seed).permutation(len(values))
    chosen = np.sort(order[:MAX_ITEMS])
    (x,) = standardize(values[chosen].astype(np.float64))
    reduced = PCA(min(50, *x.shape), random_state=seed, svd_solver="full").fit_transform(x)
    if method == "tsne" and len(chosen) > 4:
        perplexity = min(30.0, (len(chosen) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        reduced = tsne.fit_transform(reduced)
    points = np.zeros((len(chosen), 2))
    points[:, : reduced.shape[1]] = reduced[:, :2]
    return chosen, points


def make_map(x: NDArray[np.float32], task: TaskInstance, model: str, method: str) -> Map:
    """Return the projection of a model's embeddings (items, dim), with a label for every item."""
    index, xy = project(x, method)
    return Map(
        model=model,
        task=task.name,
        xy=[[float(v) for v in point] for point in xy.round(4)],
        labels=[task.labels.describe(i) for i in index],
        items=[task.ids[i] for i in index],
    )
