"""`musicssl map`: a collection as a page."""

import argparse
import sys
from pathlib import Path
from typing import Any

from musicssl.cli.stdout import DONE, to_stdout
from musicssl.cli.terminal import printable, say
from musicssl.library import load_embeddings
from musicssl.maps import write_map
from musicssl.maps.page import map_page


def make_map(args: argparse.Namespace) -> int:
    """Write the page and say where it is; as "-", print it, with links from the current folder."""
    table = load_embeddings(args.embeddings)
    choices: dict[str, Any] = {
        "method": args.method,
        "color": args.color,
        "metadata": args.metadata,
        "title": args.title,
    }
    if args.out == Path("-"):
        _print(map_page(table, Path("map.html"), **choices))
        return DONE
    page = write_map(table, args.out, **choices)
    say(f"musicssl map: {len(table):,} songs are in {printable(str(page))}")
    return DONE


def _print(text: str) -> None:
    """Print a page in UTF-8, as it says that it is."""
    with to_stdout():
        if sys.stdout is None:
            return
        sys.stdout.flush()
        if (buffer := getattr(sys.stdout, "buffer", None)) is None:
            sys.stdout.write(text)
        else:
            buffer.write(text.encode("utf-8"))
        sys.stdout.flush()
