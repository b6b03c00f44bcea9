"""`musicssl dups`: the same recording in other encodings."""

import argparse
import json
import os
import sys

from musicssl.cli.stdout import DONE, print_lines, to_stdout
from musicssl.cli.terminal import printable, say
from musicssl.library import EmbeddingTable, load_embeddings
from musicssl.search.duplicates import (
    DISTANCE,
    SECONDS,
    Duplicate,
    find_duplicates,
    is_silent,
)

Groups = list[list[Duplicate]]


def duplicates(args: argparse.Namespace) -> int:
    """Print groups of files that are one recording."""
    table = load_embeddings(args.embeddings)
    groups = find_duplicates(
        table,
        distance=DISTANCE if args.distance is None else args.distance,
        seconds=SECONDS if args.seconds is None else args.seconds,
    )
    if args.json:
        return print_lines([json.dumps([_described(group, table) for group in groups], indent=2)])
    if args.null:
        return _print_with_nuls(groups, table)
    if silent := int(is_silent(table).sum()):
        what = "1 file is" if silent == 1 else f"{silent:,} files are"
        say(f"musicssl dups: {what} silent; of such, only identical ones are told")
    if not groups:
        say(f"musicssl dups: no recording is there twice among {len(table):,} files")
        return DONE
    lines = []
    for group in groups:
        lines += [_line(one, table) for one in group] + [""]
    code = print_lines(lines[:-1])
    files = sum(len(group) for group in groups)
    recordings = "1 recording" if len(groups) == 1 else f"{len(groups):,} recordings"
    say(f"musicssl dups: {files:,} of {len(table):,} files are {recordings}")
    return code


def _line(one: Duplicate, table: EmbeddingTable) -> str:
    what = "identical" if one.identical else f"{one.distance:.3f}"
    length = table.columns["duration"][one.row]
    size = table.columns["size"][one.row]
    facts = f"{what:>9}  {length or 0:7.1f} s  {(size or 0) / 1e6:7.2f} MB"
    return f"{facts}  {printable(table.paths[one.row])}"


def _described(group: list[Duplicate], table: EmbeddingTable) -> list[dict[str, object]]:
    return [
        {
            "name": table.sources[one.row],
            "path": table.paths[one.row],
            "distance": one.distance,
            "identical": one.identical,
            "duration": table.columns["duration"][one.row],
            "size": table.columns["size"][one.row],
        }
        for one in group
    ]


def _print_with_nuls(groups: Groups, table: EmbeddingTable) -> int:
    """Print paths as the bytes that they are, each with a NUL, and one more after each group."""
    data = b"".join(
        b"".join(os.fsencode(table.paths[one.row]) + b"\0" for one in group) + b"\0"
        for group in groups
    )
    with to_stdout():
        if (buffer := getattr(sys.stdout, "buffer", None)) is not None:
            buffer.write(data)
            buffer.flush()
    return DONE
