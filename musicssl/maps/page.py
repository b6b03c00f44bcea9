"""`write_map`: one self-contained page with a collection's points, names and links."""

import html
import json
import os
import stat
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from musicssl import arguments
from musicssl.atomic import atomic_write_text
from musicssl.errors import OutputError
from musicssl.folder.paths import lexists, looked_at, writing
from musicssl.library import EmbeddingTable
from musicssl.maps.coloring import colorings, read_columns
from musicssl.maps.projection import project
from musicssl.search.neighbors import Exact
from musicssl.search.standardize import Standardizer

NEIGHBORS = 8
_MARK = b'<meta name="generator" content="musicssl map">'  # in page.html
_HEAD = 1000  # bytes, in which it is
_MOST_WITH_NEIGHBORS = 50_000  # songs; comparing all with all takes minutes there


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
    _only_over_a_map(path)
    columns = {}
    if metadata is not None:
        columns = read_columns(arguments.path(metadata, "metadata"), table)
    units = Standardizer.fit(table.values).units(table.values)[0]
    plane = project(units, method)
    data = {
        "names": table.sources,
        "links": [_link(file, path) for file in table.paths],
        "x": plane[:, 0].round(4).tolist(),
        "y": plane[:, 1].round(4).tolist(),
        "neighbors": _neighbors(units),
        "colorings": colorings(table, columns, color),
    }
    about = (
        f"{len(table):,} songs by {method.upper()}. Points that are near are alike, as far as a "
        "plane can show it; the list of the most alike is of all dimensions."
    )
    text = _filled(
        title=html.escape(_unicode(title)), about=html.escape(about), data=_json_in_html(data)
    )
    with writing(path):
        atomic_write_text(path, text)
    return path


def _only_over_a_map(path: Path) -> None:
    """Raise an OutputError if there is something that no earlier map is."""
    with writing(path):
        if not lexists(path):
            return
        state = looked_at(path)
        if state is not None and stat.S_ISDIR(state.st_mode):
            raise OutputError(f"{path} is a folder; expected the name of a page, such as map.html.")
        if state is not None and stat.S_ISREG(state.st_mode):
            with path.open("rb") as file:
                if _MARK in file.read(_HEAD):
                    return
    raise OutputError(f"{path} is there already and is no map; remove it or choose another name.")


def _unicode(text: str) -> str:
    """Return a text without halves of characters, which no file in UTF-8 can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


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


def _link(file: str, page: Path) -> str:
    """Return the address of a file as seen from the page, whatever its name is."""
    try:
        way = os.path.relpath(file, page.parent)
    except ValueError:  # another drive of Windows
        return Path(file).absolute().as_uri()
    way = way.replace(os.sep, "/")
    # ":" too is escaped, so that no name is a scheme
    return quote(os.fsencode(way) if os.name == "posix" else way, safe="/")


def _json_in_html(data: Any) -> str:
    r"""Return JSON that ends no element and starts none, whatever the names in it are.

    Examples
    --------
    >>> print(_json_in_html("</script>"))
    "\u003c/script\u003e"
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # in ASCII
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _filled(**texts: str) -> str:
    """Return the page with the texts in their places, in which nothing is replaced again."""
    folder = files(__package__)
    texts["style"] = folder.joinpath("page.css").read_text(encoding="utf-8")
    texts["script"] = folder.joinpath("page.js").read_text(encoding="utf-8")
    pieces = folder.joinpath("page.html").read_text(encoding="utf-8").split("{{")
    out = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        out += [texts[name], rest]
    return "".join(out)
