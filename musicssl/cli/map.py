"""`musicssl map`: a collection as a page."""

import argparse

from musicssl.cli.stdout import DONE
from musicssl.cli.terminal import printable, say
from musicssl.library import load_embeddings
from musicssl.maps import write_map


def make_map(args: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    table = load_embeddings(args.embeddings)
    page = write_map(
        table,
        args.out,
        method=args.method,
        color=args.color,
        metadata=args.metadata,
        title=args.title,
    )
    say(f"musicssl map: {len(table):,} songs are in {printable(str(page))}")
    return DONE
