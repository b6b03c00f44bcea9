"""Ground truth of multiclass, multilabel and regression tasks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from musicssl_training.evaluation.datasets import Collection
from musicssl_training.evaluation.errors import DataError
from musicssl_training.evaluation.protocol.regimes import Regime
from musicssl_training.evaluation.protocol.splits import Split

Array = NDArray[np.float64]
Index = NDArray[np.int64]
FEWEST = 10  # items without classes from which a probe can be trained
MetricFunction = Callable[["Labels", Array], float]  # of labels and predictions (items, names)


@dataclass(frozen=True)
class Labels(ABC):
    """The ground truth of every item of a task.

    Attributes
    ----------
    y
        Shape (items,) for `Multiclass`, indices into `names`; otherwise (items, names).
    names
        Of the classes, tags or regression targets.
    """

    y: NDArray[Any]
    names: tuple[str, ...]

    fewest_names: ClassVar[int] = 1  # with fewer, nothing varies
    noun: ClassVar[tuple[str, str]] = ("column", "columns")  # for one of the names, and several

    def __len__(self) -> int:
        return len(self.y)

    @classmethod
    def read(cls, collection: Collection, columns: Sequence[str]) -> Self:
        """Read labels from a collection: one column of classes, or columns or patterns of numbers.

        Raises
        ------
        DataError
            If a column is missing, an item has no label, or all have the same.
        """
        labels = cls._read(collection, columns)
        if len(labels.names) < cls.fewest_names:
            raise DataError(f"{collection.name}: all items have the same {', '.join(columns)}.")
        return labels

    @classmethod
    def is_labeled(cls, collection: Collection, columns: Sequence[str]) -> NDArray[np.bool_]:
        """Return which items have a label, shape (items,)."""
        return np.ones(len(collection.clips), bool)

    @property
    def targets(self) -> Array:
        """Ideal outputs of a probe, shape (items, names)."""
        return np.asarray(self.y, np.float64)

    @property
    def units(self) -> tuple[Any, Any]:
        """Offset and scale of the targets, for training on standardized ones."""
        return 0.0, 1.0

    @staticmethod
    @abstractmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the training loss of outputs and targets, both (items, names)."""

    @abstractmethod
    def per_class(self, predictions: Sequence[Array], metric: MetricFunction) -> dict[str, float]:
        """Return a score for every class, tag or target, averaged over predictions."""

    @abstractmethod
    def describe(self, item: int) -> str:
        """Return a short text for one item."""

    def never_trained(self, splits: Iterable[Split]) -> tuple[str, ...]:
        """Return the classes that are tested, but never where they are trained on too."""
        return ()

    def take(self, index: NDArray[Any]) -> Self:
        """Return the labels of some items."""
        return replace(self, y=self.y[index])

    def subsample(self, train: Index, regime: Regime, seed: int) -> Index | None:
        """Return the training items whose labels a regime may use, sorted.

        Classes are sampled in proportion, at least one item each.

        Returns
        -------
        numpy.ndarray or None
            None if there are too few: less than one item per class, or ten items without classes.
        """
        shuffled = np.random.default_rng([seed, 17]).permutation(train)
        if regime.is_full:
            return np.sort(shuffled)
        return self._subsample(shuffled, regime)

    def standardize_fold(self, predictions: Array) -> Array:
        """Return one fold's predictions so that they can be pooled with those of other folds."""
        return predictions

    def confusion(self, predictions: Array, weights: Array | None = None) -> Array:
        """Return confusion matrices, (draws, classes, classes); without classes, empty ones."""
        return np.zeros((1, 0, 0))

    @classmethod
    @abstractmethod
    def _read(cls, collection: Collection, columns: Sequence[str]) -> Self: ...

    def _subsample(self, shuffled: Index, regime: Regime) -> Index | None:
        count = round(regime.count(len(shuffled)))
        return np.sort(shuffled[:count]) if count >= FEWEST else None


