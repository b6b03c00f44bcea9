"""`EmbeddingTable`: clip embeddings with the files that they are of."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import DependencyError, OutputError
from musicssl.folder.metadata import Metadata
from musicssl.folder.metadata_match import Match, Part


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """One vector per file, and what is known of the files, row by row.

    Attributes
    ----------
    values
        Shape (files, dim), float32.
    sources
        The files' names among the results, such as "albums/one/song.flac"; no two are the same.
    paths
        Where the files were when they were embedded.
    columns
        What the manifest says of each file: "duration" in seconds, "sample_rate", "channels", ...
    space
        Name of the embedding space; vectors can be compared if and only if these are the same.
    settings
        What made the vectors: "model", "weights_sha256", "pooling", "layers", "resampler", "mono".
    """

    values: NDArray[np.float32]
    sources: list[str]
    paths: list[str]
    columns: dict[str, list[Any]] = field(default_factory=dict)
    space: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sources)

    def __repr__(self) -> str:
        files, dim = self.values.shape
        return f"EmbeddingTable({files:,} files, {dim} values each, space {self.space!r})"

    @property
    def parts(self) -> list[Part | None]:
        """Where each result's part of its file starts and ends; None for all of the file."""
        starts = self.columns.get("start", [None] * len(self))
        ends = self.columns.get("end", [None] * len(self))
        return [
            None if start is None else (start, end) for start, end in zip(starts, ends, strict=True)
        ]

    def take(self, rows: Sequence[int]) -> "EmbeddingTable":
        """Return some of the rows, in the order given."""
        columns = {name: [column[i] for i in rows] for name, column in self.columns.items()}
        return EmbeddingTable(
            self.values[list(rows)],
            [self.sources[i] for i in rows],
            [self.paths[i] for i in rows],
            columns,
            self.space,
            self.settings,
        )

    def to_pandas(self, *, embeddings: bool = False) -> Any:
        """Return the table as a `pandas.DataFrame`, a row per file.

        Parameters
        ----------
        embeddings
            Add the vectors, as columns "0", "1", ...; `values` has them as a matrix.

        Returns
        -------
        pandas.DataFrame
            Columns "source", "path" and those of `columns`.

        Raises
        ------
        DependencyError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise DependencyError("to_pandas needs pandas: pip install pandas.") from error
        table = pd.DataFrame({"source": self.sources, "path": self.paths} | self.columns)
        if not embeddings:
            return table
        names = [str(i) for i in range(self.values.shape[1])]
        return table.join(pd.DataFrame(self.values, columns=names))


def joined(tables: Sequence[EmbeddingTable]) -> EmbeddingTable:
    """Return several tables of one space as one.

    Raises
    ------
    OutputError
        If they are of different spaces, or two name a file alike.
    """
    first = tables[0]
    for table in tables[1:]:
        same_space(first.space, table.space, "one folder", "another")
    sources = [source for table in tables for source in table.sources]
    if len(set(sources)) < len(sources):
        twice = next(s for i, s in enumerate(sources) if s in sources[:i])
        raise OutputError(
            f"two of the folders have a result for {twice!r}. Embed both libraries in one run, so "
            "that names begin with the libraries' own."
        )
    names = dict.fromkeys(name for table in tables for name in table.columns)
    empty: dict[str, list[Any]] = {name: [] for name in names}
    for table in tables:
        for name in names:
            empty[name] += table.columns.get(name, [None] * len(table))
    paths = [path for table in tables for path in table.paths]
    values = np.concatenate([table.values for table in tables])
    return EmbeddingTable(values, sources, paths, empty, first.space, first.settings)


def with_metadata(table: EmbeddingTable, metadata: Metadata) -> EmbeddingTable:
    """Return a table with the user's own columns; what has no other half is counted in the log."""
    match = Match(metadata, table.paths)
    rows = [match.row(*file) for file in zip(table.sources, table.paths, table.parts, strict=True)]
    match.report()
    users = {name: [row.get(name) for row in rows] for name in metadata.names}
    return replace(table, columns=table.columns | users)


def same_space(one: str, other: str, first: str, second: str) -> None:
    """Refuse to mix embedding spaces.

    Raises
    ------
    OutputError
        If the two spaces are not the same.
    """
    if one != other:
        raise OutputError(
            f"{first} is of the space {one}, {second} of {other}. Vectors of different models or "
            "settings cannot be compared: embed both with the same ones."
        )
