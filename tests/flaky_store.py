"""A store for fsspec that fails as stores do: a connection that breaks, too many requests."""

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class FlakyFileSystem(MemoryFileSystem):
    """Memory that fails for the first requests of a kind.

    `faults` says, by the method's name, what happens to its next requests; None is none.
    """

    protocol = "flaky"
    cachable = False
    faults: ClassVar[dict[str, list[Callable[[], None] | None]]] = {}
    asked: ClassVar[Counter[str]] = Counter()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("flaky://"))

    def _ask(self, name: str) -> None:
        type(self).asked[name] += 1
        waiting = self.faults.get(name)
        if waiting and (fault := waiting.pop(0)):
            fault()

    def get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        self._ask("get")
        super().get_file(rpath, lpath, **options)
        if self.faults.get("cut") and self.faults["cut"].pop(0) is not None:
            with open(lpath, "r+b") as file:  # noqa: PTH123 - as fsspec has it
                file.truncate(100)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self._ask("ls")
        return super().ls(path, detail=detail, **options)

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self._ask("put")
        super().pipe_file(path, value, **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self._ask("open")
        return super()._open(path, mode=mode, **options)


def lost() -> None:
    raise ConnectionResetError("the connection was lost")


class SlowDown(OSError):
    """What a store says of too many requests."""


def throttled() -> None:
    raise SlowDown("503: reduce your request rate")


def forbidden() -> None:
    raise PermissionError("Access Denied")


fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
