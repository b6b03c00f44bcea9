"""The sub-command `musicssl-train release`."""

import argparse
import sys
from pathlib import Path

from musicssl_training.toml_file import read_toml


def add_release(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN")
    add("out", type=Path, metavar="OUT", help="its name is the model's")
    add("--about", type=Path, required=True, metavar="ABOUT.toml", help="what the card says")
    add("--push-to-hub", metavar="OWNER/NAME", help="upload it as well")


def run_release(args: argparse.Namespace) -> None:
    """Make a checkpoint folder of a run."""
    print(f"{args.folder}: making a model of it", file=sys.stderr, flush=True)  # then torch loads
    from musicssl.checkpoint.hub import push_folder
    from musicssl.config import from_dict
    from musicssl_training.progress import Progress
    from musicssl_training.release.export import STATISTICS_BATCHES, ReleaseConfig, release

    config = from_dict(ReleaseConfig, read_toml(args.about), "about")
    with Progress(STATISTICS_BATCHES, "batches", "hearing music") as shown:
        release(args.folder, args.out, config, repository=args.push_to_hub, show=shown.update)
    print(f"{args.out}: written, with its model card", file=sys.stderr)
    if args.push_to_hub:
        print(push_folder(args.out, args.push_to_hub))
