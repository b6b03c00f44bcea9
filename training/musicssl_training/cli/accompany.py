"""The sub-command `musicssl-train accompany`."""

import argparse
import sys
from pathlib import Path

from musicssl_training.cli.arguments import count


def add_accompany(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add = parser.add_argument
    add("out", type=Path, metavar="FOLDER")
    add("--count", type=count, default=600, help="how many (default: %(default)s)")
    add("--seed", type=int, default=0)


def run_accompany(args: argparse.Namespace) -> None:
    """Write band accompaniments to render."""
    from musicssl_training.midi.accompaniment import write_accompaniments

    made = write_accompaniments(args.out, args.count, args.seed)
    styles = ", ".join(f"{style} {number}" for style, number in made.items() if number)
    print(f"{args.out / 'index.csv'}: {args.count} scores ({styles})", file=sys.stderr)
