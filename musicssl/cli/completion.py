"""Completion of the commands' options by the shell."""

import argparse
from collections.abc import Iterator
from typing import Any

from musicssl.cli.stdout import answer, print_lines
from musicssl.errors import DependencyError, pick

SHELLS = ("bash", "zsh", "fish")
_FILES = ("FILE", "PAGE", "PATH", "SONG", "CSV", "LIST")
_FOLDERS = ("OUT", "MODEL", "CORPUS", "WHERE")  # or a name, an address


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add ``--print-completion``."""
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        metavar="{" + ",".join(SHELLS) + "}",
        help="print a script for the shell that completes options, and stop",
    )


class _PrintCompletion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **_: Any) -> None:
        shell = args[1]
        parser.exit(answer(parser.prog, lambda: print_lines([completion(parser, shell)])))


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return a script that completes the options of a command, and their values.

    Raises
    ------
    DependencyError
        If shtab, which writes it, is missing.
    """
    pick(dict.fromkeys(SHELLS), shell, "shell")
    try:
        import shtab
    except ImportError:
        raise DependencyError(
            "--print-completion needs shtab: pip install 'musicssl[completion]'"
        ) from None
    for action in _actions(parser):
        value = str(action.metavar)
        if value.startswith("{") and action.choices is None:  # checked by tables, not by argparse
            action.choices = value.strip("{}").split(",")
        elif value in _FILES or ("." in value and "=" not in value):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif _is_folder(action):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a command and of its sub-commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action


def _is_folder(action: argparse.Action) -> bool:
    """Tell whether a value is a folder, as what is a path and not called a file is."""
    path = getattr(action.type, "__name__", "") in ("Path", "_path")
    return path or action.metavar in _FOLDERS or action.dest == "model"
