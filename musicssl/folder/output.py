"""Base class of the writers: results appear whole or not at all, nothing else is touched."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl.folder.paths import SHARD, STATE, make_folder, not_a_link, remove_own, writing

if TYPE_CHECKING:
    from musicssl.folder.columns import Columns

# What a run puts into its scratch folder; only that is removed from there.
_SCRATCH = re.compile(
    rf"\d+(\.times)?\.(npz|npy|jsonl|rows)|embeddings({SHARD})?\.(parquet|h5)"
).fullmatch


class Row(NamedTuple):
    """One result."""

    key: str
    values: NDArray[np.float32]  # (dim,) or (frames, dim)
    times: NDArray[np.float64] | None  # (frames,), seconds; None for a clip
    users: Mapping[str, Any] = {}  # the user's own columns, where a table has them


class Output(ABC):
    """Puts the results of one run into a folder; any thread may write.

    A result appears whole or not at all. `announce` puts it on the manifest. There is never a
    result that no manifest lists, so that a folder can be cleared of them without guessing, and
    what has a result's name but is listed nowhere is somebody else's: it stays.

    Parameters
    ----------
    out
        The folder.
    space
        Its embedding space's name.
    tag
        Of the shard, or empty.
    level
        "clip" or "frame", where that is known: clips have no files of times.
    """

    def __init__(self, out: Path, space: str, tag: str = "", *, level: str | None = None) -> None:
        self.out, self.space, self.tag, self.level = out, space, tag, level
        self.scratch = out / STATE / f"part{tag}"
        self.listed: Callable[[str], bool] = lambda key: True  # does a manifest list it as there?
        self.replace_foreign = False
        self.mend = False  # what turns out to be damaged is put aside
        self.columns: Callable[[], Columns] | None = None  # what a table has beside embeddings
        self.anew = False  # a table is written again, whether there are new results or not

    def check(self) -> Iterable[tuple[Path, str]]:
        """Yield files that are in the way of all results, and what is wrong with each."""
        return ()

    def open(self) -> None:
        """Start writing; what a killed run left half done goes.

        Raises
        ------
        OutputError
            If that is not possible.
        """
        with writing(self.scratch):
            remove_own(not_a_link(self.scratch), _SCRATCH)
            make_folder(self.scratch)
        self.scan()

    def scan(self) -> None:  # noqa: B027
        """Find out what is there, for `has`; writes nothing."""

    @abstractmethod
    def has(self, key: str) -> bool:
        """Tell whether there is a result for `key`."""

    @abstractmethod
    def read_row(self, key: str) -> Row | None:
        """Return the result for `key`; None if there is none or it is damaged."""

    def rows(self, keys: Iterable[str]) -> Iterator[tuple[str, Row | None]]:
        """Yield each key with its result, None as from `read_row`; in any order."""
        for key in keys:
            yield key, self.read_row(key)

    @abstractmethod
    def write(self, row: Row, announce: Callable[[], None]) -> None:
        """Write one result in place of any earlier one.

        Raises
        ------
        TakenError
            If this result cannot have its place.
        OSError
            If the file system refuses that place.
        OutputError
            If nothing can be written.
        """

    @abstractmethod
    def drop(self, key: str) -> None:
        """Remove the result for `key`, if there is one of ours."""

    def forget(self, key: str) -> bool:
        """Remove the result for `key` and folders that are empty without it; tell whether it is."""
        self.drop(key)
        return True

    @abstractmethod
    def target(self, key: str) -> Path:
        """Return the file that holds the result for `key` in the end."""

    @abstractmethod
    def clear(self, keys: Iterable[str]) -> None:
        """Remove all results: those for `keys`."""

    def close(self, finished: bool) -> None:
        """Put the results into their final form, unless the run was broken off."""
        remove_own(self.scratch, _SCRATCH)
