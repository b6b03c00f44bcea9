"""The names of an index's vectors, and the files that they are of."""

import os
from collections.abc import Iterable
from typing import Any

from musicssl import arguments
from musicssl.errors import ConfigError, shown

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
        self._files: dict[str, int] | None = None

    def row(self, query: Any) -> int | None:
        """Return the row of what is in the index, None for other files and other kinds of query.

        Raises
        ------
        ConfigError
            If a string is neither a file nor a name.
        """
        if not isinstance(query, (str, os.PathLike)):
            return None
        path = arguments.path(query, "query")
        if path.exists():
            if self._files is None:
                self._files = {path: row for row, path in enumerate(self.paths)}
            return self._files.get(os.path.abspath(path))  # noqa: PTH100, links keep their names
        if (row := self._rows.get(str(query))) is not None:
            return row
        part = path.stem.casefold()
        like = [name for name in self.names if part in name.casefold()][:_SUGGESTED]
        hint = f" Did you mean {' or '.join(map(shown, like))}?" if like else ""
        raise ConfigError(
            f"{shown(os.fspath(query))} is neither a file nor a name in the index.{hint}"
        )


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
