"""Writers of one file for all results: parquet and HDF5."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from musicssl import __version__
from musicssl.folder.output import Output, Row
from musicssl.folder.paths import log
from musicssl.folder.per_file import Jsonl, Npy, Npz
from musicssl.folder.single_file import Store


class Parquet(Store):
    """Columns `source`, `embedding` and, for frames, `time`: one row per clip or per frame.

    The file's metadata hold `space`. One row per frame, not lists of lists, is what every reader of
    parquet can filter and stream.
    """

    suffix, package, extra = ".parquet", "pyarrow.parquet", "parquet"
    group_values = 2**22  # values a row group: 16 MiB

    def read_keys(self, path: Path) -> Iterator[str]:
        with self.module.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["source"]):
                yield from batch.column(0).unique().to_pylist()

    def read_space(self, path: Path) -> str | None:
        with self.module.ParquetFile(path) as file:
            space = (file.schema_arrow.metadata or {}).get(b"space")
            return None if space is None else str(space.decode())

    def read(self, path: Path) -> Iterator[Row]:
        with self.module.ParquetFile(path) as file:
            yield from _joined(file.iter_batches())

    def read_one(self, path: Path, key: str) -> Row | None:
        table = self.module.read_table(path, filters=[("source", "==", key)])
        return next(_joined(table.to_batches()), None)

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


def _joined(batches: Iterable[Any]) -> Iterator[Row]:
    """Yield one row per clip, or all frames of a source as one."""
    for key, found in groupby(chain.from_iterable(map(_pieces, batches)), key=lambda row: row.key):
        rows = list(found)
        times = [row.times for row in rows if row.times is not None]
        if times:
            yield Row(key, np.concatenate([row.values for row in rows]), np.concatenate(times))
        else:
            yield rows[0]


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
