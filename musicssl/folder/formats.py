"""Formats of results by name, and the writer of HDF5."""

from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from musicssl import __version__
from musicssl.folder.output import Output, Row
from musicssl.folder.parquet import Parquet
from musicssl.folder.per_file import Jsonl, Npy, Npz
from musicssl.folder.single_file import Store


class Hdf5(Store):
    """Datasets /embedding/SOURCE and, for frames, /times/SOURCE; `space` is an attribute of /.

    A dataset cannot lie beside a group of its name: the one for `a`, where there also is `a/b`, is
    `a/_`, and what is called `_` itself is `__`, and so on, so that no two ever meet.
    """

    suffix, package, extra = ".h5", "h5py", "hdf5"

    def read_keys(self, path: Path) -> Iterator[str]:
        with self.module.File(path) as file:
            yield from (key for key, _ in self._names(file))

    def read_space(self, path: Path) -> str | None:
        with self.module.File(path) as file:
            space = file.attrs.get("space")
            return None if space is None else str(space)

    def _names(self, file: Any) -> Iterator[tuple[str, str]]:
        """Yield the sources of all datasets in order, however deep, and the datasets' names."""
        escaped, top = _is_escaped(file), file["embedding"]
        levels = [("", "", _entries(top, escaped))]
        while levels:
            source, name, entries = levels[-1]
            if (entry := next(entries, None)) is None:
                levels.pop()
                continue
            part, own = entry
            if isinstance(inner := top[name + own], self.module.Group):
                levels.append((f"{source}{part}/", f"{name}{own}/", _entries(inner, escaped)))
            else:
                yield f"{source}{part}" if part else source.removesuffix("/"), name + own

    def read(self, path: Path) -> Iterator[Row]:
        with self.module.File(path) as file:
            for key, name in self._names(file):
                yield _dataset(file, key, name)

    def read_one(self, path: Path, key: str) -> Row | None:
        with self.module.File(path) as file:
            name = _dataset_name(key) if _is_escaped(file) else key
            if name in file["embedding"] and isinstance(file["embedding"][name], self.module.Group):
                name += f"/{_OWN}"
            return _dataset(file, key, name) if name in file["embedding"] else None

    def save_all(self, first: Row, rest: Iterator[Row], path: Path) -> None:
        with self.module.File(path, "w", libver="v110") as file:
            file.attrs["space"], file.attrs["musicssl"] = self.space, __version__
            file.attrs["layout"] = _LAYOUT
            for row, following in pairwise(chain([first], rest, [None])):
                assert row is not None
                name = _dataset_name(row.key)
                if following is not None and following.key.startswith(f"{row.key}/"):
                    name += f"/{_OWN}"  # rows come as trees are walked
                file[f"embedding/{name}"] = row.values
                if row.times is not None:
                    file[f"times/{name}"] = row.times


_OWN = "_"  # dataset, in a group, of the result that has the group's name
_LAYOUT = 2  # without it: names are as they are, as earlier versions wrote them


def _is_escaped(file: Any) -> bool:
    return bool(file.attrs.get("layout", 1) == _LAYOUT)


def _dataset_name(key: str) -> str:
    """Return a source's name with one underscore more in each part that has nothing else."""
    return "/".join(part if part.strip(_OWN) else part + _OWN for part in key.split("/"))


def _entries(group: Any, escaped: bool) -> Iterator[tuple[str, str]]:
    """Yield the parts of sources' names in a group in order, and what stands for them there."""

    def part(name: str) -> str:
        return name if name.strip(_OWN) or not escaped else name[:-1]

    return ((part(name), name) for name in sorted(group, key=part))


def _dataset(file: Any, key: str, name: str) -> Row:
    times = file.get("times")
    return Row(key, file["embedding"][name][()], None if times is None else times[name][()])


FORMATS: dict[str, type[Output]] = {
    "npz": Npz,
    "npy": Npy,
    "jsonl": Jsonl,
    "parquet": Parquet,
    "h5": Hdf5,
}
