"""Ground truth of tempo tasks: a soft choice among bins of logarithmic tempo."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from musicssl_training.evaluation.datasets import Collection
from musicssl_training.evaluation.errors import DataError
from musicssl_training.evaluation.protocol.labels import Array, Labels, MetricFunction

SLOWEST, FASTEST = 30.0, 300.0  # BPM: what people tap lies between
BINS_PER_OCTAVE = 24  # the center of a bin is at most 1.5 % away
WIDTH = 2.0  # bins: deviation of the Gaussian that a tempo is spread over
_first, _last = (round(BINS_PER_OCTAVE * np.log2(bpm)) for bpm in (SLOWEST, FASTEST))
CENTERS: Array = np.arange(_first, _last + 1) / BINS_PER_OCTAVE  # log2 of BPM


class Tempo(Labels):
    """A tempo per item; `y` holds log2 of BPM, and `names` the centers of the bins in BPM.

    Probes are trained to predict the bin, as in [1]_, with targets spread over neighboring bins:
    so what is learned of one tempo helps with those near it, which unordered classes would waste.
    A regression on log-tempo instead would predict the mean of a tempo and its octaves, where
    both are likely.

    References
    ----------
    .. [1] Schreiber and Müller, "A single-step approach to musical tempo estimation using a
       convolutional neural network", ISMIR 2018.
    """

    noun: ClassVar[tuple[str, str]] = ("tempo bin", "tempo bins")

    @classmethod
    def is_labeled(cls, collection: Collection, columns: Sequence[str]) -> NDArray[np.bool_]:
        """Return which items have a tempo from 30 to 300 BPM, shape (items,)."""
        bpm = cls._bpm(collection, columns)
        known: NDArray[np.bool_] = (bpm >= SLOWEST) & (bpm <= FASTEST)
        return known

    @property
    def targets(self) -> Array:
        """Distributions over bins, (items, names); each row sums to 1."""
        away = BINS_PER_OCTAVE * (self.y[:, None] - CENTERS)
        rows = np.exp(-0.5 * (away / WIDTH) ** 2)
        out: Array = rows / rows.sum(axis=1, keepdims=True)
        return out

    @staticmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    @staticmethod
    def estimate(predictions: Array) -> Array:
        """Return log2 of BPM, (items,), of the most probable bin."""
        out: Array = CENTERS[predictions.argmax(axis=1)]
        return out

    def per_class(self, predictions: Sequence[Array], metric: MetricFunction) -> dict[str, float]:
        """Return nothing: a bin holds too few items for a score."""
        return {}

    def describe(self, item: int) -> str:
        """Return the item's tempo in BPM."""
        return f"{2 ** self.y[item]:.0f}"

    @classmethod
    def _read(cls, collection: Collection, columns: Sequence[str]) -> Self:
        known = cls.is_labeled(collection, columns)
        if not known.all():
            item = collection.clips[int(np.argmin(known))].id
            raise DataError(f"{collection.name}: item {item!r} has no tempo from 30 to 300 BPM.")
        y = np.log2(cls._bpm(collection, columns))
        # One tempo alone cannot be learned: `read` refuses fewer than `fewest_names`
        names = tuple(f"{2**center:.1f}" for center in CENTERS) if np.ptp(y) > 0 else ()
        return cls(y, names)

    @staticmethod
    def _bpm(collection: Collection, columns: Sequence[str]) -> Array:
        (column,) = columns
        try:
            return np.asarray(collection.column(column), np.float64)
        except ValueError as error:
            raise DataError(f"{collection.name}: {column}: not numbers: {error}.") from None
