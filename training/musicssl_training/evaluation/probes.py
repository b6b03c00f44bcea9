"""Probes: small predictors on frozen embeddings, tuned on validation items only.

The embedding is standardised with the training items' mean and standard deviation. Every probe
returns a score for each class, value or tag. Hyper-parameters are those with the best score on
the validation items; all but the net with a hidden layer are then fitted to both.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import nn

from musicssl_training.evaluation.labels import Labels

Array = NDArray[np.float64]
Score = Callable[[Labels, Array], float]
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # C of the logistic regression
ALPHAS = (1e1, 1e2, 1e3, 1e4, 1e5)  # of the ridge regression
NEIGHBOURS = (1, 3, 5, 10, 20, 40)
STEPS = 100  # of L-BFGS
HIDDEN = 256
BATCH = 128
EPOCHS, STEPS_OF_ALL = 40, 400  # whichever is longer
PATIENCE, STEPS_OF_PATIENCE = 5, 50  # the same, without a better score on the validation items


@dataclass(frozen=True)
class Plane:
    """A linear predictor: slope (dim, names), level (names,)."""

    slope: Array
    level: Array

    def __call__(self, x: Array) -> Array:
        """Return scores, shape (items, names)."""
        out: Array = x @ self.slope + self.level
        return out


@dataclass(frozen=True)
class Sides:
    """Standardised embeddings and labels of one split; the test's labels are not here."""

    train: Array  # (items, dim)
    valid: Array
    test: Array
    train_labels: Labels
    valid_labels: Labels

    @property
    def both(self) -> tuple[Array, Array]:
        """Embeddings and targets of training and validation items together."""
        targets = [self.train_labels.targets, self.valid_labels.targets]
        return np.concatenate([self.train, self.valid]), np.concatenate(targets)


def standardise(train: NDArray[Any], *others: NDArray[Any]) -> list[Array]:
    """Return embeddings with the training items' mean 0 and deviation 1; constants become 0."""
    centre, spread = train.mean(axis=0), train.std(axis=0)
    spread = np.where(spread > 1e-9 * np.maximum(1.0, np.abs(centre)), spread, np.inf)
    return [((x - centre) / spread).astype(np.float64) for x in (train, *others)]


def linear(sides: Sides, score: Score, seed: int) -> Array:
    """Return the scores of ridge regression for numbers, else of logistic regression.

    One multinomial regression for classes, one a tag for tags, with an L2 penalty and C as in
    scikit-learn.
    """
    if sides.train_labels.kind == "numbers":
        return _ridge(sides, score)
    multinomial = sides.train_labels.kind == "classes"
    best = 1
    if len(sides.valid):
        path = _logistic_path(sides.train, sides.train_labels.targets, multinomial, STRENGTHS)
        best = _best([score(sides.valid_labels, predict(sides.valid)) for predict in path])
    x, y = sides.both
    predict = list(_logistic_path(x, y, multinomial, STRENGTHS[best : best + 1]))[-1]
    return predict(sides.test)


def _best(scores: list[float]) -> int:
    """Return the first of the largest: of equals, the most regularised."""
    return int(np.argmax(scores))


def _logistic_path(
    x: Array, y: Array, multinomial: bool, strengths: tuple[float, ...]
) -> Iterator[Plane]:
    """Yield a predictor for each C, each starting from the one before (L-BFGS).

    Fewer items than dimensions span a subspace, which the best weights do not leave: the fit
    works in it.

    Yields
    ------
    Plane
        In the order of `strengths`.
    """
    basis = None
    if x.shape[0] < x.shape[1]:
        _, _, basis = np.linalg.svd(x, full_matrices=False)  # (items, dim)
        x = x @ basis.T
    x32, y32 = x.astype(np.float32), y.astype(np.float32)
    weights = np.zeros((x.shape[1] + 1, y.shape[1]))
    for c in strengths:
        found = minimize(
            _loss,
            weights.ravel(),
            (x32, y32, multinomial, c),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": STEPS, "gtol": 1e-4},
        )
        weights = found.x.reshape(weights.shape)
        slope = weights[:-1] if basis is None else basis.T @ weights[:-1]
        yield Plane(slope, weights[-1])


def _loss(
    flat: Array, x: NDArray[np.float32], y: NDArray[np.float32], multinomial: bool, c: float
) -> tuple[float, Array]:
    """Return the penalised negative log-likelihood an item, and its gradient."""
    weights = flat.reshape(-1, y.shape[1])
    z = x @ weights[:-1].astype(np.float32) + weights[-1].astype(np.float32)
    if multinomial:
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True)
        loss = float((np.log(total[:, 0]) - (z * y).sum(axis=1)).sum(dtype=np.float64))
        error = e / total - y
    else:
        loss = float((np.logaddexp(0, z) - y * z).sum(dtype=np.float64))
        error = 0.5 * (1 + np.tanh(0.5 * z)) - y
    gradient = np.empty_like(weights)
    gradient[:-1] = x.T @ error + weights[:-1] / c
    gradient[-1] = error.sum(axis=0)
    penalty = 0.5 / c * float(np.square(weights[:-1]).sum())
    return (loss + penalty) / len(x), gradient.ravel() / len(x)


