"""Formats of results by name, and the writer of HDF5."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from musicssl import __version__
from musicssl.folder.output import Output, Row
from musicssl.folder.parquet import Parquet
from musicssl.folder.paths import log
from musicssl.folder.per_file import Jsonl, Npy, Npz
from musicssl.folder.single_file import Store


class Hdf5(Store):
    """Datasets /embedding/SOURCE and, for frames, /times/SOURCE; `space` is an attribute of /."""

    suffix, package, extra = ".h5", "h5py", "hdf5"

    def read_keys(self, path: Path) -> Iterator[str]:
        with self.module.File(path) as file:
            yield from self._keys(file["embedding"])

    def read_space(self, path: Path) -> str | None:
        with self.module.File(path) as file:
            space = file.attrs.get("space")
            return None if space is None else str(space)

    def _keys(self, group: Any) -> Iterator[str]:
        """Yield the names of all datasets in order, however deep."""
        levels = [("", iter(sorted(group)))]
        while levels:
            above, names = levels[-1]
            if (name := next(names, None)) is None:
                levels.pop()
            elif isinstance(inner := group[above + name], self.module.Group):
                levels.append((f"{above}{name}/", iter(sorted(inner))))
            else:
                yield above + name

    def read(self, path: Path) -> Iterator[Row]:
        with self.module.File(path) as file:
            for key in self._keys(file["embedding"]):
                yield _dataset(file, key)

    def read_one(self, path: Path, key: str) -> Row | None:
        with self.module.File(path) as file:
            return _dataset(file, key) if key in file["embedding"] else None

    def save_all(self, first: Row, rest: Iterator[Row], path: Path) -> None:
        last = None
        with self.module.File(path, "w", libver="v110") as file:
            file.attrs["space"], file.attrs["musicssl"] = self.space, __version__
            for row in chain([first], rest):
                if last is not None and row.key.startswith(f"{last}/"):
                    log.warning("%s is left out of %s: %s is a result", row.key, self.path, last)
                    continue
                last = row.key
                file[f"embedding/{row.key}"] = row.values
                if row.times is not None:
                    file[f"times/{row.key}"] = row.times


def _dataset(file: Any, key: str) -> Row:
    times = file.get("times")
    return Row(key, file["embedding"][key][()], None if times is None else times[key][()])


FORMATS: dict[str, type[Output]] = {
    "npz": Npz,
    "npy": Npy,
    "jsonl": Jsonl,
    "parquet": Parquet,
    "h5": Hdf5,
}
