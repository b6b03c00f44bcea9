"""The sub-command `musicssl-train render`."""

import argparse
from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError
from musicssl_training.cli.arguments import add_index, chance
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
    add(
        "--instruments",
        type=Path,
        metavar="FILE.toml",
        help="sampled instruments (SFZ) that play their parts by chance, the font the others",
    )
    add(
        "--instruments-root",
        type=Path,
        metavar="FOLDER",
        help="where the paths in it start (default: its folder)",
    )
    add(
        "--amplifier",
        type=chance,
        default=0.0,
        metavar="CHANCE",
        help="that an overdriven or distorted guitar is a clean one through an amplifier; a third "
        "as often, a clean or muted one is too (default: %(default)s)",
    )


def run_render(args: argparse.Namespace) -> None:
    """Render MIDI files into a pack."""
    from musicssl_training.data.recordings import file_hash
    from musicssl_training.midi.ensemble import Sound
    from musicssl_training.midi.instruments import Instruments, read_instruments
    from musicssl_training.midi.render import check_fonts, render

    if args.instruments_root and not args.instruments:
        raise ConfigError("--instruments-root says where the paths of --instruments start.")
    instruments = (
        read_instruments(args.instruments, args.instruments_root)
        if args.instruments
        else Instruments()
    )
    sound = Sound(instruments, args.amplifier)
    root, fonts = args.root or args.index.parent, args.font or FONTS
    hashes = check_fonts(fonts)

    def read(row: dict[str, Any]) -> Any:
        seed = f"{args.version_of}/{row['path']}"
        return render(root / row["path"], fonts, args.sample_rate, seed, row, sound)

    settings = {
        "version_of": args.version_of,
        "fonts": [f"{Path(font).name} {hashes[font]}" for font in fonts],
        "instruments": file_hash(args.instruments) if args.instruments else "",
        "amplifier": args.amplifier,
    }
    write(args, chosen_rows(args, COLUMNS), read, {"rendering": settings})
