"""Items in two dimensions, to look at."""

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from musicssl_training.evaluation.labels import Labels
from musicssl_training.evaluation.measure import Problem
from musicssl_training.evaluation.probes import standardise
from musicssl_training.evaluation.results import Map

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


def draw_map(x: NDArray[np.float32], problem: Problem, model: str, method: str) -> Map:
    """Return the map of a model's embeddings (items, dim), each with a label to be coloured by."""
    index, xy = map_items(x, method)
    return Map(
        model=model,
        task=problem.name,
        xy=[[float(v) for v in point] for point in xy.round(4)],
        labels=[label_of(problem.labels, i) for i in index],
        items=[problem.ids[i] for i in index],
    )


def label_of(labels: Labels, item: int) -> str:
    """Return a text for one item: its class, its rarest tag, or its most unusual value."""
    if labels.kind == "classes":
        return labels.names[int(labels.y[item])]
    row, mean = labels.targets[item], labels.targets.mean(axis=0)
    if labels.kind == "tags":
        return labels.names[int((row / mean.clip(1e-9)).argmax())] if row.any() else "none"
    return labels.names[int(((row - mean) / labels.targets.std(axis=0)).argmax())]
