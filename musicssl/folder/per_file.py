"""Writers of one file a result: npz, npy, jsonl. Results appear whole or not at all."""

import json
import re
import threading
import zipfile
from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from musicssl.folder.output import Output, Row
from musicssl.folder.paths import (
    DISK,
    SHARD,
    TakenError,
    inside,
    lexists,
    log,
    make_folder,
    reason,
    remove,
    remove_empty,
    writing,
)


class Files(Output):
    """One file a result, where the source's own folders and name say: a/b/song.flac.npz."""

    suffixes: ClassVar[tuple[str, ...]]  # the last one's presence says that the result is there
    # Sources' names, before the suffix, that would meet other files'; they get an underscore.
    meets: ClassVar[re.Pattern[str] | None] = None

    @abstractmethod
    def save(self, row: Row, suffix: str, file: BinaryIO) -> None:
        """Write the file with `suffix`."""

    @abstractmethod
    def load(self, key: str) -> Row:
        """Read a result back; raises anything if it is damaged."""

    def carries(self, key: str, path: Path) -> bool:
        """Tell whether a file itself says that it is the result for `key` in this space."""
        return False

    def foreign(self, path: Path) -> bool:
        """Tell whether a file can be no result, whatever the manifest says."""
        return False

    def has(self, key: str) -> bool:
        try:
            return self.target(key).stat().st_size > 0  # 0: the power failed
        except (OSError, TakenError):
            return False

    def read_row(self, key: str) -> Row | None:
        try:
            return self.load(key)
        except Exception as error:  # whatever damage does to numpy and json
            log.debug("%s cannot be read back", key, exc_info=error)
            return None

    def write(self, row: Row, announce: Callable[[], None]) -> None:
        level = self.suffixes if row.times is not None else self.suffixes[-1:]
        paths = {suffix: self.file(row.key, suffix) for suffix in level}
        for path in paths.values():
            if lexists(path) and not self.replace_foreign and not self._ours(row.key, path):
                raise TakenError(
                    f"{path} is there already, and no manifest here lists it as a result, so it "
                    "is left alone. Move it away, choose another folder, or allow replace_foreign "
                    "(--replace-foreign)."
                )
        parts = {suffix: self.scratch / f"{threading.get_ident()}{suffix}" for suffix in level}
        with writing(self.scratch):
            for suffix, part in parts.items():
                with part.open("wb") as file:
                    self.save(row, suffix, file)
        make_folder(self.target(row.key).parent)
        self.drop(row.key)  # between here and the end, the result is announced but missing
        announce()
        for suffix, part in parts.items():
            part.replace(paths[suffix])

    def _ours(self, key: str, path: Path) -> bool:
        """Tell whether a file is known to be the result for `key`."""
        return (self.listed(key) and not self.foreign(path)) or self.carries(key, path)

    def drop(self, key: str) -> None:
        clips = self.level == "clip"
        for suffix in self.suffixes[-1:] if clips else reversed(self.suffixes):
            path = self.file(key, suffix)
            if not lexists(path) or self._ours(key, path):
                remove(path)

    def file(self, key: str, suffix: str) -> Path:
        """Return the path of one of a result's files.

        Raises
        ------
        TakenError
            If it would not be inside the folder.
        """
        met = self.meets is not None and self.meets.search(key)
        return inside(self.out, f"{key}_{suffix}" if met else key + suffix)

    def target(self, key: str) -> Path:
        return self.file(key, self.suffixes[-1])

    def forget(self, key: str) -> bool:
        try:
            self.drop(key)
            remove_empty(self.target(key).parent, self.out)
        except TakenError as error:  # nothing of ours can have such a name
            log.warning("%s", error)
        except OSError as error:
            if error.errno in DISK:
                raise
            log.warning("the result for %s is not removed: %s", key, reason(error))
            return False
        return True

    def clear(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.forget(key)


class Npz(Files):
    """`embedding`, for frames also `times`, and `space` and `source` as strings."""

    suffixes = (".npz",)

    def save(self, row: Row, suffix: str, file: BinaryIO) -> None:
        arrays: dict[str, Any] = {"embedding": row.values}
        if row.times is not None:
            arrays["times"] = row.times
        np.savez(file, **arrays, space=self.space, source=row.key)

    def load(self, key: str) -> Row:
        return read_npz(self.target(key))[0]

    def carries(self, key: str, path: Path) -> bool:
        try:
            with np.load(path) as data:
                return str(data["space"]) == self.space and str(data["source"]) == key
        except Exception:  # anything can be wrong with what is not ours
            return False

    def foreign(self, path: Path) -> bool:
        try:
            with zipfile.ZipFile(path) as file:
                return not {"embedding.npy", "space.npy", "source.npy"} <= set(file.namelist())
        except Exception:  # damaged, so the manifest decides
            return False


class Npy(Files):
    """The array; frames' times lie beside it."""

    suffixes = (".times.npy", ".npy")
    meets = re.compile(r"\.times_*$", re.IGNORECASE)  # song.times.npy holds the times of song

    def save(self, row: Row, suffix: str, file: BinaryIO) -> None:
        array = row.values if suffix == ".npy" else row.times
        np.lib.format.write_array(_Written(file), np.asarray(array))

    def load(self, key: str) -> Row:
        values = np.load(self.target(key))
        times = np.load(self.file(key, ".times.npy")) if values.ndim == 2 else None
        return Row(key, values, times)


class _Written:
    """A file for numpy to write to piece by piece.

    Given a real file, it lets C write and then says "12800 requested and 5088 written" where the
    disk is full.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


class Jsonl(Files):
    """One line a clip, or one a frame with its `time`: `source`, `space`, `embedding`."""

    suffixes = (".jsonl",)
    meets = re.compile(rf"^manifest({SHARD})?_*$", re.IGNORECASE)

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

    def load(self, key: str) -> Row:
        with self.target(key).open("rb") as file:
            lines = [json.loads(line) for line in file]
        values = np.array([line["embedding"] for line in lines], np.float32)
        if "time" not in lines[0]:
            return Row(key, values[0], None)
        return Row(key, values, np.array([line["time"] for line in lines]))

    def carries(self, key: str, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                line = json.loads(file.readline())
            return bool(line["source"] == key and line["space"] == self.space)
        except Exception:  # anything can be wrong with what is not ours
            return False


def read_npz(path: Path) -> tuple[Row, str]:
    """Return the row and the space in one of `Npz`'s files; raises anything if it is damaged."""
    with np.load(path) as data:
        row = Row(str(data["source"]), data["embedding"], data.get("times"))
        return row, str(data["space"])
