"""The nearest of many vectors: exactly, or by the graphs of FAISS and usearch."""

import logging
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import DependencyError, OutputError

log = logging.getLogger(__name__)

Found = tuple[NDArray[np.float32], NDArray[np.int64]]  # scores and rows, (queries, k), best first
_BLOCK_SCORES = 2**24  # held at a time: 64 MiB


class Neighbor(NamedTuple):
    """One of the vectors that a search has found."""

    name: str
    score: float  # cosine similarity of the standardized vectors, at most 1
    path: str  # of the file, where that is known; otherwise the name
    row: int  # in the index


class Searcher(ABC):
    """Finds those of some unit vectors that have the largest inner products with others."""

    suffix: ClassVar[str | None] = None  # of the file that it is kept in

    def __init__(self, units: NDArray[np.float32], file: Path | None = None) -> None:
        self.units = units

    @abstractmethod
    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        """Return the `k` best of each query, shape (queries, dim), of which there are as many."""

    def save(self, file: Path) -> None:  # noqa: B027
        """Write what took time to make."""


class Exact(Searcher):
    """All inner products, in blocks of rows; the vectors may be memory-mapped."""

    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        best: Found | None = None
        rows = max(k, _BLOCK_SCORES // max(len(queries), 1))
        for start in range(0, len(self.units), rows):
            scores = queries @ self.units[start : start + rows].T
            found = _best(scores, np.arange(start, start + scores.shape[1]), k)
            if best is not None:
                both = np.concatenate([best[1], found[1]], axis=1)
                found = _best(np.concatenate([best[0], found[0]], axis=1), both, k)
            best = found
        assert best is not None  # there is at least one vector
        return best


def _best(scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> Found:
    """Return the `k` largest scores of each line and their rows; of equals, the first rows.

    Raises
    ------
    OutputError
        If a score is not finite, as where a file is damaged.
    """
    rows = np.broadcast_to(rows, scores.shape)
    if not np.isfinite(scores).all():
        raise OutputError(not_finite(int(rows[~np.isfinite(scores)][0])))
    out_scores, out_rows = [], []
    for line, numbers in zip(scores, rows, strict=True):
        few = np.arange(len(line))
        if k < len(line):  # all that are as good as the k-th, so that equals are in their order
            few = np.flatnonzero(line >= np.partition(line, len(line) - k)[len(line) - k])
        order = few[np.lexsort((numbers[few], -line[few]))][:k]
        out_scores.append(line[order])
        out_rows.append(numbers[order])
    return np.stack(out_scores), np.stack(out_rows)


def not_finite(row: int) -> str:
    """Return what is wrong with a vector that cannot be compared."""
    return (
        f"the index is damaged: vector {row:,} holds NaN or infinity. Make it again from its "
        "embeddings."
    )


class _Graph(Searcher):
    """A graph of near neighbors [1]_: it finds nearly all of them without looking at each vector.

    References
    ----------
    .. [1] Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
       hierarchical navigable small world graphs", 2018.
    """

    package: ClassVar[str]
    extra: ClassVar[str]
    links, effort = 32, 200  # neighbors kept for each vector; candidates while it is made

    def __init__(self, units: NDArray[np.float32], file: Path | None = None) -> None:
        super().__init__(units)
        try:
            self.module: Any = import_module(self.package)
        except ImportError as error:
            raise DependencyError(
                f"this search needs {self.package}: pip install 'musicssl[{self.extra}]'."
            ) from error
        self.graph: Any = None
        if file is not None and file.is_file():
            self.graph = self.load(file)
        if self.graph is None:
            log.info("linking %d vectors to their neighbors, which takes a while", len(units))
            self.graph = self.make()

    @abstractmethod
    def make(self) -> Any:
        """Return the graph of all vectors."""

    @abstractmethod
    def load(self, file: Path) -> Any:
        """Return a graph that was saved, None if it is not of these vectors."""

    @abstractmethod
    def near(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return rows that are near each query, -1 for none."""

    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        scores, rows = [], []
        for query, near in zip(queries, self.near(queries, k), strict=True):
            found = near[near >= 0].astype(np.int64)
            if len(found) < k:  # a graph may be torn apart
                exact = Exact(self.units).search(query[None], k)
                scores.append(exact[0][0])
                rows.append(exact[1][0])
                continue
            best = _best((self.units[found] @ query)[None], found, k)
            scores.append(best[0][0])
            rows.append(best[1][0])
        return np.stack(scores), np.stack(rows)


class Faiss(_Graph):
    """A graph of FAISS."""

    suffix, package, extra = ".faiss", "faiss", "faiss"

    def make(self) -> Any:
        inner = self.module.METRIC_INNER_PRODUCT
        graph = self.module.IndexHNSWFlat(self.units.shape[1], self.links, inner)
        graph.hnsw.efConstruction = self.effort
        graph.add(np.ascontiguousarray(self.units))
        return graph

    def load(self, file: Path) -> Any:
        graph = self.module.read_index(str(file))
        return graph if (graph.ntotal, graph.d) == self.units.shape else None

    def save(self, file: Path) -> None:
        self.module.write_index(self.graph, str(file))

    def near(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        self.graph.hnsw.efSearch = max(self.effort, 2 * k)
        rows: NDArray[np.int64] = self.graph.search(np.ascontiguousarray(queries), k)[1]
        return rows


class Usearch(_Graph):
    """A graph of usearch."""

    suffix, package, extra = ".usearch", "usearch.index", "usearch"

    def make(self) -> Any:
        graph = self._empty()
        graph.add(np.arange(len(self.units)), self.units)
        return graph

    def load(self, file: Path) -> Any:
        graph = self._empty()
        graph.load(str(file))
        return graph if (len(graph), graph.ndim) == self.units.shape else None

    def save(self, file: Path) -> None:
        self.graph.save(str(file))

    def near(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        self.graph.expansion_search = max(self.effort, 2 * k)
        rows = np.full((len(queries), k), -1, np.int64)
        for row, query in zip(rows, queries, strict=True):
            keys = self.graph.search(query, k).keys
            row[: len(keys)] = keys
        return rows

    def _empty(self) -> Any:
        return self.module.Index(
            ndim=self.units.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=self.links,
            expansion_add=self.effort,
        )


SEARCHERS: dict[str, type[Searcher]] = {"exact": Exact, "faiss": Faiss, "usearch": Usearch}
