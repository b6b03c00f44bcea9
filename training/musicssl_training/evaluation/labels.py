"""What a probe is to predict."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl_training.evaluation.collection import Collection
from musicssl_training.evaluation.errors import DataError

KINDS = ("classes", "numbers", "tags")


@dataclass(frozen=True)
class Labels:
    """The truth about every item of a task.

    Attributes
    ----------
    kind
        "classes": one of several; "numbers": a value for each name; "tags": each name or not.
    y
        Of classes shape (items,), indices into `names`; otherwise (items, names).
    names
        Of classes, values or tags.
    """

    kind: str
    y: NDArray[Any]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def targets(self) -> NDArray[np.float64]:
        """What a probe's outputs should be, shape (items, names): classes as one-hot rows."""
        if self.kind == "classes":
            rows: NDArray[np.float64] = np.eye(len(self.names))[self.y]
            return rows
        return np.asarray(self.y, np.float64)

    def take(self, index: NDArray[Any]) -> "Labels":
        """Return some items' labels."""
        return Labels(self.kind, self.y[index], self.names)


def read_labels(collection: Collection, kind: str, columns: tuple[str, ...]) -> Labels:
    """Return labels from columns: one for classes, any number or patterns for the other kinds.

    Raises
    ------
    DataError
        If a column is missing, an item has no label, or all have the same.
    """
    found = {k: v for pattern in columns for k, v in collection.pick(pattern).items()}
    if kind == "classes":
        (values,) = found.values()
        text = np.array([str(value) for value in values])
        if (text == "").any():
            item = collection.clips[int(np.argmax(text == ""))].id
            raise DataError(f"{collection.name}: item {item!r} has no label {columns[0]!r}.")
        names, y = np.unique(text, return_inverse=True)
        labels = Labels(kind, y.astype(np.int64), tuple(str(name) for name in names))
    else:
        try:
            table = np.stack([np.asarray(v, np.float64) for v in found.values()], axis=1)
        except ValueError as error:
            raise DataError(
                f"{collection.name}: {', '.join(found)}: not numbers: {error}."
            ) from None
        if not np.isfinite(table).all():
            item = collection.clips[int(np.argmin(np.isfinite(table).all(axis=1)))].id
            raise DataError(f"{collection.name}: item {item!r} lacks a number.")
        varied = table.std(axis=0) > 0
        kept = tuple(k.rpartition(":")[2] for k, keep in zip(found, varied, strict=True) if keep)
        labels = Labels(kind, table[:, varied], kept)
    if len(labels.names) < (2 if kind == "classes" else 1):
        raise DataError(f"{collection.name}: all items have the same {', '.join(columns)}.")
    return labels
