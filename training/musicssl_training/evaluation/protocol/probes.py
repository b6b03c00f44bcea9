"""Probes: small predictors on frozen embeddings, tuned on validation items only.

Every probe gets standardized embeddings and returns predictions, one value per class, tag or
regression target. Hyper-parameters are those with the best score on the validation items; all
probes but the MLP are then refitted on training and validation items together.

The linear probes agree with scikit-learn's `LogisticRegression` and `Ridge` to a few percent of a
prediction (a test compares them), but share work between regularization strengths: each logistic
fit starts from the one before, in the subspace that the items span, and one singular value
decomposition serves all ridge regressions. `LogisticRegression` takes neither several tags at once
nor the distributions that `Tempo` is trained on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from musicssl_training.evaluation.protocol.labels import (
    Labels,
    MetricFunction,
    Multiclass,
    Multilabel,
    Regression,
)
from musicssl_training.evaluation.protocol.tempo import Tempo
from musicssl_training.linalg import svd

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # C of the logistic regression; the strongest penalty first
ALPHAS = (1e5, 1e4, 1e3, 1e2, 1e1)  # of the ridge regression; the strongest penalty first
NEIGHBORS = (1, 3, 5, 10, 20, 40)
DEFAULT_NEIGHBORS = 5  # without validation items
LBFGS_STEPS = 100
HIDDEN_UNITS = 256
BATCH_SIZE = 128
EPOCHS, STEPS = 40, 400  # whichever is longer
PATIENCE_EPOCHS, PATIENCE_STEPS = 5, 50  # likewise, without a better validation score


@dataclass(frozen=True)
class LinearModel:
    """A linear predictor: weights (dim, names), bias (names,)."""

    weights: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        """Return predictions, shape (items, names)."""
        out: Array = x @ self.weights + self.bias
        return out


@dataclass(frozen=True)
class ProbeData:
    """Standardized embeddings and labels of one split; the test labels are withheld."""

    train: Array  # (items, dim)
    valid: Array
    test: Array
    train_labels: Labels
    valid_labels: Labels

    @property
    def train_and_valid(self) -> tuple[Array, Array]:
        """Embeddings and targets of training and validation items together."""
        targets = [self.train_labels.targets, self.valid_labels.targets]
        return np.concatenate([self.train, self.valid]), np.concatenate(targets)


@dataclass(frozen=True)
class LinearFamily:
    """A kind of linear regression.

    Attributes
    ----------
    fit_path
        Of embeddings, targets and regularization strengths: a model for each strength.
    strengths
        The strongest penalty first.
    default
        Index of the strength to use without validation items.
    """

    fit_path: Callable[[Array, Array, tuple[float, ...]], Iterator[LinearModel]]
    strengths: tuple[float, ...]
    default: int


def standardize(train: NDArray[Any], *others: NDArray[Any]) -> list[Array]:
    """Return embeddings with mean 0 and deviation 1 over training items; constants become 0.

    scikit-learn's `StandardScaler` would pass on a dimension that is constant in training only.
    """
    mean, std = _moments(train)
    std = np.where(std > 1e-9 * np.maximum(1.0, np.abs(mean)), std, np.inf)
    return [((x - mean) / std).astype(np.float64) for x in (train, *others)]


def _moments(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and deviation of every dimension, in float64 if float32 is too small."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = x.mean(axis=0), x.std(axis=0)
    if np.isfinite(mean).all() and np.isfinite(std).all():
        return mean, std
    return x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)


def linear(data: ProbeData, metric: MetricFunction, seed: int) -> Array:
    """Return the predictions of logistic regression, or of ridge regression for `Regression`.

    One multinomial regression for `Multiclass` and `Tempo`, one per tag for `Multilabel`, with an
    L2 penalty and C as in scikit-learn.
    """
    family = LINEAR_FAMILIES[type(data.train_labels)]
    best = family.default
    if len(data.valid):
        path = family.fit_path(data.train, data.train_labels.targets, family.strengths)
        best = _argmax([metric(data.valid_labels, predict(data.valid)) for predict in path])
    x, y = data.train_and_valid
    (predict,) = family.fit_path(x, y, family.strengths[best : best + 1])
    return predict(data.test)


def _argmax(scores: list[float]) -> int:
    """Return the index of the best score; of equals, the first, which is regularized the most."""
    return int(np.argmax(scores))


def logistic_path(
    x: Array, y: Array, strengths: tuple[float, ...], *, multinomial: bool
) -> Iterator[LinearModel]:
    """Yield a logistic regression for each C, each starting from the one before (L-BFGS).

    With fewer items than dimensions, the best weights lie in the subspace that the items span; the
    fit is done there.

    Yields
    ------
    LinearModel
        In the order of `strengths`.
    """
    basis = None
    if x.shape[0] < x.shape[1]:
        # not by singular values, whose computation now and then fails where dimensions are constant
        basis = np.linalg.qr(x.T)[0].T  # (items, dim)
        x = x @ basis.T
    x32, y32 = x.astype(np.float32), y.astype(np.float32)
    weights = np.zeros((x.shape[1] + 1, y.shape[1]))
    for c in strengths:
        found = minimize(
            _logistic_loss,
            weights.ravel(),
            (x32, y32, multinomial, c),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": LBFGS_STEPS, "gtol": 1e-4},
        )
        weights = found.x.reshape(weights.shape)
        slopes = weights[:-1] if basis is None else basis.T @ weights[:-1]
        yield LinearModel(slopes, weights[-1])


def _logistic_loss(
    flat: Array, x: Array32, y: Array32, multinomial: bool, c: float
) -> tuple[float, Array]:
    """Return the penalized negative log-likelihood per item, and its gradient."""
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


def ridge_path(x: Array, y: Array, alphas: tuple[float, ...]) -> Iterator[LinearModel]:
    """Yield a ridge regression for each alpha, from one singular value decomposition."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    u, s, vt = svd(x - mean_x)
    projected = u.T @ (y - mean_y)
    for alpha in alphas:
        slopes = vt.T @ (projected * (s / (s**2 + alpha))[:, None])
        yield LinearModel(slopes, mean_y - mean_x @ slopes)


