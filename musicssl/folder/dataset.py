"""Data sets: a folder or a place in a store with parquet files that only become more."""

import json
import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl import __version__
from musicssl.errors import DependencyError, OutputError
from musicssl.folder.keys import unicode_key
from musicssl.folder.output import Row
from musicssl.folder.paths import reason
from musicssl.folder.places import PARTS, Place
from musicssl.folder.records import Record, digest

FORMAT = "dataset"  # in space.json
PART_FILES = 1_000  # results in a part, at most
PART_SECONDS = 60.0  # after which a part is written though it is small: what a kill costs
_PART_VALUES = 2**24  # 64 MiB
_READERS = 8  # parts read at a time: a store's delay is more than its rate

# What a part says of each file, in this order; `embedding` stands behind them.
_TYPES = {
    "source": "string",
    "path": "string",
    "status": "string",
    "error": "string",
    "duration": "float64",
    "duration_promised": "float64",
    "sample_rate": "int64",
    "channels": "int64",
    "frames": "int64",
    "truncated": "bool_",
    "damaged": "int64",
    "peak": "float64",
    "content": "string",
    "size": "int64",
    "mtime_ns": "int64",
    "etag": "string",
    "start": "float64",
    "end": "float64",
    "seconds": "float64",
    "members": "string",
    "columns": "string",
}
COLUMNS = tuple(_TYPES)
_JSON = ("members", "columns")


def _arrow(name: str = "pyarrow") -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise DependencyError(
            "data sets of parquet files need pyarrow: pip install 'musicssl[parquet]'."
        ) from error


