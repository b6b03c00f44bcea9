"""`musicssl page`: a page that finds the songs like a song in the browser."""

import argparse

from musicssl.browser import write_page
from musicssl.cli.stdout import DONE
from musicssl.cli.terminal import printable, say
from musicssl.library import load_embeddings


def make_page(args: argparse.Namespace) -> int:
    """Write the page and say how to open it."""
    table = load_embeddings(args.embeddings)
    page = write_page(
        table,
        args.out,
        model=args.model,
        title=args.title,
        runtime=args.runtime,
        on_start=lambda: say("musicssl page: writing the model; this may take a minute"),
    )
    say(
        f"musicssl page: {len(table):,} songs are in {printable(str(page))}; browsers open it from "
        "a web server: python -m http.server"
    )
    return DONE
