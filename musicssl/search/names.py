"""The names of an index's vectors, and the files that they are of."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from musicssl import arguments
from musicssl.errors import ConfigError, shown
from musicssl.folder.paths import NO_SUCH

_SUGGESTED = 3


class Names:
    """Finds rows by name or by file.

    Raises
    ------
    ConfigError
        If two have the same name.
    """

    def __init__(self, names: list[str], paths: list[str]) -> None:
        self.names, self.paths = names, paths
        self._rows = {name: row for row, name in enumerate(names)}
        if len(self._rows) < len(names):
            twice = next(name for i, name in enumerate(names) if self._rows[name] != i)
            raise ConfigError(f"the name {shown(twice)} is given twice; expected different ones.")
        self._files: dict[str, list[int]] | None = None

    def rows(self, query: Any) -> list[int]:
        """Return the rows of what is in the index, none for other files and other kinds of query.

        A file has several if the vectors are of its parts.

        Raises
        ------
        ConfigError
            If a string is neither a file nor a name.
        """
        if not isinstance(query, (str, os.PathLike)):
            return []
        path = arguments.path(query, "query")
        if _may_be_there(path):
            if self._files is None:
                self._files = {}
                for row, own in enumerate(self.paths):
                    self._files.setdefault(_absolute(own), []).append(row)
            return self._files.get(_absolute(path), [])
        if (found := self._rows.get(os.fspath(query))) is not None:
            return [found]
        if (found := self._composed().get(_normal(os.fspath(query)))) is not None:
            return [found]
        part = path.stem.casefold()
        like = [name for name in self.names if part in name.casefold()][:_SUGGESTED]
        hint = f" Did you mean {' or '.join(map(shown, like))}?" if like else ""
        raise ConfigError(
            f"{shown(os.fspath(query))} is neither a file nor a name in the index.{hint}"
        )

    def _composed(self) -> dict[str, int]:
        """Return the rows of names by their composed form: macOS writes decomposed ones."""
        return {
            _normal(name): row
            for row, name in reversed(list(enumerate(self.names)))
            if not name.isascii()
        }


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _absolute(path: str | Path) -> str:
    """Return a path from the root on; links keep their names."""
    return os.path.abspath(path)  # noqa: PTH100


def _may_be_there(path: Path) -> bool:
    """Tell whether there is such a file, perhaps one that cannot be looked at."""
    try:
        path.stat()
    except OSError as error:
        return error.errno not in NO_SUCH
    return True


def as_texts(values: Iterable[Any], what: str) -> list[str]:
    """Return a list of strings, of paths as they are written.

    Raises
    ------
    ConfigError
        If it holds others.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ConfigError(f"{what} must be a list of strings, got {shown(values, kind=True)}.")
    texts = [os.fspath(value) if isinstance(value, os.PathLike) else value for value in values]
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ConfigError(f"{what}[{i}] must be a string, got {shown(text, kind=True)}.")
    return texts
