"""The sub-command `musicssl-train exercises`."""

import argparse
import sys
from pathlib import Path

from musicssl_training.cli.arguments import count


def add_exercises(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add = parser.add_argument
    add("out", type=Path, metavar="FOLDER")
    add("--count", type=count, default=1000, help="how many (default: %(default)s)")
    add("--seed", type=int, default=0)


def run_exercises(args: argparse.Namespace) -> None:
    """Write synthetic scores to render."""
    from musicssl_training.midi.synthetic import write_exercises

    write_exercises(args.out, args.count, args.seed)
    print(f"{args.out / 'index.csv'}: {args.count} scores", file=sys.stderr)
