"""HTTP answers that end: from servers that may be silent, endless, slow or lead elsewhere.

`huggingface_hub` gives the session with its proxies and certificates.
"""

import errno
import queue
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from musicssl.errors import shown

T = TypeVar("T")
Pieces = Generator[Any, None, None]  # bytes, behind a `Head`
PATIENCE = 30.0  # seconds that a server may ask to be left alone
LEAST = 4096  # bytes that must come within the time in which anything must
PIECE = 1024  # bytes to wait for, where the library cannot give what is there
REDIRECTS = 5
NO_WAY = {
    errno.ECONNREFUSED,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
}


@dataclass(frozen=True)
class Head:
    """Status and headers of an answer."""

    status: int
    headers: Mapping[str, str]  # whatever the case of their names

    @property
    def target(self) -> str:
        """Address that a redirect leads to, otherwise nothing."""
        return self.headers.get("Location", "") if 300 <= self.status < 400 else ""


class TransferError(Exception):
    """Nothing usable came; `passing` if it may on another try, after `wait` seconds or more."""

    def __init__(self, text: str, *, passing: bool = True, wait: float = 0.0) -> None:
        super().__init__(text)
        self.passing, self.wait = passing, wait


class UnreachableError(TransferError):
    """There is no way to the server: asking again at once would not help."""


class MismatchError(TransferError):
    """The content is not what was announced."""


class RefusalError(TransferError):
    """The Hub, or where it sent us, answered with an error."""

    def __init__(self, head: Head) -> None:
        after = head.headers.get("Retry-After", "")
        wait = float(after) if after.isascii() and after.isdecimal() else 0.0
        passing = (head.status == 429 or head.status >= 500) and wait <= PATIENCE
        super().__init__(f"it answers {head.status}", passing=passing, wait=wait)
        self.status = head.status
        self.code = head.headers.get("X-Error-Code", "")
        self.message = head.headers.get("X-Error-Message", "")


def ask(
    method: str, url: str, headers: Mapping[str, str], *, token: str | None, seconds: float
) -> tuple[Head, Pieces]:
    """Return an answer's head and its body's pieces, wherever the server sends us for them.

    Parameters
    ----------
    method
        "GET", or "HEAD": that stays with the first server that knows the file.
    url
        Of the Hub.
    headers
        Of the request.
    token
        Goes to the Hub alone.
    seconds
        Within which something must come.

    Raises
    ------
    RefusalError
        If the answer is an error.
    TransferError
        If none comes.
    """
    hub = _origin(url)
    for _ in range(REDIRECTS + 1):
        own = {"Authorization": f"Bearer {token}"} if token and _origin(url) == hub else {}
        pieces = in_time(_exchange(method, url, {**headers, **own}, seconds), seconds)
        head = next(pieces)
        if head.status >= 400:
            pieces.close()
            raise RefusalError(head)
        if not head.target:
            return head, pieces
        try:
            url = urljoin(url, head.target)
            scheme, _ = target = _origin(url)
        except ValueError:
            scheme, target = "", ("", "")
        if method == "HEAD" and target != hub and "X-Repo-Commit" in head.headers:
            return head, pieces
        pieces.close()
        if scheme not in ("https", hub[0]):
            raise TransferError(f"it leads to {shown(head.target)}", passing=False)
    raise TransferError("it leads from one address to the next without end", passing=False)


def persist(work: Callable[[], T], waits: tuple[float, ...]) -> T:
    """Return what `work` gives, trying again where the reason may pass while one waits."""
    for wait in waits:
        try:
            return work()
        except TransferError as error:
            if not error.passing or isinstance(error, UnreachableError):
                raise
            time.sleep(max(wait, error.wait))
    return work()


def in_time(items: Pieces, seconds: float) -> Pieces:
    """Yield `items`, made in another thread, as long as they come fast enough.

    A socket's own time-out begins anew with every byte, so that a server that sends one now and
    then is never late, in its headers as in its body.

    Yields
    ------
    Head, then bytes
        As they come.

    Raises
    ------
    TransferError
        If the next does not come within `seconds`, or `LEAST` bytes do not, or it fails.
    """
    arrived: queue.Queue[Any] = queue.Queue(maxsize=8)
    left = threading.Event()

    def offer(item: Any) -> bool:
        while not left.is_set():
            try:
                arrived.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            if all(offer(item) for item in items):
                offer(None)
        except Exception as error:  # of whatever HTTP library the client uses
            offer(error)
        finally:
            items.close()

    threading.Thread(target=make, daemon=True, name="musicssl-download").start()
    try:
        yield from _arriving(arrived, seconds)
    finally:
        left.set()


def _arriving(arrived: "queue.Queue[Any]", seconds: float) -> Iterator[Any]:
    """Yield what arrives until None does."""
    waited, came = 0.0, 0
    while True:
        begin = time.monotonic()
        try:
            item = arrived.get(timeout=seconds)
        except queue.Empty:
            raise TransferError(f"nothing came for {seconds:g} s") from None
        if item is None:
            return
        if isinstance(item, Exception):
            raise _failure(item) from item
        waited += time.monotonic() - begin
        if isinstance(item, bytes):
            came += len(item)
            if waited > seconds and came < LEAST:
                raise TransferError(f"only {came:,} bytes came in {waited:.0f} s")
        if came >= LEAST or isinstance(item, Head):
            waited, came = 0.0, 0
        yield item


def _failure(error: Exception) -> TransferError:
    """Return what an exception of whatever HTTP library means."""
    line = next(iter(str(error).strip().splitlines()), "")[:300]
    text = f"{type(error).__name__}: {line.rstrip('.')}"
    cause: BaseException | None = error
    while cause is not None:
        no_way = isinstance(cause, OSError) and cause.errno in NO_WAY
        if no_way or isinstance(cause, socket.gaierror) or type(cause).__name__ == "ConnectTimeout":
            return UnreachableError(text)
        cause = cause.__cause__ or cause.__context__
    return TransferError(text)


def _exchange(method: str, url: str, headers: Mapping[str, str], seconds: float) -> Pieces:
    """Yield an answer's `Head`, then pieces of its body as they are on the line."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    session: Any = get_session()
    asked: dict[str, Any] = {"headers": dict(headers)}
    # less for the connection alone: whoever drops what is sent there is not asked again
    connect = seconds / 2
    if callable(session.stream):  # httpx: clients since 1.0
        asked["timeout"] = (connect, seconds, seconds, seconds)
        with session.stream(method, url, follow_redirects=False, **asked) as answer:
            yield Head(answer.status_code, answer.headers)
            yield from answer.iter_raw()
    else:  # requests
        asked["timeout"] = (connect, seconds)
        answer = session.request(method, url, allow_redirects=False, stream=True, **asked)
        with answer:
            yield Head(answer.status_code, answer.headers)
            yield from answer.raw.stream(PIECE, decode_content=False)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
