"""The sub-command `musicssl-train render`."""

import argparse
from typing import Any

from musicssl_training.cli.arguments import add_index
from musicssl_training.cli.pack import COLUMNS, chosen_rows, write

FONTS = [
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/TimGM6mb.sf2",
]


def add_render(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add_index(parser)
    add = parser.add_argument
    add("--version-of", type=int, default=0, metavar="N", help="another N, other versions")
    add("--font", action="append", help="sound font; may be repeated (default: FluidR3, TimGM6mb)")


def run_render(args: argparse.Namespace) -> None:
    """Render MIDI files into a pack."""
    from musicssl_training.midi.render import render

    root, fonts = args.root or args.index.parent, args.font or FONTS

    def read(row: dict[str, Any]) -> Any:
        seed = f"{args.version_of}/{row['path']}"
        return render(root / row["path"], fonts, args.sample_rate, seed, row)

    write(args, chosen_rows(args, COLUMNS), read)