def _ridge(sides: Sides, score: Score) -> Array:
    best = 2
    if len(sides.valid):
        y = sides.train_labels.targets
        found = [
            score(sides.valid_labels, predict(sides.valid))
            for predict in _ridge_path(sides.train, y, ALPHAS[::-1])
        ]
        best = len(ALPHAS) - 1 - _best(found)
    x, y = sides.both
    (predict,) = _ridge_path(x, y, ALPHAS[best : best + 1])
    return predict(sides.test)


def _ridge_path(x: Array, y: Array, alphas: tuple[float, ...]) -> Iterator[Plane]:
    """Yield a predictor for each alpha, from one singular value decomposition."""
    centre, level = x.mean(axis=0), y.mean(axis=0)
    u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
    projected = u.T @ (y - level)
    for alpha in alphas:
        slope = vt.T @ (projected * (s / (s**2 + alpha))[:, None])
        yield Plane(slope, level - centre @ slope)


def mlp(sides: Sides, score: Score, seed: int) -> Array:
    """Return the scores of a net with one hidden layer of 256 units.

    Adam with dropout; the epoch is the one with the best score on the validation items.
    """
    labels = sides.train_labels
    scale = labels.targets.std(axis=0) + 1e-9 if labels.kind == "numbers" else 1.0
    level = labels.targets.mean(axis=0) if labels.kind == "numbers" else 0.0
    x, valid, test = (
        torch.from_numpy(a.astype(np.float32)) for a in (sides.train, sides.valid, sides.test)
    )
    y = torch.from_numpy(((labels.targets - level) / scale).astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(x.shape[1], HIDDEN),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Linear(HIDDEN, y.shape[1]),
        )
        optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.01)
        top, out, waited = -np.inf, test.new_zeros(len(test), y.shape[1]), 0
        steps = -(-len(x) // BATCH)  # an epoch
        for _ in range(max(EPOCHS, STEPS_OF_ALL // steps)):
            _epoch(net, optimiser, x, y, LOSSES[labels.kind])
            with torch.no_grad():
                net.eval()
                found = net(valid).numpy() * scale + level if len(valid) else None
                value = 0.0 if found is None else score(sides.valid_labels, found)
                waited += 1
                if value > top or found is None:
                    top, out, waited = value, net(test), 0
            if waited == max(PATIENCE, STEPS_OF_PATIENCE // steps):
                break
    scores: Array = out.numpy().astype(np.float64) * scale + level
    return scores


def _epoch(net: nn.Module, optimiser: Any, x: Any, y: Any, loss: Callable[..., Any]) -> None:
    net.train()
    for rows in torch.split(torch.randperm(len(x)), BATCH):
        optimiser.zero_grad()
        loss(net(x[rows]), y[rows]).backward()
        optimiser.step()


def knn(sides: Sides, score: Score, seed: int) -> Array:
    """Return the mean target of the nearest neighbours by cosine; ties go to the nearer."""
    x, y = sides.both
    best = NEIGHBOURS[2]
    if len(sides.valid):
        found = list(_neighbours(sides.train, sides.train_labels.targets, sides.valid, NEIGHBOURS))
        best = NEIGHBOURS[_best([score(sides.valid_labels, f) for f in found])]
    (scores,) = _neighbours(x, y, sides.test, (best,))
    return scores


def _neighbours(x: Array, y: Array, new: Array, counts: tuple[int, ...]) -> Iterator[Array]:
    def unit(a: Array) -> Array:
        out: Array = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12)
        return out

    near = unit(new) @ unit(x).T
    order = np.argsort(-near, axis=1, kind="stable")[:, : max(counts)]
    closeness = np.take_along_axis(near, order, axis=1)[..., None]
    for count in counts:
        weights = 1 + 1e-3 * closeness[:, :count]
        yield (y[order[:, :count]] * weights).sum(axis=1) / weights.sum(axis=1)


LOSSES: dict[str, Callable[..., Any]] = {
    "classes": nn.functional.cross_entropy,
    "tags": nn.functional.binary_cross_entropy_with_logits,
    "numbers": nn.functional.mse_loss,
}
PROBES: dict[str, Callable[[Sides, Score, int], Array]] = {"linear": linear, "mlp": mlp, "knn": knn}
