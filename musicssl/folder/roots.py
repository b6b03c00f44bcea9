"""`Roots`: the paths of a run, and which of them covers a file or the name of a result."""

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from operator import itemgetter
from pathlib import Path

from musicssl.folder.digests import DigestMap
from musicssl.folder.records import digest


class Roots:
    """Names and absolute paths, in their order.

    They are looked up by digests: 16 bytes a path for `covering` and as many for `locate`, made
    when they are first needed; and each search looks up only the folders above what it is given.
    """

    def __init__(self, roots: Sequence[tuple[str, Path]] = ()) -> None:
        self._roots = roots

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        return (root for _, root in self.placed())

    def placed(self) -> Iterator[tuple[int, tuple[str, Path]]]:
        """Yield each name and path with a number, ascending, that `at` takes."""
        return iter(enumerate(self._roots))

    def at(self, place: int) -> tuple[str, Path]:
        """Return the name and path that `placed` has yielded with a number."""
        return self._roots[place]

    def covering(self, path: Path) -> Path | None:
        """Return the first of the paths that is this one or a folder above it."""
        above = [path, *path.parents]
        found = _first(self._paths, map(_path_digest, above))
        return None if found is None else above[found[0]]

    def locate(self, key: str) -> tuple[Path, Path] | None:
        """Return the first path that covers a result's name, and where its source would be."""
        ends = [0, *(i for i, letter in enumerate(key) if letter == "/"), len(key)]
        found = _first(self._names, (digest(key[:end]) for end in ends))
        if found is None:
            return None
        path, rest = self.at(found[1])[1], key[ends[found[0]] :].removeprefix("/")
        return path, path / rest if rest else path

    @cached_property
    def _paths(self) -> DigestMap:
        return _places((_path_digest(path), place) for place, (_, path) in self.placed())

    @cached_property
    def _names(self) -> DigestMap:
        return _places((digest(name), place) for place, (name, _) in self.placed())


def _path_digest(path: Path) -> int:
    return digest(os.path.normcase(path))  # Windows takes paths in either case for the same


def _places(placed: Iterable[tuple[int, int]]) -> DigestMap:
    """Return the first place of each digest."""
    places = DigestMap(1)
    for key, place in placed:
        if key not in places:
            places.set(key, place)
    return places


def _first(places: DigestMap, keys: Iterable[int]) -> tuple[int, int] | None:
    """Return which of the keys has the lowest place, and that place."""
    found = ((i, place[0]) for i, key in enumerate(keys) if (place := places.get(key)) is not None)
    return min(found, key=itemgetter(1), default=None)
