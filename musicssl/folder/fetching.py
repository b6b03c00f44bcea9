"""Remote files, fetched before their turn comes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.origin import Held, Origin, RemoteFile
from musicssl.folder.reading import Taken

_CONNECTIONS = 2  # for each file that is decoded: a store's delay is more than its rate


def fetch_ahead(todo: Iterator[list[Taken]], jobs: int) -> Iterator[list[Taken]]:
    """Yield the same in the same order, while threads fetch what comes next, up to `jobs` * 4."""
    pool = ThreadPoolExecutor(_CONNECTIONS * jobs, thread_name_prefix="musicssl-fetch")
    waiting: deque[list[Taken]] = deque()
    try:
        for taken in todo:
            waiting.append([(_fetching(item, pool), seen) for item, seen in taken[:1]] + taken[1:])
            held = isinstance(taken[0][0].origin, Held)  # its bytes are in memory already
            while len(waiting) > 2 * _CONNECTIONS * jobs or (held and waiting):
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for taken in waiting:
            if isinstance(origin := taken[0][0].origin, _Coming):
                origin.discard()


def _fetching(item: Item, pool: ThreadPoolExecutor) -> Item:
    if not isinstance(item.origin, RemoteFile):
        return item
    return item._replace(origin=_Coming(item.origin, pool.submit(item.origin.open)))


@dataclass(eq=False)
class _Coming:
    """A remote file on its way; a second reading fetches it again."""

    origin: Origin
    coming: Future[BinaryIO] | None

    @property
    def name(self) -> str:
        return self.origin.name

    @property
    def seen(self) -> FileStat:
        return self.origin.seen

    def open(self) -> BinaryIO:
        coming, self.coming = self.coming, None
        return self.origin.open() if coming is None else coming.result()

    def discard(self) -> None:
        """Close what has come for nothing."""
        if self.coming is not None and not self.coming.cancel():
            self.coming.add_done_callback(
                lambda done: None if done.exception() else done.result().close()
            )
