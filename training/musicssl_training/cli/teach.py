"""The sub-command `musicssl-train teach`."""

import argparse
import sys
from pathlib import Path

from musicssl_training.cli.arguments import count


def add_teach(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add = parser.add_argument
    add("packs", nargs="+", type=Path, metavar="PACK", help="of pack or render")
    add(
        "--teacher",
        required=True,
        metavar="NAME",
        help="or musicssl:MODEL, efficientat:FILE, or MODULE:FUNCTION that returns one",
    )
    add("--jobs", type=count, default=1, help="recordings at a time (default: %(default)s)")


def run_teach(args: argparse.Namespace) -> None:
    """Ask a teacher about packs, with one thread of torch a job."""
    from musicssl.inference.crew import one_thread
    from musicssl_training.teachers import load_teacher
    from musicssl_training.teachers.teach import teach

    with one_thread():
        teacher = load_teacher(args.teacher)
        for pack in args.packs:
            rows = teach(pack, teacher, args.jobs)
            print(f"{pack}: {rows:,} rows of {teacher.facts.name}", file=sys.stderr)
