"""The sub-command `musicssl-train plot`."""

import argparse
from pathlib import Path


def add_plot(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("folder", type=Path, metavar="RUN")


def run_plot(args: argparse.Namespace) -> None:
    """Draw a run's curves, and print where the pictures are."""
    from musicssl_training.train.plots import draw

    for picture in draw(args.folder):
        print(picture)