class DatasetWriter:
    """Collects results and writes them as parts of limited size; any thread may add.

    Parameters
    ----------
    place
        Where to.
    space
        Name of the embedding space.
    about
        What all records of the run have in common, for the parts' metadata.
    dim
        Values of a vector.
    times
        Whether there are many vectors a file, each with its time.
    part_files
        Results in a part, at most.
    """

    def __init__(
        self,
        place: Place,
        *,
        space: str,
        about: Record,
        dim: int,
        times: bool = False,
        part_files: int = PART_FILES,
    ) -> None:
        self.place, self.dim, self.part_files = place, dim, part_files
        pa = _arrow()
        fields = {name: getattr(pa, kind)() for name, kind in _TYPES.items()}
        fields |= {"time": pa.float64()} if times else {}
        fields["embedding"] = pa.list_(pa.float32(), dim)
        metadata = {"space": space, "musicssl": __version__, "run": json.dumps(about)}
        self._schema = pa.schema(fields, metadata=metadata)
        self._lock = threading.Lock()
        self._waiting: list[tuple[Record, Row | None]] = []
        self._values = 0
        self._since = math.inf

    def add(self, record: Record, row: Row | None = None) -> None:
        """Take a result, or a record of what has none.

        Raises
        ------
        OutputError
            If a part was full and could not be written.
        """
        with self._lock:
            self._waiting.append((record, row))
            self._values += 0 if row is None else row.values.size
            self._since = min(self._since, time.monotonic())
            full = len(self._waiting) >= self.part_files or self._values >= _PART_VALUES
            if full or time.monotonic() - self._since >= PART_SECONDS:
                self._write()

    def flush(self) -> None:
        """Write what waits.

        Raises
        ------
        OutputError
            If that is not possible.
        """
        with self._lock:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        # Names in the order of time: of a file's results the last one counts.
        name = f"{PARTS}/part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        buffer = BytesIO()
        _arrow("pyarrow.parquet").write_table(self._table(), buffer)
        self.place.write(name, buffer.getvalue())
        self._waiting, self._values, self._since = [], 0, math.inf

    def _table(self) -> Any:
        pa = _arrow()
        counts = [1 if row is None else row.values.size // self.dim for _, row in self._waiting]
        data: dict[str, Any] = {}
        for name in COLUMNS:
            values = [_cell(record, name) for record, _ in self._waiting]
            data[name] = [v for v, n in zip(values, counts, strict=True) for _ in range(n)]
        if "time" in self._schema.names:
            data["time"] = [
                t
                for _, row in self._waiting
                for t in ([None] if row is None or row.times is None else row.times.tolist())
            ]
        vectors: list[Any] = []
        for _, row in self._waiting:
            vectors += [None] if row is None else list(row.values.reshape(-1, self.dim))
        data["embedding"] = pa.array(vectors, self._schema.field("embedding").type)
        return pa.table(data, schema=self._schema)


def _cell(record: Record, name: str) -> Any:
    value = record.get(name)
    if name in _JSON and value is not None:
        return json.dumps(value)
    return unicode_key(value) if isinstance(value, str) else value


def _read(name: str, value: Any) -> Any:
    return json.loads(value) if name in _JSON else value


class DatasetLedger:
    """Results that a data set has, by the digest of their sources' names; a few numbers a file."""

    def __init__(self, place: Place) -> None:
        self._known: dict[int, int] = {}
        self._archives: dict[str, Record] = {}
        wanted = ["source", "status", "size", "mtime_ns", "etag", "start", "end", "members", "path"]
        for table in read_parts(place, wanted):
            for record in table.to_pylist():
                key = digest(record["source"])
                if record["status"] == "ok":
                    self._known[key] = _state(record)
                elif record["status"] == "read":
                    members = json.loads(record["members"] or "{}")
                    self._archives[record["source"]] = record | {"members": members}
                else:
                    self._known.pop(key, None)

    def __len__(self) -> int:
        return len(self._known)

    def has(self, record: Record) -> bool:
        """Tell whether a file has a result, and is what it was."""
        return self._known.get(digest(unicode_key(record["source"]))) == _state(record)

    def digests(self) -> NDArray[np.uint64]:
        """Return the `result_digest` of all results, sorted."""
        found = (_both(key, state) for key, state in self._known.items())
        return np.sort(np.fromiter(found, np.uint64, len(self._known)))

    def archive(self, key: str) -> Record | None:
        """Return what is known of a tar that was read to its end."""
        return self._archives.get(unicode_key(key))


def _state(record: Record) -> int:
    """Return 64 bits that change when a file does, wherever it is seen from."""
    etag = record.get("etag")
    part = [record.get("start"), record.get("end")]
    changed = record.get("mtime_ns") if etag is None else etag
    return digest(repr([record["size"], changed, *part]))


def _both(key: int, state: int) -> int:
    return digest(f"{key}:{state}")


def result_digest(record: Record) -> int:
    """Return 64 bits for a file of this name in this state."""
    return _both(digest(unicode_key(record["source"])), _state(record))


def read_parts(place: Place, columns: list[str] | None = None) -> Iterator[Any]:
    """Yield the parts as tables, the oldest first.

    Yields
    ------
    pyarrow.Table
        All of a part, or the columns that are asked for.

    Raises
    ------
    OutputError
        If one of them cannot be read.
    """
    parquet = _arrow("pyarrow.parquet")
    for name, data in _read_ahead(place):
        if data is None:  # removed meanwhile
            continue
        try:
            with parquet.ParquetFile(BytesIO(data)) as file:
                yield file.read(columns=columns)
        except Exception as error:  # whatever damage does to pyarrow
            raise OutputError(
                f"{place.name}/{name} is damaged ({reason(error)}); remove it and run again, which "
                "embeds its files anew."
            ) from error


def _read_ahead(place: Place) -> Iterator[tuple[str, bytes | None]]:
    """Yield the parts' contents in order, several of which are on their way."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="musicssl-parts") as pool:
        coming: deque[tuple[str, Future[bytes | None]]] = deque()
        try:
            for name in place.names():
                coming.append((name, pool.submit(place.read, name)))
                if len(coming) > 2 * _READERS:
                    first, data = coming.popleft()
                    yield first, data.result()
            while coming:
                first, data = coming.popleft()
                yield first, data.result()
        finally:
            for _, data in coming:
                data.cancel()


def read_dataset(place: Place) -> Iterator[tuple[Record, Row]]:
    """Yield each file's result that counts, with what is known of the file.

    Yields
    ------
    tuple of dict and Row
        In no order.

    Raises
    ------
    OutputError
        If a part cannot be read.
    """
    last: dict[int, tuple[int, bool]] = {}
    for i, table in enumerate(read_parts(place, ["source", "status"])):
        for record in table.to_pylist():
            if record["status"] != "read":
                last[digest(record["source"])] = (i, record["status"] == "ok")
    for i, table in enumerate(read_parts(place)):
        run = json.loads((table.schema.metadata or {}).get(b"run", b"{}"))
        vectors = table.column("embedding").combine_chunks()
        about = table.drop_columns(["embedding"]).to_pylist()
        for j, record in enumerate(about):
            if last.get(digest(record["source"])) == (i, True) and record["status"] == "ok":
                values = vectors[j].values.to_numpy(zero_copy_only=False)
                known = {k: _read(k, v) for k, v in record.items() if v is not None}
                yield run | known, Row(record["source"], values, None)
