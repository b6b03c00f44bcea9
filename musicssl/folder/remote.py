"""`RemoteListing`: the music files under URLs, by fsspec."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from musicssl.audio.remote import filesystem, is_url
from musicssl.audio.remote_errors import links, shown_url
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
        self._emptied: set[int] = set()  # file systems whose kept listings are forgotten
        self._urls = list(urls) if isinstance(urls, Iterator) else urls
        self._found: list[_Root] = []
        if listed:  # each is looked up when its turn comes
            return
        found = [root for url in dict.fromkeys(urls) for root in self._looked_up(url)]
        single = len(found) == 1 and found[0].info is None
        names = [""] if single else root_names([_as_path(root) for root in found])
        self._found = [root._replace(key=name) for root, name in zip(found, names, strict=True)]

    def _looked_up(self, url: str) -> Iterator[_Root]:
        """Yield what a URL names: a file, a folder, or all that fits a pattern."""
        first, *outer = links(url)
        if "*" in "".join(outer):  # of archives, of which each is looked into
            for archive in self._looked_up("::".join(outer)):
                if archive.info is not None:
                    yield from self._looked_up(f"{first}::{archive.url}")
            return
        try:
            system, path = filesystem(url)
            if id(system) not in self._emptied:  # hf:// keeps listings
                system.invalidate_cache()
                self._emptied.add(id(system))
            if "*" in path:
                yield from self._fitting(url, system, path)
                return
            info = asked(lambda: _info(system, path), url)
        except AudioError as error:
            if self.listed:
                raise
            raise type(error)(f"{shown_url(url)}: {error}") from error.__cause__
        if info["type"] != "directory":
            yield _Root("", url, system, path, info)
            return
        # As the listing calls it: hf:// may say a revision in another way than was asked for.
        yield _Root("", url, system, str(info["name"] or path), None)

    def _fitting(self, url: str, system: Any, path: str) -> Iterator[_Root]:
        found = asked(lambda: system.glob(path, detail=True), url)
        if not found:
            raise AudioError("fits nothing that is there.")
        first, *outer = links(url)
        fixed = path.partition("*")[0].rpartition("/")[0]
        start = "::".join([_folder_of(first.partition("*")[0]), *outer])
        for name, info in sorted(found.items()):
            inner = name[len(fixed) :].strip("/")
            where = None if info["type"] == "directory" else info
            yield _Root("", name if is_url(name) else _child(start, inner), system, name, where)

    def locate(self, key: str) -> None:
        return None

    def place_of(self, key: str) -> str | None:
        for root in self._found:
            if key == root.key or not root.key or key.startswith(f"{root.key}/"):
                return _child(root.url, key.removeprefix(root.key).strip("/"))
        return None

    def _all(self, passed_over: Counter[str]) -> Iterator[Item]:
        self._emptied.clear()
        for root in self._named():
            if isinstance(root, Item):
                yield root
            elif root.info is None:
                yield from self._folder(root, root.path, root.key, passed_over)
            else:
                yield _item(root.key, root.url, root.system, root.info, given=True)

    def _named(self) -> Iterator[_Root | Item]:
        """Yield what was given, with its name; of a list, what is wrong with it too."""
        yield from self._found
        for url in self._urls if self.listed else ():
            try:
                for root in self._looked_up(url):
                    yield root._replace(key="/".join(_as_path(root).parts[1:]))
            except AudioError as error:
                where = shown_url(url)
                name = where.partition("://")[2].strip("/") or where
                yield Item(name, Path(name), str(error), given=True, where=where)

    def _folder(
        self, root: _Root, path: str, name: str, passed_over: Counter[str]
    ) -> Iterator[Item]:
        """Yield a folder's files by name, going into folders where they stand in that order."""
        url = _under(root, path)
        try:
            found = asked(lambda: root.system.ls(path, detail=True), url)
        except AudioError as error:
            yield Item(name or path, Path(path), str(error), where=shown_url(url))
            return
        for info in sorted(found, key=lambda info: str(info["name"])):
            inner = str(info["name"]).rstrip("/")
            link = urlsplit(inner) if is_url(inner) else None
            top = urlsplit(path).path.rstrip("/") + "/"
            if link and (link.path == top or not link.path.startswith(top)):
                continue  # a link of an index page to itself, in another order
            last = PurePosixPath(unquote(link.path) if link else inner).name
            if inner == path.rstrip("/") or not last:  # how stores mark that there is a folder
                continue
            key = f"{name}/{last}" if name else last
            if last.startswith("."):
                passed_over["hidden"] += 1
            elif info["type"] == "directory":
                yield from self._folder(root, inner, key, passed_over)
            elif self._matches(last):
                yield _item(key, _under(root, inner), root.system, info)
            else:
                passed_over[PurePosixPath(last).suffix.lower() or "without extension"] += 1


def _info(system: Any, path: str) -> dict[str, Any]:
    """Return what a file system tells of a path; an index page on the web is a folder."""
    if path.endswith("/") and is_url(path):
        system.ls(path, detail=True)
        return {"name": path, "type": "directory"}
    found: dict[str, Any] = system.info(path)
    if found.get("mimetype") == "text/html":
        raise AudioError(
            "is a page, and no audio; for the files that it links to, end the URL in '/'."
        )
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
    inner, outer = root.path, links(root.url)[1:]
    if is_url(inner):
        inner = urlsplit(inner).netloc + unquote(urlsplit(inner).path)
    around = [each.partition("://")[2] or each for each in map(shown_url, reversed(outer))]
    return Path("/" + "/".join(part.strip("/") for part in (*around, inner) if part.strip("/")))


def _under(root: _Root, path: str) -> str:
    """Return the URL of a path that lies in one of the roots."""
    if is_url(path):
        return path
    return _child(root.url, path[len(root.path.rstrip("/")) :].strip("/"))


def _folder_of(url: str) -> str:
    """Return a URL up to its last slash, but with those of its protocol."""
    kind, separator, path = url.rpartition("://")
    return f"{kind}{separator}{path.rpartition('/')[0]}"


def _child(url: str, inner: str) -> str:
    """Return the URL of what lies in a folder; of chains, such as zip://::s3://b/a.zip, too."""
    if not inner:
        return url
    first, chain, rest = url.partition("::")
    if chain and "://" not in first:
        first += "://"
    separator = "" if first.endswith("/") else "/"
    return f"{first}{separator}{inner}{chain}{rest}"
