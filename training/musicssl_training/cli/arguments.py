"""Arguments that several sub-commands share."""

import argparse
from pathlib import Path

LEAVE_OUT = "skip the rows that match, such as licence='*GPL*'; may be repeated"
SAMPLE_RATE = 22_050  # Hz, of the default front end


def count(text: str) -> int:
    """Read a number from 1 on."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def chance(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def add_leave_out(parser: argparse.ArgumentParser) -> None:
    """Add ``--leave-out``."""
    parser.add_argument(
        "--leave-out", action="append", default=[], metavar="COLUMN=PATTERN", help=LEAVE_OUT
    )


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add ``--jobs``."""
    parser.add_argument(
        "--jobs", type=count, default=1, help="files at a time (default: %(default)s)"
    )


def add_index(parser: argparse.ArgumentParser) -> None:
    """Add what is read and written where a pack is made from an index."""
    add = parser.add_argument
    add("index", type=Path, metavar="INDEX.csv", help="columns path, source, licence, ...")
    add("out", type=Path, metavar="PACK", help="folder to write; goes on with what is there")
    add("--root", type=Path, help="where the paths start (default: the index's folder)")
    add_leave_out(parser)
    add("--sample-rate", type=int, default=SAMPLE_RATE, help="Hz (default: %(default)s)")
    add_jobs(parser)
