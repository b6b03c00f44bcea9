"""The sub-command `musicssl-train manifest`."""

import argparse
import sys
from pathlib import Path

from musicssl_training.cli.arguments import add_jobs, add_leave_out


def add_manifest(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="any audio, in sub-folders too")
    add("--out", type=Path, metavar="FILE", help="default: FOLDER/manifest.jsonl")
    add("--index", type=Path, metavar="INDEX.csv", help="columns path, source, licence, group")
    add_leave_out(parser)
    add_jobs(parser)


def run_manifest(args: argparse.Namespace) -> None:
    """Write down what audio files a folder holds."""
    from musicssl_training.data.folder import write_manifest

    found = write_manifest(args.folder, args.out, args.index, args.jobs, args.leave_out)
    print(
        f"{found.files} files, {found.hours:.2f} h; left out: {found.broken} that cannot be read, "
        f"{found.duplicates} duplicates",
        file=sys.stderr,
    )
