"""`DigestMap`: numbers by digest, a few bytes each, so that millions of files have room."""

from collections.abc import Iterable

import numpy as np

_MOST_NEW = 2**12  # entries of a dict, which take ten times as much; or a part of all


class DigestMap:
    """A dictionary from digests (64 bits, see `records.digest`) to tuples of such numbers.

    What is old stands in sorted arrays, 8 bytes a number; only what is new in a dict.

    Parameters
    ----------
    columns
        Numbers in each tuple.
    keys
        Digests to begin with, where there are no columns: a set.
    """

    def __init__(self, columns: int = 0, keys: Iterable[int] = ()) -> None:
        self._keys = np.empty(0, np.uint64)
        self._values = np.empty((0, columns), np.uint64)
        self._new: dict[int, tuple[int, ...] | None] = {}  # None: taken away
        for key in keys:
            self.set(key)

    def set(self, key: int, *values: int) -> None:
        """Put numbers in place of what there was."""
        self._note(key, values)

    def remove(self, key: int) -> None:
        """Take away what there is, if anything is."""
        self._note(key, None)

    def get(self, key: int) -> tuple[int, ...] | None:
        """Return the numbers; None if there are none."""
        if key in self._new:
            return self._new[key]
        place = int(self._keys.searchsorted(np.uint64(key)))
        if place == len(self._keys) or int(self._keys[place]) != key:
            return None
        return tuple(self._values[place].tolist())

    def __contains__(self, key: int) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        self._settle()
        return len(self._keys)

    def _note(self, key: int, values: tuple[int, ...] | None) -> None:
        if len(self._new) >= max(_MOST_NEW, len(self._keys) // 32):
            self._settle()
        self._new[key] = values

    def _settle(self) -> None:
        """Move what is new into the arrays."""
        if not self._new:
            return
        new = np.fromiter(self._new, np.uint64, len(self._new))
        places = self._keys.searchsorted(new)
        inside = places < len(self._keys)
        old = places[inside][self._keys[places[inside]] == new[inside]]
        keys, values = np.delete(self._keys, old), np.delete(self._values, old, axis=0)
        kept = sorted((key, numbers) for key, numbers in self._new.items() if numbers is not None)
        added = np.array([key for key, _ in kept], np.uint64)
        rows = np.array([numbers for _, numbers in kept], np.uint64).reshape(
            len(kept), self._values.shape[1]
        )
        where = keys.searchsorted(added)
        self._keys = np.insert(keys, where, added)
        del keys
        if values.shape[1]:
            self._values = np.insert(values, where, rows, axis=0)
        else:
            self._values = np.empty((len(self._keys), 0), np.uint64)
        self._new = {}
