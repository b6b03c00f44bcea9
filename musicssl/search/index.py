"""`Index`: exact search for the nearest neighbors of music, by file, array, vector or name."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from musicssl import arguments
from musicssl.errors import ConfigError, OutputError, pick, shown
from musicssl.library import EmbeddingTable, load_embeddings
from musicssl.library.table import same_space
from musicssl.search.files import Stored, read_index, write_index
from musicssl.search.names import Names, as_texts
from musicssl.search.neighbors import SEARCHERS, Neighbor, Searcher, not_finite
from musicssl.search.query import Embedder, as_vectors, is_audio
from musicssl.search.standardize import Standardizer

if TYPE_CHECKING:
    from musicssl.model import MusicEncoder

Query = Any  # a path, a name, a binary file, an array or tensor, or a list of these


class Index:
    """Vectors with names, and a search for those nearest to music.

    Nearness is the cosine of the angle between vectors that are standardized over the collection:
    what all of it has in common does not count. It is exact.

    Parameters
    ----------
    values
        Shape (n, dim), finite numbers; n at least 1.
    names
        One per vector, no two the same; by default "0", "1", ...
    paths
        Of the files that the vectors are of; by default the names.
    space, settings
        What the vectors are: as in `EmbeddingTable`. Without them files and audio cannot be
        searched for, and vectors of any space can be added.
    model
        What embeds files and audio that are searched for, if the name that `settings` hold does
        not lead to it: a name, a folder, a repository or a loaded model.
    device
        As in `musicssl.load_model`.
    method
        "exact"; or "faiss" or "usearch", where these are installed, for more than a million
        vectors: a graph that finds nearly all neighbors, in a fraction of the time once it is
        made.

    Raises
    ------
    ConfigError
        If these do not fit each other.
    DependencyError
        If a package is missing.

    Examples
    --------
    >>> import musicssl, numpy as np
    >>> index = musicssl.Index(np.eye(3), ["x", "y", "z"])
    >>> index.search([0.0, 1.0, 0.1], k=2)[0].name
    'y'
    """

    @arguments.strict
    def __init__(
        self,
        values: Any,
        names: Sequence[str] | None = None,
        *,
        paths: Sequence[str] | None = None,
        space: str = "",
        settings: dict[str, Any] | None = None,
        model: "str | Path | MusicEncoder | None" = None,
        device: str = "auto",
        method: str = "exact",
    ) -> None:
        matrix = as_vectors(values, "values")
        names = list(map(str, range(len(matrix)))) if names is None else as_texts(names, "names")
        paths = list(names) if paths is None else as_texts(paths, "paths")
        if not len(names) == len(paths) == len(matrix):
            raise ConfigError(
                f"{len(matrix):,} vectors, {len(names):,} names and {len(paths):,} paths; "
                "expected as many of each."
            )
        standardizer = Standardizer.fit(matrix)
        units, lengths = standardizer.units(matrix)
        stored = Stored(units, lengths, standardizer, names, paths, space, dict(settings or {}))
        self._set_up(stored, model, device, method)

    def _set_up(
        self,
        stored: Stored,
        model: "str | Path | MusicEncoder | None",
        device: str,
        method: str,
        file: Path | None = None,
    ) -> None:
        pick(SEARCHERS, method, "method")
        self._stored, self.method, self._file = stored, method, file
        self._embedder = Embedder(stored.space, stored.settings, model, device)
        self._names = Names(stored.names, stored.paths)
        self._searcher: Searcher | None = None

    @classmethod
    @arguments.strict
    def from_folder(
        cls,
        folder: str | Path | Sequence[str | Path],
        *,
        model: "str | Path | MusicEncoder | None" = None,
        device: str = "auto",
        method: str = "exact",
    ) -> Self:
        """Index the embeddings in a folder, or in several: see `musicssl.load_embeddings`."""
        table = load_embeddings(folder)
        return cls.from_table(table, model=model, device=device, method=method)

    @classmethod
    def from_table(cls, table: EmbeddingTable, **choices: Any) -> Self:
        """Index what `musicssl.load_embeddings` returned; `choices` are those of `Index`."""
        return cls(
            table.values,
            table.sources,
            paths=table.paths,
            space=table.space,
            settings=table.settings,
            **choices,
        )

    @classmethod
    @arguments.strict
    def load(
        cls,
        folder: str | Path,
        *,
        model: "str | Path | MusicEncoder | None" = None,
        device: str = "auto",
        method: str = "exact",
    ) -> Self:
        """Open an index that `save` wrote; its vectors are read when a search needs them.

        Raises
        ------
        ConfigError
            If a choice does not exist.
        OutputError
            If it cannot be read.
        """
        folder = arguments.path(folder, "folder")
        index = cls.__new__(cls)
        index._set_up(read_index(folder), model, device, method, folder)
        return index

    def save(self, folder: str | Path) -> Path:
        """Write the index into a folder, in place of one that is there.

        Raises
        ------
        OutputError
            If the folder holds something else or cannot be written to.
        """
        folder = arguments.path(folder, "folder")
        if SEARCHERS[self.method].suffix is not None:
            self._search_method()
        write_index(folder, self._stored, self._searcher)
        return folder

    def __len__(self) -> int:
        return len(self._stored.names)

    def __repr__(self) -> str:
        return f"Index({len(self):,} vectors of {self.dim} values, space {self.space!r})"

    @property
    def dim(self) -> int:
        """Values per vector."""
        return int(self._stored.units.shape[1])

    @property
    def names(self) -> list[str]:
        """Names of the vectors, by row."""
        return list(self._stored.names)

    @property
    def paths(self) -> list[str]:
        """Files that the vectors are of, by row."""
        return list(self._stored.paths)

    @property
    def space(self) -> str:
        """Name of the embedding space, empty where that is not known."""
        return self._stored.space

    @arguments.strict
    def add(
        self,
        values: Any,
        names: Sequence[str] | None = None,
        *,
        paths: Sequence[str] | None = None,
    ) -> None:
        """Add vectors; all of the collection is standardized anew.

        Parameters
        ----------
        values
            An `EmbeddingTable`, a folder of embeddings, or an array of shape (n, dim).
        names, paths
            Of the vectors of an array; by default their rows.

        Raises
        ------
        ConfigError
            If the vectors have another size, or a name is there already.
        OutputError
            If they are of another space.
        """
        if isinstance(values, (str, os.PathLike)):
            values = load_embeddings(arguments.path(values, "values"))
        if isinstance(values, EmbeddingTable):
            if self.space:
                same_space(self.space, values.space, "the index", "what is added")
            names, paths, values = values.sources, values.paths, values.values
        old = self._stored
        new = as_vectors(values, "values", self.dim)
        if names is None:
            names = [str(len(self) + i) for i in range(len(new))]
        paths = names if paths is None else paths
        grown = Index(
            np.concatenate([old.standardizer.restore(old.units, old.lengths), new]),
            [*old.names, *as_texts(names, "names")],
            paths=[*old.paths, *as_texts(paths, "paths")],
            space=old.space,
            settings=old.settings,
        )
        self._set_up(grown._stored, self._embedder.model, self._embedder.device, self.method)

    @arguments.strict
    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        sr: float | None = None,
        include_self: bool = False,
    ) -> list[Neighbor]:
        """Return the nearest neighbors of music.

        Parameters
        ----------
        query
            A file; the name of a vector in the index; audio with its rate; or a vector of `dim`
            values. A file that is in the index is not embedded again, unless by its parts alone.
        k
            Neighbors, at least 1; fewer are returned where there are fewer.
        sr
            Sample rate of audio, in Hz; without it an array is a vector.
        include_self
            Return what is searched for too, where it or its parts are in the index itself.

        Returns
        -------
        list of Neighbor
            Best first, of equals in the order of the index.

        Raises
        ------
        AudioError
            If a file or audio cannot be embedded.
        ConfigError
            If there is no such file or name, or a vector does not fit.
        ModelError
            If what embeds files cannot be loaded, or is not what made the index.
        OutputError
            If the index is damaged.
        """
        return self.search_many([query], k, sr=sr, include_self=include_self)[0]

    @arguments.strict
    def search_many(
        self,
        queries: Iterable[Query],
        k: int = 10,
        *,
        sr: float | None = None,
        include_self: bool = False,
    ) -> list[list[Neighbor]]:
        """Return the nearest neighbors of each of several: see `search`.

        Parameters
        ----------
        queries
            A list of what `search` takes, or an array of shape (n, dim).
        k, sr, include_self
            As there.

        Raises
        ------
        AudioError
            As there.
        ConfigError
            As there.
        ModelError
            As there.
        OutputError
            As there.
        """
        k = arguments.integer(k, "k")
        arguments.flag(include_self, "include_self")
        if isinstance(queries, (str, bytes, os.PathLike)) or not isinstance(queries, Iterable):
            raise ConfigError(f"queries must be a list, got {shown(queries, kind=True)}.")
        asked = list(queries)
        known = [self._names.rows(one) for one in asked]
        units = np.zeros((len(asked), self.dim), np.float32)
        others = [i for i, rows in enumerate(known) if len(rows) != 1]  # parts are not the whole
        if others:
            units[others] = self._units([asked[i] for i in others], sr)
        for i, rows in enumerate(known):
            if len(rows) == 1:
                units[i] = self._stored.units[rows[0]]
                if not np.isfinite(units[i]).all():
                    raise OutputError(not_finite(rows[0]))
        return self._nearest(units, k, [[] if include_self else rows for rows in known])

    def _nearest(
        self, units: NDArray[np.float32], k: int, without: Sequence[list[int]]
    ) -> list[list[Neighbor]]:
        """Return the nearest of each unit vector, without some of the rows."""
        most = min(k + max(map(len, without), default=0), len(self))
        names, paths = self._stored.names, self._stored.paths
        out: list[list[Neighbor]] = []
        if not len(units):
            return out
        for scores, rows, own in zip(
            *self._search_method().search(units, most), without, strict=True
        ):
            pairs = [(s, r) for s, r in zip(scores, rows, strict=True) if r not in own][:k]
            out.append([Neighbor(names[r], min(float(s), 1.0), paths[r], int(r)) for s, r in pairs])
        return out

    def _search_method(self) -> Searcher:
        if self._searcher is None:
            kind = SEARCHERS[self.method]
            file = self._file / f"graph{kind.suffix}" if self._file and kind.suffix else None
            self._searcher = kind(self._stored.units, file)
        return self._searcher

    def _units(self, queries: list[Query], sr: float | None) -> NDArray[np.float32]:
        """Return standardized unit vectors of what is not in the index."""
        heard = [i for i, query in enumerate(queries) if sr is not None or is_audio(query)]
        vectors = np.empty((len(queries), self.dim), np.float32)
        if heard:
            vectors[heard] = self._embedder([queries[i] for i in heard], sr)
        for i in sorted(set(range(len(queries))) - set(heard)):
            if np.ndim(queries[i]) == 2:
                raise ConfigError(
                    "query is several vectors, which search_many takes; audio needs its rate, sr."
                )
            vectors[i] = as_vectors([queries[i]], "query", self.dim)[0]
        return self._stored.standardizer.units(vectors)[0]
