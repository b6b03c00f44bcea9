"""Writers of one file a result: npz, npy, jsonl. Results appear whole or not at all."""

import contextlib
import itertools
import json
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl.folder.manifest import STATE


class Row(NamedTuple):
    """One result."""

    key: str
    values: NDArray[np.float32]  # (dim,) or (frames, dim)
    times: NDArray[np.float64] | None  # (frames,), seconds; None for a clip


class Output(ABC):
    """Puts the results of one run into a folder; any thread may write.

    A result appears whole or not at all. `announce` puts it on the manifest. There is never a
    result that no manifest lists, so that a folder can be cleared of them without guessing.

    Parameters
    ----------
    out
        The folder.
    space
        Its embedding space's name.
    tag
        Of the shard, or empty.
    """

    def __init__(self, out: Path, space: str, tag: str = "") -> None:
        self.out, self.space, self.tag = out, space, tag
        self.scratch = out / STATE / f"part{tag}"

    def open(self) -> None:
        """Start writing; what a killed run left half done goes."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.look()

    def look(self) -> None:  # noqa: B027
        """Find out what is there, for `has`; writes nothing."""

    @abstractmethod
    def has(self, key: str) -> bool:
        """Tell whether there is a result for `key`."""

    @abstractmethod
    def write(self, row: Row, announce: Callable[[], None]) -> None:
        """Write one result in place of any earlier one.

        Raises
        ------
        OSError
            If the file system refuses.
        """

    @abstractmethod
    def drop(self, key: str) -> None:
        """Remove the result for `key`, if there is one."""

    @abstractmethod
    def target(self, key: str) -> Path:
        """Return the file that holds the result for `key` in the end."""

    @abstractmethod
    def clear(self, keys: Iterable[str]) -> None:
        """Remove all results: those for `keys`."""

    def close(self, finished: bool) -> None:
        """Put the results into their final form, unless the run was broken off."""
        shutil.rmtree(self.scratch, ignore_errors=True)


class Files(Output):
    """One file a result, where the source's own folders and name say: a/b/song.flac.npz."""

    suffixes: ClassVar[tuple[str, ...]]  # the last one's presence says that the result is there

    @abstractmethod
    def save(self, row: Row, suffix: str, file: BinaryIO) -> None:
        """Write the file with `suffix`."""

    def has(self, key: str) -> bool:
        with contextlib.suppress(OSError):
            return self.target(key).stat().st_size > 0  # 0: the power failed
        return False

    def write(self, row: Row, announce: Callable[[], None]) -> None:
        level = self.suffixes if row.times is not None else self.suffixes[-1:]
        parts = {suffix: self.scratch / f"{threading.get_ident()}{suffix}" for suffix in level}
        for suffix, part in parts.items():
            with part.open("wb") as file:
                self.save(row, suffix, file)
        self.target(row.key).parent.mkdir(parents=True, exist_ok=True)
        self.drop(row.key)  # between here and the end, the result is announced but missing
        announce()
        for suffix, part in parts.items():
            part.replace(self.file(row.key, suffix))

    def drop(self, key: str) -> None:
        for suffix in reversed(self.suffixes):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self.file(key, suffix).unlink()

    def file(self, key: str, suffix: str) -> Path:
        """Return the path of one of a result's files."""
        return self.out / (key + suffix)

    def target(self, key: str) -> Path:
        return self.file(key, self.suffixes[-1])

    def clear(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.drop(key)
            with contextlib.suppress(OSError):  # not empty
                for folder in itertools.takewhile(self.out.__ne__, self.target(key).parents):
                    folder.rmdir()


class Npz(Files):
    """`embedding`, for frames also `times`, and `space` and `source` as strings."""

    suffixes = (".npz",)

    def save(self, row: Row, suffix: str, file: BinaryIO) -> None:
        arrays: dict[str, Any] = {"embedding": row.values}
        if row.times is not None:
            arrays["times"] = row.times
        np.savez(file, **arrays, space=self.space, source=row.key)


class Npy(Files):
    """The array; frames' times lie beside it."""

    suffixes = (".times.npy", ".npy")

    def save(self, row: Row, suffix: str, file: BinaryIO) -> None:
        array = row.values if suffix == ".npy" else row.times
        np.save(file, np.asarray(array))


class Jsonl(Files):
    """One line a clip, or one a frame with its `time`: `source`, `space`, `embedding`."""

    suffixes = (".jsonl",)

    def save(self, row: Row, suffix: str, file: BinaryIO) -> None:
        frames = row.values if row.times is not None else row.values[None]
        times: Iterable[float | None] = [None] if row.times is None else row.times.tolist()
        for time, frame in zip(times, frames, strict=True):
            entry: dict[str, Any] = {"source": row.key, "space": self.space}
            if time is not None:
                entry["time"] = time
            # by way of text: the fewest digits that give the same float32 again
            entry["embedding"] = frame.astype(str).astype(float).tolist()
            file.write(json.dumps(entry).encode() + b"\n")
