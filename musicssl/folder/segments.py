"""Parts of files to embed, each with the name that its result will have."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from musicssl.audio.remote import is_url
from musicssl.errors import AudioError, ConfigError, shown
from musicssl.folder.columns import OWN, TOLD
from musicssl.folder.listing import Item, Listing, Shard
from musicssl.segments.reading import BadRow
from musicssl.segments.segment import Segment, checked, fragment
from musicssl.source_names import absolute, listed_name


class SegmentListing(Listing):
    """Segments, those of one file after each other; what is wrong with others is in `wrong`.

    Parameters
    ----------
    segments
        A result is called by its segment's `id`, otherwise by the path as seen from the current
        folder and the times: ``album.flac#t=0,61.5``.
    shard
        Take every `count`-th segment only.

    Raises
    ------
    ConfigError
        If a column has a name of musicssl's own.
    """

    def __init__(self, segments: Iterable[Segment | BadRow], *, shard: Shard | None = None) -> None:
        super().__init__([], extensions=(), listed=True, shard=shard)
        found: dict[str, Item] = {}
        for segment in segments:
            if isinstance(segment, BadRow):
                self.wrong.append((segment.where, segment.error))
                continue
            try:
                item = _item(segment)
            except AudioError as error:
                self.wrong.append((_name(segment), str(error)))
                continue
            before = found.setdefault(item.key, item)
            if before._replace(columns={}) != item._replace(columns={}):
                self.wrong.append(
                    (item.key, f"{segment} has the name that {_told(before)} has; give each an id.")
                )
            elif before != item:
                self.wrong.append((item.key, f"{segment} is listed again with other columns."))
        self.columns = list({name: 0 for item in found.values() for name in item.columns})
        for name in self.columns:
            if name in {*OWN, *TOLD}:
                raise ConfigError(
                    f"the segments' column {shown(name)} is one of musicssl's own; rename it."
                )
        files = {item.path: i for i, item in reversed(list(enumerate(found.values())))}
        self._items = sorted(found.values(), key=lambda item: (files[item.path], item.start or 0.0))

    def _once(self, passed_over: Counter[str]) -> Iterator[Item]:
        return iter(self._items)


def _item(segment: Segment) -> Item:
    start, end = checked(segment)
    if not isinstance(segment.path, Path) and is_url(segment.path):
        raise AudioError(
            f"{segment.path} is a URL; only get_embedding reads those. Fetch it first."
        )
    path = absolute(segment.path)
    key = segment.id or f"{listed_name(path)}{fragment(start, end)}"
    columns = {"title": segment.title} | dict(segment.metadata)
    cells = {name: str(cell) for name, cell in columns.items() if cell is not None and str(cell)}
    return Item(key, path, given=True, start=start, end=end, columns=cells)


def _name(segment: Segment) -> str:
    """Return what a segment that is none is called."""
    for name in (segment.id, segment.path):
        if name is not None:
            return str(name) if isinstance(name, (str, os.PathLike)) else shown(name)
    return str(segment)


def _told(item: Item) -> str:
    return f"{item.path}{fragment(item.start or 0.0, item.end)}"
