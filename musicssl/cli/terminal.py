"""Standard streams of a command, whatever they are: closed, full, a terminal or a pipe."""

import contextlib
import faulthandler
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import TextIO

from musicssl.cli.interrupts import quiet_interrupts

# What moves the cursor, clears the screen, ends lines or turns the direction of writing.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MOST = 2000  # characters of one message


def printable(text: str) -> str:
    r"""Return a file's name or the like without what a terminal would obey.

    Examples
    --------
    >>> printable("caf\u00e9 \x1b[2J\n")
    'café \\x1b[2J\\n'
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if c in _BIDI or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
        else c
        for c in text
    )


def one_line(text: str) -> str:
    """Return a message in one line, and not without end."""
    line = printable(" ".join(part.strip() for part in text.splitlines()))
    return line if len(line) <= _MOST else f"{line[:_MOST]} ..."


def say(text: str, stream: TextIO | None = None) -> bool:
    """Write a line to `stream`, by default stderr, and tell whether it was taken.

    Work does not stop because nobody listens.
    """
    stream = sys.stderr if stream is None else stream
    if stream is None:  # a process without one
        return False
    try:
        stream.write(text + "\n")
        stream.flush()
    except (OSError, ValueError):  # full, gone, closed
        return False
    return True


@contextlib.contextmanager
def loading(prog: str) -> Iterator[None]:
    """Show on a terminal that the command is alive while libraries load, which takes seconds."""
    stream, sign = sys.stderr, f"{prog}: loading ..."
    shown = False
    with contextlib.suppress(OSError, ValueError):
        if stream is not None and stream.isatty():
            stream.write(sign)
            stream.flush()
            shown = True
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            if shown and stream is not None:
                stream.write(f"\r{' ' * len(sign)}\r")
                stream.flush()


def put_name(name: str, stream: TextIO | None, *, end: bytes = b"\n") -> None:
    """Write a file's name to `stream`: its bytes, or on a terminal what is safe to show."""
    if stream is None:
        return
    buffer = getattr(stream, "buffer", None)
    if stream.isatty() or buffer is None:
        stream.write(printable(name) + "\n")
    else:
        buffer.write(os.fsencode(name) + end)


@contextlib.contextmanager
def process() -> Iterator[None]:
    """Make a process the command's own: its streams for its own words, and a quiet Ctrl-C.

    Decoders in C print to the descriptors 1 and 2 what they think of a file. Those lead nowhere
    meanwhile, and `sys.stdout` and `sys.stderr` to where they led before. Nothing that is called
    inside somebody else's process may do this.
    """
    if os.name != "posix":
        yield
        return
    quiet_interrupts()
    for number in (0, 1, 2):
        _occupy(number)
    before = sys.stdout, sys.stderr
    stdout, stderr = _elsewhere(sys.stdout, 1), _elsewhere(sys.stderr, 2)
    sys.stdout, sys.stderr = stdout, stderr
    crashes = not faulthandler.is_enabled()
    try:
        if crashes and stderr is not None:
            faulthandler.enable(stderr)  # all that is left to see of a crash in C
        yield
    finally:
        if crashes:
            faulthandler.disable()
        sys.stdout, sys.stderr = before
        for moved, original, number in ((stdout, before[0], 1), (stderr, before[1], 2)):
            if moved is not None and moved is not original:
                _back(moved, number)


def run_command(command: Callable[[list[str]], int], argv: list[str] | None) -> int:
    """Run a command's main function with `argv`; if that is None, as a process of its own."""
    if argv is not None:
        return command(argv)
    with process():
        return command(sys.argv[1:])


def _occupy(number: int) -> None:
    """Open a descriptor that is closed, lest a result be opened under it and printed into."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)


def _elsewhere(stream: TextIO | None, number: int) -> TextIO | None:
    """Return a stream to where descriptor `number` leads, and let that lead nowhere."""
    try:
        if stream is None or stream.fileno() != number:
            return stream
        stream.flush()
    except (OSError, ValueError):
        return stream
    nowhere = os.open(os.devnull, os.O_WRONLY)
    moved = os.fdopen(  # closed by _back
        os.dup(number),
        "w",
        encoding=stream.encoding,
        errors="backslashreplace",
        buffering=1 if stream.isatty() else -1,
    )
    os.dup2(nowhere, number)
    os.close(nowhere)
    return moved


def _back(moved: TextIO, number: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        moved.flush()
    with contextlib.suppress(OSError, ValueError):
        os.dup2(moved.fileno(), number)
    with contextlib.suppress(OSError, ValueError):  # what is still in it has nowhere to go
        moved.close()
