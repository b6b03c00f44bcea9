"""Writers of one file for all results: parquet and HDF5."""

import heapq
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from musicssl import __version__
from musicssl.errors import DependencyError
from musicssl.folder.manifest import digest
from musicssl.folder.outputs import Jsonl, Npy, Npz, Output, Row


class Store(Output):
    """One file for all results, sorted by source, made of npz parts when the run is over.

    Neither parquet nor HDF5 can be added to safely: the one cannot grow, the other is damaged
    by a kill. So each result first is a file in parts/, and at the end those and what an earlier
    run has left are merged into a new file, which takes the old one's place in one step.
    """

    suffix: ClassVar[str]
    package: ClassVar[str]
    extra: ClassVar[str]

    def __init__(self, out: Path, space: str, tag: str = "") -> None:
        super().__init__(out, space, tag)
        try:
            self.module: Any = import_module(self.package)
        except ImportError as error:
            raise DependencyError(
                f"format {self.suffix[1:]!r} needs {self.package}: "
                f"pip install 'musicssl[{self.extra}]'."
            ) from error
        self.parts = Npz(out / f"parts{tag}", space)
        self.parts.scratch = self.scratch
        self.path = out / f"embeddings{tag}{self.suffix}"
        self.dropped: set[str] = set()
        self.known: set[int] = set()
        self.earlier: list[Npz] = []  # parts of broken-off runs

    @abstractmethod
    def read(self, path: Path) -> Iterator[Row]:
        """Yield a file's rows in their order."""

    @abstractmethod
    def read_keys(self, path: Path) -> Iterator[str]:
        """Yield a file's keys."""

    @abstractmethod
    def save_all(self, first: Row, rest: Iterator[Row], path: Path) -> None:
        """Write a file."""

    def look(self) -> None:
        self.earlier = self._all_parts()
        self.known = {digest(key) for path in self._files() for key in self.read_keys(path)}

    def has(self, key: str) -> bool:
        key = _unicode(key)
        return digest(key) in self.known or any(parts.has(key) for parts in self.earlier)

    def write(self, row: Row, announce: Callable[[], None]) -> None:
        self.parts.write(row._replace(key=_unicode(row.key)), lambda: None)
        announce()  # last: the file may hold an older result under this key

    def drop(self, key: str) -> None:
        key = _unicode(key)
        self.parts.drop(key)
        if digest(key) in self.known:
            self.dropped.add(key)

    def target(self, key: str) -> Path:
        return self.path

    def clear(self, keys: Iterable[str]) -> None:
        for parts in self._all_parts():
            shutil.rmtree(parts.out, ignore_errors=True)
        for path in self._files():
            path.unlink()

    def close(self, finished: bool) -> None:
        if finished:
            self._merge()
        super().close(finished)

    def _files(self) -> list[Path]:
        """Return the stores of this folder, this run's own first."""
        return self._tagged("embeddings", self.suffix, self.path)

    def _all_parts(self) -> list[Npz]:
        """Return the parts of this folder, this run's own first."""
        return [Npz(path, self.space) for path in self._tagged("parts", "", self.parts.out)]

    def _tagged(self, stem: str, suffix: str, own: Path) -> list[Path]:
        """Return what there is of `own` and its like of other shards or of none."""
        found = [self.out / (stem + suffix), *sorted(self.out.glob(f"{stem}-*-of-*{suffix}"))]
        return [p for p in (own, *(p for p in found if p != own)) if p.exists()]

    def _merge(self) -> None:
        """Merge parts and what is there; without shards at work, theirs too. Newest first."""
        parts, files = self._all_parts(), self._files()
        if self.tag:
            parts = [p for p in parts if p.out == self.parts.out]
            files = [path for path in files if path == self.path]
        if not parts and not self.dropped and files in ([], [self.path]):
            return
        streams = [_read_parts(p) for p in parts] + [self.read(path) for path in files]
        new = self.scratch / self.path.name
        rows = self._newest(streams)
        if first := next(rows, None):
            self.save_all(first, rows, new)
            new.replace(self.path)
            files = [path for path in files if path != self.path]
        for p in parts:
            shutil.rmtree(p.out)
        for path in files:
            path.unlink()

    def _newest(self, streams: list[Iterator[Row]]) -> Iterator[Row]:
        """Merge sorted streams; of rows with one key the first stream's counts."""
        merged = heapq.merge(*streams, key=lambda row: _order(row.key))  # stable
        for key, rows in groupby(merged, key=lambda row: row.key):
            if key not in self.dropped:
                yield next(rows)


