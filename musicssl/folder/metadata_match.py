"""`Match`: the rows of the user's CSV that results have."""

import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unicodedata import normalize

from musicssl.errors import shown
from musicssl.folder.cells import typed
from musicssl.folder.metadata import Metadata
from musicssl.segments.segment import fragment

log = logging.getLogger(__name__)

Part = tuple[float, float | None]


class Match:
    """A search for the rows of results, which counts what has no other half.

    Parameters
    ----------
    metadata
        The rows.
    paths
        Of all results: what two files are called names neither.
    """

    def __init__(self, metadata: Metadata, paths: Iterable[str]) -> None:
        self.metadata = metadata
        self.kinds = metadata.kinds()
        self._bases = Counter(_name(path) for path in set(paths))
        self._used: set[str] = set()
        self._files = 0
        self._without: list[str] = []

    def find(self, source: str, path: str, part: Part | None = None) -> str | None:
        """Return the label of a result's row: of the part, or of the file; None if it has none."""
        labels, whole = self.metadata.labels, self.metadata.whole
        absolute = os.path.abspath(path)  # noqa: PTH100
        names = [source, path, whole.get(absolute) or whole.get(normalize("NFC", absolute), "")]
        if self._bases[last := _name(path)] == 1:
            names += [last, Path(last).stem]
        for times in ("",) if part is None else (fragment(*part), ""):
            for name in (f"{name}{times}" for name in names if name):
                for text in (name, normalize("NFC", name)):
                    if text in labels:
                        return labels[text]
        return None

    def row(self, source: str, path: str, part: Part | None = None) -> dict[str, Any]:
        """Return a result's row, each cell as what its column holds; nothing if it has none."""
        self._files += 1
        label = self.find(source, path, part)
        if label is None:
            self._without.append(source)
            return {}
        self._used.add(label)
        return typed(self.metadata.rows[label], self.kinds)

    def report(self) -> None:
        """Warn of rows and files that have no other half."""
        rows = self.metadata.rows
        said = []
        if unused := [name for name in rows if name not in self._used]:
            said.append(
                f"{len(unused):,} of {len(rows):,} rows name no file, such as {shown(unused[0])}"
            )
        if self._without:
            said.append(
                f"{len(self._without):,} of {self._files:,} files have no row, such as "
                f"{shown(self._without[0])}"
            )
        if said:
            log.warning("%s: %s.", self.metadata.file, "; ".join(said))


def _name(path: str) -> str:
    return Path(path).name
