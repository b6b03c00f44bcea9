"""Lock files: which process works on what, among any number that share a folder."""

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from musicssl.atomic import atomic_write_text
from musicssl.errors import ConfigError, OutputError
from musicssl.folder.paths import DISK, writing
from musicssl_training.output import make_output_folder

log = logging.getLogger(__name__)
BEAT = 15.0  # seconds between a holder's signs of life
TIMEOUT = 600.0  # seconds without one, after which a lock of another machine is taken over
GUARD_TIMEOUT = 60.0  # seconds; a takeover itself takes milliseconds


class Lock:
    """A lock file that this process holds, and keeps fresh until it is released.

    Attributes
    ----------
    lost
        Whether another process has taken it over: this one was silent for too long.
    """

    def __init__(self, path: Path, token: str) -> None:
        self.path, self.token, self.lost = path, token, False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, path: Path, timeout: float = TIMEOUT) -> "Lock | None":
        """Return the lock, or None if a living process holds it."""
        make_output_folder(path.parent)
        token = uuid.uuid4().hex
        text = json.dumps({"token": token} | _this_process())
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            if not is_stale(path, timeout) or not _take_over(path, text, timeout):
                return None
        return cls(path, token)

    def release(self) -> None:
        """Remove the file, unless it is another's by now."""
        self._done.set()
        self._thread.join()
        if _read(self.path).get("token") == self.token:
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            try:
                if _read(self.path).get("token") != self.token:
                    self.lost = True
                    return
                os.utime(self.path)
            except OSError as error:  # of a network, say; the next beat may get through
                log.warning("%s: %s", self.path, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def is_stale(path: Path, timeout: float = TIMEOUT) -> bool:
    """Return whether a lock's holder is dead.

    On the same machine, whether its process is gone; otherwise, whether it has given no sign of
    life for `timeout` seconds by the clock of the file system, which all machines share.
    """
    holder = _read(path)
    try:
        silent = _now(path.parent) - path.stat().st_mtime
    except FileNotFoundError:
        return False  # released just now; the next look will find it free
    here = _this_process()
    if holder.get("host") == here["host"] and isinstance(holder.get("pid"), int):
        return not _is_alive(holder["pid"], holder.get("started"))
    return silent > timeout


def _take_over(path: Path, text: str, timeout: float) -> bool:
    """Replace a stale lock, one process at a time: a guard folder says who."""
    guard = path.with_suffix(".takeover")
    try:
        guard.mkdir()
    except FileExistsError:
        with contextlib.suppress(OSError):
            if _now(path.parent) - guard.stat().st_mtime > GUARD_TIMEOUT:
                guard.rmdir()  # of a process that died within it
        return False
    try:
        if not is_stale(path, timeout):  # somebody was faster
            return False
        atomic_write_text(path, text, part=path.with_suffix(f".{os.getpid()}.part"))
        log.info("%s: taken over from a process that is gone", path.stem)
        return True
    finally:
        guard.rmdir()


def _read(path: Path) -> dict[str, Any]:
    """Return what a lock says; nothing if it is being written or gone."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _now(folder: Path) -> float:
    """Return the file system's time."""
    probe = folder / f".now-{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _this_process() -> dict[str, Any]:
    """Return what names this process among those of all machines."""
    # containers may share a name: the boot and the space of process numbers tell them apart
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    pid = os.getpid()
    return {"host": "/".join(parts), "pid": pid, "started": _started(pid), "time": time.time()}


def _started(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks; None where that is not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]  # field 22; the name may hold spaces


def _is_alive(pid: int, started: str | None) -> bool:
    """Return whether a process of this machine lives, and is still the same one."""
    if os.name != "posix":
        return True  # there a signal of 0 would end it; silence will tell
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return started is None or _started(pid) in (started, None)


@contextlib.contextmanager
def claimed(lock: Path) -> Iterator[None]:
    """Hold a lock file, so that nobody else writes the same.

    Raises
    ------
    ConfigError
        If another process holds it.
    OutputError
        If it cannot be written.
    """
    try:
        with writing(lock):
            held = Lock.take(lock)
    except OutputError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in DISK:
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)  # nobody could tell whose it is
        raise
    if held is None:
        raise ConfigError(
            f"{lock.parent}: another process is writing there ({lock.name}). Wait until it has "
            "finished, or choose another folder."
        )
    with held:
        yield