class Multiclass(Labels):
    """One of several classes per item."""

    fewest_names = 2
    noun = ("class", "classes")

    @classmethod
    def is_labeled(cls, collection: Collection, columns: Sequence[str]) -> NDArray[np.bool_]:
        return np.array([str(value) != "" for value in collection.column(columns[0])])

    @property
    def targets(self) -> Array:
        """One-hot rows, shape (items, names)."""
        rows: Array = np.eye(len(self.names))[self.y]
        return rows

    @staticmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def per_class(self, predictions: Sequence[Array], metric: MetricFunction) -> dict[str, float]:
        """Return the recall of every class, averaged over predictions."""
        cells = np.mean([self.confusion(each)[0] for each in predictions], axis=0)
        recall = np.diag(cells) / np.maximum(cells.sum(axis=1), 1)
        return {name: float(r) for name, r in zip(self.names, recall, strict=True)}

    def describe(self, item: int) -> str:
        """Return the item's class."""
        return self.names[int(self.y[item])]

    def never_trained(self, splits: Iterable[Split]) -> tuple[str, ...]:
        """Return the classes that are tested, but never where they are trained on too."""
        tested: set[int] = set()
        known: set[int] = set()
        for split in splits:
            trained = np.concatenate([split.train, split.valid])
            tested |= {*self.y[split.test].tolist()}
            known |= {*self.y[split.test].tolist()} & {*self.y[trained].tolist()}
        return tuple(self.names[each] for each in sorted(tested - known))

    def confusion(self, predictions: Array, weights: Array | None = None) -> Array:
        """Return how often each class (row) was taken for each (column), (draws, n, n)."""
        n = len(self.names)
        cells = np.eye(n * n, dtype=np.float32)[self.y * n + predictions.argmax(axis=1)]
        if weights is None:
            weights = np.ones((1, len(self)))
        counts: Array = (weights.astype(np.float32) @ cells).reshape(-1, n, n).astype(np.float64)
        return counts

    @classmethod
    def _read(cls, collection: Collection, columns: Sequence[str]) -> Self:
        (column,) = columns
        text = np.array([str(value) for value in collection.column(column)])
        if (text == "").any():
            item = collection.clips[int(np.argmax(text == ""))].id
            raise DataError(f"{collection.name}: item {item!r} has no label {column!r}.")
        names, y = np.unique(text, return_inverse=True)
        return cls(y.astype(np.int64), tuple(str(name) for name in names))

    def _subsample(self, shuffled: Index, regime: Regime) -> Index | None:
        y = self.y[shuffled]
        kept = []
        for name in np.unique(y):
            members = shuffled[y == name]
            kept.append(members[: max(1, round(regime.count(len(members))))])
        found = np.sort(np.concatenate(kept))
        # one item of every class at least: with many classes that is far more than asked for
        if regime.is_percentage and len(found) > 2 * max(1, regime.count(len(shuffled))):
            return None
        return found


class _Columns(Labels):
    """Several numbers per item."""

    def per_class(self, predictions: Sequence[Array], metric: MetricFunction) -> dict[str, float]:
        """Return every column's own metric, averaged over predictions."""
        out = {}
        for i, name in enumerate(self.names):
            one = replace(self, y=self.y[:, [i]], names=(name,))
            out[name] = float(np.mean([metric(one, each[:, [i]]) for each in predictions]))
        return out

    @classmethod
    def _read(cls, collection: Collection, columns: Sequence[str]) -> Self:
        found = collection.match_columns(*columns)
        table = np.stack([collection.numbers(name) for name in found], axis=1)
        varied = table.std(axis=0) > 0
        kept = tuple(
            k.partition(":")[2] or k for k, keep in zip(found, varied, strict=True) if keep
        )
        return cls(table[:, varied], kept)


class Regression(_Columns):
    """A value of every target per item."""

    @property
    def units(self) -> tuple[Any, Any]:
        """Mean and standard deviation of every target."""
        return self.targets.mean(axis=0), self.targets.std(axis=0) + 1e-9

    @staticmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs, targets)

    def describe(self, item: int) -> str:
        """Return the target whose value is the most unusual."""
        row, mean = self.targets[item], self.targets.mean(axis=0)
        return self.names[int(((row - mean) / self.targets.std(axis=0)).argmax())]


class Multilabel(_Columns):
    """Any number of tags per item."""

    noun = ("tag", "tags")

    @staticmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets)

    def describe(self, item: int) -> str:
        """Return the item's rarest tag, or "none"."""
        row, mean = self.targets[item], self.targets.mean(axis=0)
        return self.names[int((row / mean.clip(1e-9)).argmax())] if row.any() else "none"

    def standardize_fold(self, predictions: Array) -> Array:
        """Standardize one fold's predictions, of which only the order matters.

        Probes of different folds are not calibrated alike, which would distort areas under curves
        of their pooled predictions [1]_.

        References
        ----------
        .. [1] Forman and Scholz, "Apples-to-apples in cross-validation studies", 2010.
        """
        out: Array = (predictions - predictions.mean(axis=0)) / (predictions.std(axis=0) + 1e-9)
        return out
