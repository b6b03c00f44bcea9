"""`RemoteListing`: the music files under URLs, by fsspec."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from musicssl.audio.remote import filesystem, is_url, shown_url
from musicssl.errors import AudioError
from musicssl.folder.listing import Item, Listing, Shard
from musicssl.folder.origin import RemoteFile, asked, stat_of
from musicssl.source_names import root_names


class _Root(NamedTuple):
    """One of the URLs that were given."""

    key: str  # how its results' names begin; empty for those of a single folder
    url: str
    system: Any
    path: str  # in it
    info: dict[str, Any] | None  # of a file; None for a folder


class RemoteListing(Listing):
    """Files under URLs, found while it is iterated; folders by name, as on a disk.

    Parameters
    ----------
    urls
        Files, folders, and patterns with ``*``.
    extensions
        As for `Listing`.
    listed
        Name results after the whole URLs without their protocol.
    shard
        Take every `count`-th file only.

    Raises
    ------
    AudioError
        If there is nothing there, or it cannot be looked at.
    DependencyError
        If a package is missing that such URLs need.

    Notes
    -----
    Every iteration asks anew, so what a store shows late is found by a later run. A folder's names
    are in memory while it is read, those of its subfolders are not.
    """

    def __init__(
        self,
        urls: Iterable[str],
        *,
        extensions: Collection[str],
        listed: bool = False,
        shard: Shard | None = None,
    ) -> None:
        super().__init__([], extensions=extensions, listed=listed, shard=shard)
        found = [root for url in dict.fromkeys(urls) for root in self._looked_up(url)]
        parts = [_as_path(root) for root in found]
        single = len(found) == 1 and found[0].info is None
        if listed:
            names = ["/".join(part.parts[1:]) for part in parts]
        else:
            names = [""] if single else root_names(parts)
        self._found = [root._replace(key=name) for root, name in zip(found, names, strict=True)]

    def _looked_up(self, url: str) -> Iterator[_Root]:
        """Yield what a URL names: a file, a folder, or all that fits a pattern."""
        try:
            system, path = filesystem(url)
            if "*" in path:
                yield from self._fitting(url, system, path)
                return
            info = asked(lambda: _info(system, path), url)
        except AudioError as error:
            if not self.listed:
                raise type(error)(f"{shown_url(url)}: {error}") from error.__cause__
            self.wrong.append((shown_url(url), str(error)))
            return
        yield _Root("", url, system, path, None if info["type"] == "directory" else info)

    def _fitting(self, url: str, system: Any, path: str) -> Iterator[_Root]:
        found = asked(lambda: system.glob(path, detail=True), url)
        if not found:
            raise AudioError("fits nothing that is there.")
        fixed = re.split(r"\*", path)[0].rpartition("/")[0]
        start = re.split(r"\*", url)[0].rpartition("/")[0]
        for name, info in sorted(found.items()):
            inner = name[len(fixed) :].strip("/")
            where = None if info["type"] == "directory" else info
            yield _Root("", _child(start, inner), system, name, where)

    def locate(self, key: str) -> None:
        return None

    def _all(self, passed_over: Counter[str]) -> Iterator[Item]:
        for root in self._found:
            if root.info is None:
                yield from self._folder(root, root.path, root.key, passed_over)
            else:
                yield _item(root.key, root.url, root.system, root.info, given=True)

    def _folder(
        self, root: _Root, path: str, name: str, passed_over: Counter[str]
    ) -> Iterator[Item]:
        """Yield a folder's files by name, going into folders where they stand in that order."""
        url = _child(root.url, path[len(root.path) :].strip("/"))
        try:
            found = asked(lambda: root.system.ls(path, detail=True), url)
        except AudioError as error:
            yield Item(name or path, Path(path), str(error), where=shown_url(url))
            return
        for info in sorted(found, key=lambda info: str(info["name"])):
            inner = str(info["name"]).rstrip("/")
            last = PurePosixPath(urlsplit(inner).path if is_url(inner) else inner).name
            if inner == path.rstrip("/") or not last:  # how stores mark that there is a folder
                continue
            key = f"{name}/{last}" if name else last
            if last.startswith("."):
                passed_over["hidden"] += 1
            elif info["type"] == "directory":
                yield from self._folder(root, inner, key, passed_over)
            elif self._matches(last):
                where = _child(root.url, inner[len(root.path) :].strip("/"))
                yield _item(key, where, root.system, info)
            else:
                passed_over[PurePosixPath(last).suffix.lower() or "without extension"] += 1


def _info(system: Any, path: str) -> dict[str, Any]:
    """Return what a file system tells of a path; an index page on the web is a folder."""
    if path.endswith("/") and is_url(path):
        system.ls(path, detail=True)
        return {"name": path, "type": "directory"}
    found: dict[str, Any] = system.info(path)
    return found


def remote_item(key: str, url: str) -> Item:
    """Return an item for the URL of a file.

    Raises
    ------
    AudioError
        If there is none.
    """
    system, path = filesystem(url)
    return _item(key, url, system, asked(lambda: system.info(path), url), given=True)


def _item(key: str, url: str, system: Any, info: dict[str, Any], *, given: bool = False) -> Item:
    where = shown_url(url)
    listed = stat_of(info)
    told_enough = listed.etag is not None or listed.mtime_ns
    origin = RemoteFile(system, str(info["name"]), where, listed if told_enough else None)
    return Item(key, Path(str(info["name"])), given=given, origin=origin, where=where)


def _as_path(root: _Root) -> Path:
    """Return where a root is, as an absolute path, of which names are made."""
    inner = (
        urlsplit(root.path).netloc + urlsplit(root.path).path if is_url(root.path) else root.path
    )
    return Path("/" + inner.strip("/"))


def _child(url: str, inner: str) -> str:
    """Return the URL of what lies in a folder; of chains, such as zip://::s3://b/a.zip, too."""
    if not inner:
        return url
    first, chain, rest = url.partition("::")
    if chain and "://" not in first:
        first += "://"
    separator = "" if first.endswith("/") else "/"
    return f"{first}{separator}{inner}{chain}{rest}"
