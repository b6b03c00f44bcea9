"""The sub-command `musicssl-train overlap`."""

import argparse

from musicssl_training.cli.evaluate import add_data, find_roots


def add_overlap(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    parser.add_argument("corpora", nargs="+", metavar="CORPUS", help="packs, or with a manifest")
    add_data(parser)


def run_overlap(args: argparse.Namespace) -> None:
    """Check that a corpus holds no labelled music."""
    from musicssl_training.evaluation.leakage.check import check_overlap

    print(check_overlap(args.corpora, find_roots(args)))