def mlp(data: ProbeData, metric: MetricFunction, seed: int) -> Array:
    """Return the predictions of a network with one hidden layer of 256 units.

    AdamW with dropout; the epoch is the one with the best score on the validation items.
    """
    labels = data.train_labels
    offset, scale = labels.units
    x, valid, test = (_tensor(each) for each in (data.train, data.valid, data.test))
    y = _tensor((labels.targets - offset) / scale)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(x.shape[1], HIDDEN_UNITS),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Linear(HIDDEN_UNITS, y.shape[1]),
        )
        optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.01)
        best, waited = -np.inf, 0
        out = test.new_full((len(test), y.shape[1]), torch.nan)
        steps = -(-len(x) // BATCH_SIZE)  # per epoch
        for _ in range(max(EPOCHS, STEPS // steps)):
            _train_epoch(net, optimizer, x, y, labels.loss)
            value = -np.inf
            if len(valid):
                value = metric(data.valid_labels, _evaluate(net, valid).numpy() * scale + offset)
            waited += 1
            if value > best or not len(valid):
                best, out, waited = value, _evaluate(net, test), 0
            if waited == max(PATIENCE_EPOCHS, PATIENCE_STEPS // steps):
                break
    predictions: Array = out.numpy().astype(np.float64) * scale + offset
    return predictions


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _train_epoch(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    net.train()
    for rows in torch.split(torch.randperm(len(x)), BATCH_SIZE):
        optimizer.zero_grad()
        torch.autograd.backward(loss(net(x[rows]), y[rows]))
        optimizer.step()


@torch.no_grad()
def _evaluate(net: nn.Module, x: Tensor) -> Tensor:
    net.eval()
    out: Tensor = net(x)
    return out


def knn(data: ProbeData, metric: MetricFunction, seed: int) -> Array:
    """Return the mean target of the nearest neighbors by cosine; ties go to the nearer.

    The weights that break ties are why this is not scikit-learn's `KNeighborsClassifier`.
    """
    count = DEFAULT_NEIGHBORS
    if len(data.valid):
        found = _neighbors(data.train, data.train_labels.targets, data.valid, NEIGHBORS)
        count = NEIGHBORS[_argmax([metric(data.valid_labels, each) for each in found])]
    x, y = data.train_and_valid
    (predictions,) = _neighbors(x, y, data.test, (count,))
    return predictions


def _neighbors(x: Array, y: Array, new: Array, counts: tuple[int, ...]) -> Iterator[Array]:
    near = _unit(new) @ _unit(x).T
    order = np.argsort(-near, axis=1, kind="stable")[:, : max(counts)]
    closeness = np.take_along_axis(near, order, axis=1)[..., None]
    for count in counts:
        weights = 1 + 1e-3 * closeness[:, :count]
        yield (y[order[:, :count]] * weights).sum(axis=1) / weights.sum(axis=1)


def _unit(x: Array) -> Array:
    out: Array = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return out


LINEAR_FAMILIES: dict[type[Labels], LinearFamily] = {
    Multiclass: LinearFamily(partial(logistic_path, multinomial=True), STRENGTHS, 1),
    Multilabel: LinearFamily(partial(logistic_path, multinomial=False), STRENGTHS, 1),
    Regression: LinearFamily(ridge_path, ALPHAS, 2),
    Tempo: LinearFamily(partial(logistic_path, multinomial=True), STRENGTHS, 1),
}
PROBES: dict[str, Callable[[ProbeData, MetricFunction, int], Array]] = {
    "linear": linear,
    "mlp": mlp,
    "knn": knn,
}
