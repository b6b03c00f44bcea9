"""`write_map`: one self-contained page with a collection's points, names and links."""

import html
from pathlib import Path
from typing import Any

import numpy as np

from musicssl import arguments
from musicssl.atomic import atomic_write_text
from musicssl.folder.paths import writing
from musicssl.library import EmbeddingTable
from musicssl.maps.coloring import colorings, read_columns
from musicssl.maps.html import filled, json_in_html, links, only_over_own, unicode_text
from musicssl.maps.projection import project
from musicssl.search.neighbors import Exact
from musicssl.search.standardize import Standardizer

NEIGHBORS = 8
_MARK = b'<meta name="generator" content="musicssl map">'  # in page.html
_MOST_WITH_NEIGHBORS = 50_000  # songs; comparing all with all takes minutes there


@arguments.strict
def write_map(
    table: EmbeddingTable,
    path: str | Path,
    *,
    method: str = "pca",
    color: str | None = None,
    metadata: str | Path | None = None,
    title: str = "Map of music",
) -> Path:
    """Write a page that shows a collection: points to hover over, search and listen to.

    Parameters
    ----------
    table
        What `musicssl.load_embeddings` returned.
    path
        The page's file; an older map there is replaced, anything else is left alone. The page links
        to the music relative to its folder.
    method
        "pca"; "umap" or "tsne" where umap-learn or scikit-learn is installed.
    color
        The column to color by at first: "folder", "duration", or one of `metadata`.
    metadata
        A CSV with a column "source", "path", "file" or "name" of files, and any others.
    title
        Of the page.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ConfigError
        If there is no such method or column, or the CSV does not fit.
    DependencyError
        If a package is missing.
    OutputError
        If the page cannot be written, or something else is in its place.
    """
    path = arguments.path(path, "path")
    only_over_own(path, _MARK, "map")
    text = map_page(table, path, method=method, color=color, metadata=metadata, title=title)
    with writing(path):
        atomic_write_text(path, text)
    return path


def map_page(
    table: EmbeddingTable,
    path: Path,
    *,
    method: str,
    color: str | None,
    metadata: str | Path | None,
    title: str,
) -> str:
    """Return the page that `write_map` writes to a path."""
    columns = {}
    if metadata is not None:
        columns = read_columns(arguments.path(metadata, "metadata"), table)
    units = Standardizer.fit(table.values).units(table.values)[0]
    plane = project(units, method)
    data = {
        "names": table.sources,
        "links": links(table, path),
        "x": plane[:, 0].round(4).tolist(),
        "y": plane[:, 1].round(4).tolist(),
        "neighbors": _neighbors(units),
        "colorings": colorings(table, columns, color),
    }
    about = (
        f"{len(table):,} songs by {method.upper()}. Points that are near are alike, as far as a "
        "plane can show it; the list of the most alike is of all dimensions."
    )
    return filled(
        "musicssl.maps",
        title=html.escape(unicode_text(title)),
        about=html.escape(about),
        data=json_in_html(data),
    )


def _neighbors(units: Any) -> list[list[tuple[int, float]]]:
    """Return each song's most similar ones, with scores; none of a very large collection."""
    n = len(units)
    if n > _MOST_WITH_NEIGHBORS:
        return []
    found = []
    for start in range(0, n, 1024):
        scores, rows = Exact(units).search(units[start : start + 1024], min(NEIGHBORS + 1, n))
        for i, (score, row) in enumerate(zip(scores, rows, strict=True), start):
            pairs = zip(row.tolist(), score.astype(np.float64).round(3).tolist(), strict=True)
            found.append([pair for pair in pairs if pair[0] != i][:NEIGHBORS])
    return found
