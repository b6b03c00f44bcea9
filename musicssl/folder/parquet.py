"""Writer of parquet."""

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from musicssl import __version__
from musicssl.folder.columns import OWN, Columns
from musicssl.folder.output import Row
from musicssl.folder.single_file import Store


class Parquet(Store):
    """A table: one row per clip, or per frame or window.

    Columns: `source`; of the manifest `path`, `duration` and `sample_rate`, of parts of files also
    `start` and `end`; `time` where there are many vectors per file; the user's own; `embedding`.
    The file's metadata hold `space`. One row per frame, not lists of lists, is what every reader of
    parquet can filter and stream.
    """

    suffix, package, extra = ".parquet", "pyarrow.parquet", "parquet"
    group_values = 2**22  # values a row group: 16 MiB

    def read_keys(self, path: Path) -> Iterator[str]:
        with self.module.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS, columns=["source"]):
                yield from batch.column(0).unique().to_pylist()

    def read_space(self, path: Path) -> str | None:
        with self.module.ParquetFile(path) as file:
            space = (file.schema_arrow.metadata or {}).get(b"space")
            return None if space is None else str(space.decode())

    def read(self, path: Path) -> Iterator[Row]:
        users = list(self._users_fields([path]))
        with self.module.ParquetFile(path) as file:
            wanted = [name for name in file.schema_arrow.names if name in (*_NEEDED, *users)]
            yield from _joined(file.iter_batches(_ROWS, columns=wanted), users)

    def read_one(self, path: Path, key: str) -> Row | None:
        with self.module.ParquetFile(path) as file:
            wanted = [name for name in file.schema_arrow.names if name in _NEEDED]
        table = self.module.read_table(path, columns=wanted, filters=[("source", "==", key)])
        return next(_joined(table.to_batches(), ()), None)

    def save_all(self, first: Row, rest: Iterator[Row], path: Path) -> None:
        columns = self.columns() if self.columns else Columns((), None)
        schema = self._schema(first, columns)
        waiting: list[Row] = []
        size = 0
        with self.module.ParquetWriter(path, schema) as writer:
            for row in chain([first], rest):
                waiting.append(row)
                size += row.values.size
                if size >= self.group_values:
                    writer.write_table(_table(waiting, schema, columns))
                    waiting, size = [], 0
            if waiting:
                writer.write_table(_table(waiting, schema, columns))
        if columns.match:
            columns.match.report()

    def _schema(self, first: Row, columns: Columns) -> Any:
        pa = import_module("pyarrow")
        fields = {"source": pa.string(), "path": pa.string()}
        fields |= {"duration": pa.float64(), "sample_rate": pa.int64()}
        fields |= dict.fromkeys(("start", "end"), pa.float64()) if columns.has_parts else {}
        fields |= {} if first.times is None else {"time": pa.float64()}
        types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
        kinds = columns.kinds
        if columns.match is None:
            fields |= self._users_fields(self._files())
        else:
            kinds = columns.match.kinds | kinds
        fields |= {name: types[kind] for name, kind in kinds.items()}
        fields["embedding"] = pa.list_(pa.float32(), first.values.shape[-1])
        return pa.schema(fields, metadata={"space": self.space, "musicssl": __version__})

    def _users_fields(self, paths: Iterable[Path]) -> dict[str, Any]:
        """Return the user's own columns in files, and their types."""
        found: dict[str, Any] = {}
        for path in paths:
            with self.module.ParquetFile(path) as file:
                for field in file.schema_arrow:
                    if field.name not in OWN:
                        found.setdefault(field.name, field.type)
        return found


_ROWS = 4096  # read at once
_NEEDED = ("source", "time", "embedding")


def _table(rows: list[Row], schema: Any, columns: Columns) -> Any:
    """Return rows as a table: what is one of a file stands beside each of its vectors."""
    pa = import_module("pyarrow")
    dim = schema.field("embedding").type.list_size
    data: dict[str, list[Any] | Any] = {name: [] for name in schema.names}
    for row in rows:
        about = columns.of(row.key)
        users = columns.users(row.key, about, row.users)
        for name in schema.names:
            if name not in ("time", "embedding"):
                value = (about if name in OWN else users).get(name)
                data[name] += [value] * (row.values.size // dim)
    values = np.concatenate([row.values.reshape(-1, dim) for row in rows])
    data["embedding"] = pa.FixedSizeListArray.from_arrays(values.ravel(), dim)
    if "time" in schema.names:
        data["time"] = np.concatenate([row.times for row in rows if row.times is not None])
    return pa.table(data, schema=schema)


def _joined(batches: Iterable[Any], users: Sequence[str]) -> Iterator[Row]:
    """Yield one row per clip, or all frames of a source as one."""
    pieces = chain.from_iterable(_pieces(batch, users) for batch in batches)
    for key, found in groupby(pieces, key=lambda row: row.key):
        rows = list(found)
        times = [row.times for row in rows if row.times is not None]
        if times:
            values = np.concatenate([row.values for row in rows])
            yield Row(key, values, np.concatenate(times), rows[0].users)
        else:
            yield rows[0]


def _pieces(batch: Any, users: Sequence[str]) -> Iterator[Row]:
    """Yield a row for each clip of a record batch, or for each run of frames of one source."""
    keys = np.asarray(batch.column("source").to_pylist(), dtype=object)
    values = batch.column("embedding").flatten().to_numpy().reshape(len(keys), -1)
    clips = "time" not in batch.schema.names
    inner = range(1, len(keys)) if clips else (np.flatnonzero(keys[1:] != keys[:-1]) + 1).tolist()
    times = None if clips else batch.column("time").to_numpy()
    for start, stop in pairwise([0, *inner, len(keys)]):
        own = {name: batch.column(name)[start].as_py() for name in users}
        if times is None:
            yield Row(keys[start], values[start], None, own)
        else:
            yield Row(keys[start], values[start:stop], times[start:stop], own)