class Parquet(Store):
    """Columns `source`, `embedding` and, for frames, `time`: a row a clip, or a row a frame.

    The file's metadata hold `space`. Rows a frame, not lists of lists, are what every reader of
    parquet can filter and stream.
    """

    suffix, package, extra = ".parquet", "pyarrow.parquet", "parquet"
    group_values = 2**22  # values a row group: 16 MiB

    def read_keys(self, path: Path) -> Iterator[str]:
        with self.module.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["source"]):
                yield from batch.column(0).unique().to_pylist()

    def read(self, path: Path) -> Iterator[Row]:
        with self.module.ParquetFile(path) as file:
            frames = "time" in file.schema_arrow.names
            pieces = chain.from_iterable(map(_pieces, file.iter_batches()))
            for key, found in groupby(pieces, key=lambda row: row.key):
                rows = list(found)
                if not frames:
                    yield rows[0]
                    continue
                times = np.concatenate([row.times for row in rows if row.times is not None])
                yield Row(key, np.concatenate([row.values for row in rows]), times)

    def save_all(self, first: Row, rest: Iterator[Row], path: Path) -> None:
        pa = import_module("pyarrow")
        dim = first.values.shape[-1]
        columns = {
            "source": pa.string(),
            "time": pa.float64(),
            "embedding": pa.list_(pa.float32(), dim),
        }
        if first.times is None:
            del columns["time"]
        metadata = {"space": self.space, "musicssl": __version__}
        schema = pa.schema(columns, metadata=metadata)

        def table(rows: list[Row]) -> Any:
            values = np.concatenate([row.values.reshape(-1, dim) for row in rows])
            names = [row.key for row in rows for _ in range(row.values.size // dim)]
            data = {
                "source": names,
                "embedding": pa.FixedSizeListArray.from_arrays(values.ravel(), dim),
            }
            if first.times is not None:
                data["time"] = np.concatenate([row.times for row in rows if row.times is not None])
            return pa.table(data, schema=schema)

        waiting: list[Row] = []
        size = 0
        with self.module.ParquetWriter(path, schema) as writer:
            for row in chain([first], rest):
                waiting.append(row)
                size += row.values.size
                if size >= self.group_values:
                    writer.write_table(table(waiting))
                    waiting, size = [], 0
            if waiting:
                writer.write_table(table(waiting))


def _pieces(batch: Any) -> Iterator[Row]:
    """Yield a row for each clip of a record batch, or for each run of frames of one source."""
    keys = np.asarray(batch.column("source").to_pylist(), dtype=object)
    values = batch.column("embedding").flatten().to_numpy().reshape(len(keys), -1)
    if "time" not in batch.schema.names:
        for key, value in zip(keys, values, strict=True):
            yield Row(key, value, None)
        return
    times = batch.column("time").to_numpy()
    edges = [0, *(np.flatnonzero(keys[1:] != keys[:-1]) + 1).tolist(), len(keys)]
    for start, stop in pairwise(edges):
        yield Row(keys[start], values[start:stop], times[start:stop])


class Hdf5(Store):
    """Datasets /embedding/SOURCE and, for frames, /times/SOURCE; `space` is an attribute of /."""

    suffix, package, extra = ".h5", "h5py", "hdf5"

    def read_keys(self, path: Path) -> Iterator[str]:
        with self.module.File(path) as file:
            yield from self._keys(file["embedding"])

    def _keys(self, group: Any, above: str = "") -> Iterator[str]:
        for name in sorted(group):
            if isinstance(group[name], self.module.Group):
                yield from self._keys(group[name], f"{above}{name}/")
            else:
                yield above + name

    def read(self, path: Path) -> Iterator[Row]:
        with self.module.File(path) as file:
            times = file.get("times")
            for key in self._keys(file["embedding"]):
                yield Row(
                    key, file["embedding"][key][()], None if times is None else times[key][()]
                )

    def save_all(self, first: Row, rest: Iterator[Row], path: Path) -> None:
        with self.module.File(path, "w", libver="v110") as file:
            file.attrs["space"], file.attrs["musicssl"] = self.space, __version__
            for row in chain([first], rest):
                file[f"embedding/{row.key}"] = row.values
                if row.times is not None:
                    file[f"times/{row.key}"] = row.times


FORMATS: dict[str, type[Output]] = {
    "npz": Npz,
    "npy": Npy,
    "jsonl": Jsonl,
    "parquet": Parquet,
    "h5": Hdf5,
}


def _unicode(key: str) -> str:
    """Escape what is no Unicode in a file's name: neither parquet nor HDF5 can hold it."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _order(key: str) -> tuple[bytes, ...]:
    """Sort as trees are walked: folder by folder."""
    return tuple(part.encode("utf-8", "surrogateescape") for part in key.split("/"))


def _read_parts(parts: Npz) -> Iterator[Row]:
    """Yield the rows in a folder of parts, sorted."""
    suffix = parts.suffixes[-1]
    found = parts.out.rglob(f"*{suffix}")
    keys = [p.relative_to(parts.out).as_posix().removesuffix(suffix) for p in found]
    for key in sorted(keys, key=_order):
        with np.load(parts.target(key)) as data:
            yield Row(key, data["embedding"], data.get("times"))
