"""Files that grow by whole records, and results in the order of what was asked."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

T = TypeVar("T")


def cut(file: Path, size: int) -> BinaryIO:
    """Open a file, new or not, at `size` bytes; what follows is dropped."""
    file.touch()
    out = file.open("r+b")
    out.truncate(size)
    out.seek(size)
    return out


def whole_lines(file: Path) -> BinaryIO:
    """Open a file of lines behind its last whole one."""
    return cut(file, file.read_bytes().rfind(b"\n") + 1 if file.exists() else 0)


def in_order(
    rows: list[dict[str, Any]], read: Callable[[dict[str, Any]], T], jobs: int
) -> Generator[tuple[dict[str, Any], "Future[T]"], None, None]:
    """Yield each row with its result, in order, while others are read."""
    with ThreadPoolExecutor(jobs) as pool:
        waiting: deque[tuple[dict[str, Any], Future[T]]] = deque()
        try:
            for row in rows:
                waiting.append((row, pool.submit(read, row)))
                if len(waiting) > jobs:  # no further ahead: whole recordings wait in memory
                    yield waiting.popleft()
            yield from waiting
        finally:
            pool.shutdown(cancel_futures=True)
