"""The music files under some paths, each with the name that its result will have."""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

from musicssl.errors import AudioError, ConfigError


class Item(NamedTuple):
    """One file to embed."""

    key: str  # its name among the results, "/" between folders
    path: Path
    error: str | None = None  # why it cannot be read, where that is known already


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigError(f"shard {self.index}/{self.count} does not exist; count from 1.")

    @property
    def tag(self) -> str:
        """Part of file names, so that shards that run at once keep apart."""
        return f"-{self.index}-of-{self.count}"


class Listing:
    """Files in a fixed order, found while it is iterated, which can be done again.

    Parameters
    ----------
    paths
        Files, which are taken whatever they are called, and folders, which are searched through
        all their subfolders, except hidden ones, for files with one of `extensions`.
    extensions
        With the dot; case makes no difference.
    listed
        Name results after the whole paths, relative to the current folder, or from the root
        for what lies outside it.
    shard
        Take every `count`-th file only.

    Raises
    ------
    AudioError
        If there is no such path (unless `listed`: then it is an item with an error).

    Notes
    -----
    Names: a single folder's files are named relative to it. Of several paths, a file has its
    name, and a folder's files begin with the folder's name; where two of these would be equal or
    one inside the other, both begin one parent folder earlier, until they differ. What
    lies in two of the paths is taken once.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        *,
        extensions: Collection[str],
        listed: bool = False,
        shard: Shard | None = None,
    ) -> None:
        # abspath, unlike resolve, keeps the names that symbolic links were given
        absolute = (Path(os.path.abspath(path)) for path in paths)  # noqa: PTH100
        self.extensions = frozenset(extension.lower() for extension in extensions)
        self.shard = shard
        unique = list(dict.fromkeys(absolute))
        if listed:
            here = Path.cwd()
            self.roots = [(_listed_name(path, here), path) for path in unique]
            return
        for path in unique:
            if not path.exists():
                raise AudioError(f"no such file or folder: {path}")
        folders = {path for path in unique if path.is_dir()}
        kept = [p for p in unique if not any(self._covers(f, p) for f in folders & {*p.parents})]
        self.roots = list(zip(_root_names(kept), kept, strict=True))

    def __iter__(self) -> Iterator[Item]:
        if self.shard is None:
            return self._all()
        return islice(self._all(), self.shard.index - 1, None, self.shard.count)

    def _all(self) -> Iterator[Item]:
        for name, path in self.roots:
            if path.is_dir():
                yield from self._walk(path, name, frozenset())
            elif path.exists():
                yield Item(name, path)
            else:
                yield Item(name, path, "no such file")

    def _walk(self, folder: Path, name: str, above: frozenset[tuple[int, int]]) -> Iterator[Item]:
        """Yield a folder's files by name; `above` are the folders it lies in, against loops."""
        try:
            status = folder.stat()
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield Item(name or folder.name, folder, error.strerror or str(error))
            return
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            return
        for entry in entries:
            key = f"{name}/{entry.name}" if name else entry.name
            if entry.name.startswith("."):  # "._song.mp3" are macOS's notes beside each file
                continue
            if entry.is_dir():
                yield from self._walk(Path(entry.path), key, above | {identity})
            elif self._matches(entry.name) and entry.is_file():
                yield Item(key, Path(entry.path))

    def _matches(self, name: str) -> bool:
        return Path(name).suffix.lower() in self.extensions

    def _covers(self, folder: Path, path: Path) -> bool:
        """Tell whether searching `folder` finds `path`, which lies somewhere inside."""
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        return not hidden and (path.is_dir() or self._matches(path.name))


def _parts(path: Path) -> tuple[str, ...]:
    """Return the parts of an absolute path without its root; a drive is a part."""
    drive = path.drive.strip("\\/").replace(":", "").replace("\\", "_")
    return (drive, *path.parts[1:]) if drive else path.parts[1:]


def _listed_name(path: Path, here: Path) -> str:
    inside = path.is_relative_to(here)
    return "/".join(path.relative_to(here).parts if inside else _parts(path))


def _root_names(paths: list[Path]) -> list[str]:
    """Return one name a path, none equal to another or inside it."""
    if len(paths) == 1 and paths[0].is_dir():
        return [""]
    parts = [_parts(path) for path in paths]
    taken = [1] * len(paths)
    while True:
        names = [part[-n:] for part, n in zip(parts, taken, strict=True)]
        order = sorted(range(len(names)), key=names.__getitem__)
        clash = {
            i
            for one, two in pairwise(order)
            if names[one] == names[two][: len(names[one])]
            for i in (one, two)
            if taken[i] < len(parts[i])
        }
        if not clash:
            return ["/".join(name) for name in names]
        for i in clash:
            taken[i] += 1
