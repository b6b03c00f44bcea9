"""Pages out of names of any kind: texts, links and data in HTML."""

import json
import os
import stat
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from musicssl.errors import OutputError
from musicssl.folder.paths import lexists, looked_at, writing
from musicssl.library import EmbeddingTable
from musicssl.segments.segment import fragment
from musicssl.source_names import is_url

_HEAD = 1000  # bytes, in which a page says what made it


def unicode_text(text: str) -> str:
    """Return a text without halves of characters, which no file in UTF-8 can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def link(file: str, page: Path) -> str:
    """Return the address of a file as seen from the page, whatever its name is."""
    if is_url(file):  # of what no browser fetches, none
        return file if file.lower().startswith(("http://", "https://")) else ""
    try:
        way = os.path.relpath(file, page.parent)
    except ValueError:  # another drive of Windows
        return Path(file).absolute().as_uri()
    way = way.replace(os.sep, "/")
    # ":" too is escaped, so that no name is a scheme
    return quote(os.fsencode(way) if os.name == "posix" else way, safe="/")


def links(table: EmbeddingTable, page: Path) -> list[str]:
    """Return the addresses of a table's files as seen from the page; of parts, with their times."""
    return [
        link(file, page) + ("" if part is None else fragment(*part))
        for file, part in zip(table.paths, table.parts, strict=True)
    ]


def json_in_html(data: Any) -> str:
    r"""Return JSON that ends no element and starts none, whatever the names in it are.

    Examples
    --------
    >>> print(json_in_html("</script>"))
    "\u003c/script\u003e"
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # in ASCII
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def filled(package: str, **texts: str) -> str:
    """Return the page of a package with the texts in their places, in which nothing is replaced."""
    folder = files(package)
    texts["style"] = folder.joinpath("page.css").read_text(encoding="utf-8")
    texts["script"] = folder.joinpath("page.js").read_text(encoding="utf-8")
    pieces = folder.joinpath("page.html").read_text(encoding="utf-8").split("{{")
    out = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        out += [texts[name], rest]
    return "".join(out)


def only_over_own(path: Path, mark: bytes, kind: str) -> None:
    """Refuse to replace what is no earlier page.

    Parameters
    ----------
    path
        Of the page.
    mark
        What is near the beginning of one.
    kind
        What it is called.

    Raises
    ------
    OutputError
        If there is something else.
    """
    with writing(path):
        if not lexists(path):
            return
        state = looked_at(path)
        if state is not None and stat.S_ISDIR(state.st_mode):
            raise OutputError(f"{path} is a folder; expected the name of a page, such as map.html.")
        if state is not None and stat.S_ISREG(state.st_mode):
            with path.open("rb") as file:
                if mark in file.read(_HEAD):
                    return
    raise OutputError(
        f"{path} is there already and is no {kind}; remove it or choose another name."
    )
