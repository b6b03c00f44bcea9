"""What the commands print as their result, and the exit codes that they end with."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from musicssl.cli.interrupts import INTERRUPTED
from musicssl.cli.terminal import one_line, say
from musicssl.errors import ModelError, MusicSSLError

DONE, FAILED, REFUSED, NOTHING, NO_MODEL = 0, 1, 2, 3, 4


class DeafError(Exception):
    """Stdout takes no more of what was asked for."""


@contextlib.contextmanager
def to_stdout() -> Iterator[None]:
    """Tell trouble with stdout from all other.

    Raises
    ------
    DeafError
        In place of what writing raises.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        raise DeafError(getattr(error, "strerror", None) or str(error)) from error


def print_lines(lines: list[str]) -> int:
    """Print lines to stdout."""
    with to_stdout():
        if sys.stdout is not None:
            print("\n".join(lines), flush=True)
    return DONE


def answer(prog: str, work: Callable[[], int]) -> int:
    """Do a command's work and return its exit code; what is wrong becomes one line on stderr."""
    try:
        return work()
    except MusicSSLError as error:
        say(f"{prog}: error: {one_line(str(error))}")
        return NO_MODEL if isinstance(error, ModelError) else REFUSED
    except DeafError as error:
        if not isinstance(error.__cause__, BrokenPipeError):  # or else who reads has seen enough
            say(f"{prog}: error: cannot write to stdout: {error}")
            return REFUSED
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED
