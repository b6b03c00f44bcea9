"""The sub-command `musicssl-train corpus`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from musicssl.errors import ConfigError
from musicssl_training.cli.arguments import SAMPLE_RATE, add_jobs, add_leave_out
from musicssl_training.cli.evaluate import add_data, find_roots
from musicssl_training.pairs import split_pair

if TYPE_CHECKING:
    from musicssl_training.corpus import BuildConfig, Recipe, Summary

INCOMPLETE = 1  # exit code where something could not be had or used


def add_corpus(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add = parser.add_argument
    add("recipe", type=Path, metavar="FILE.toml", help="lists the sources, see docs/corpus.md")
    add("out", type=Path, metavar="OUT", help="folder to write; goes on with what is there")
    add("--debs", type=Path, metavar="DIR", help="folder of .deb files to look into first")
    add("--mirror", type=Path, metavar="DIR", help="folder of git repositories, the same")
    add(
        "--folder",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="where a folder source is; may be repeated",
    )
    add("--link", action="store_true", help="hard links in place of copies of their files")
    add("--offline", action="store_true", help="download nothing")
    add("--only", action="append", default=[], metavar="NAME", help="this source; may be repeated")
    add_leave_out(parser)
    add_data(parser)
    add("--sample-rate", type=int, default=SAMPLE_RATE, help="Hz, of the pack")
    add("--no-pack", action="store_true", help="end with the index")
    add_jobs(parser)
    add("--dry-run", action="store_true", help="say what would be had; write nothing")
    add("--write-lock", action="store_true", help="write hashes and lengths beside the recipe")


def run_corpus(args: argparse.Namespace) -> int:
    """Build a corpus; return 1 where something could not be had or used."""
    from musicssl_training.corpus import build_corpus, read_recipe
    from musicssl_training.corpus.dry import dry_run

    recipe = read_recipe(args.recipe)
    config = _config(args)
    if args.dry_run:
        print(dry_run(recipe, config))
        return 0
    summary = build_corpus(recipe, args.out, config)
    return _report(recipe, summary, args.out)


def _config(args: argparse.Namespace) -> "BuildConfig":
    from musicssl_training.corpus import BuildConfig, Places

    pairs = (split_pair(text, "--folder", "NAME=DIR") for text in args.folder)
    folders = {name: Path(folder) for name, folder in pairs}
    for name in ("debs", "mirror"):
        place = getattr(args, name)
        if place is not None and not place.is_dir():
            raise ConfigError(f"--{name} {place} is not a folder.")
    return BuildConfig(
        Places(
            args.recipe.parent,
            args.debs,
            args.mirror,
            folders,
            network=not args.offline,
            link=args.link,
        ),
        tuple(args.only),
        tuple(args.leave_out),
        find_roots(args) if args.data or args.at else {},
        None if args.no_pack else args.sample_rate,
        args.jobs,
        args.write_lock,
    )


def _report(recipe: "Recipe", summary: "Summary", out: Path) -> int:
    from musicssl_training.corpus.tables import table

    for column in ("source", "licence"):
        hours = summary.hours(column)
        print(table((column, "hours"), [(name, f"{h:.2f}") for name, h in hours.items()]) + "\n")
    total = sum(row["seconds"] for row in summary.rows) / 3600
    print(f"{out}: {len(summary.rows)} recordings, {total:.2f} h", file=sys.stderr)
    if summary.left_out:
        print(f"left out: {len(summary.left_out)}, see left-out.csv", file=sys.stderr)
    if summary.packed is not None:
        print(f"{out / 'pack'}: {summary.packed}", file=sys.stderr)
    for source, path, reason in summary.missing:
        print(f"not had: {source}{path and ': '}{path}: {reason}", file=sys.stderr)
    return 0 if summary.complete else INCOMPLETE
