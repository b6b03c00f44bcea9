"""The sub-command `musicssl-train pack`."""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from musicssl.errors import ConfigError
from musicssl_training.cli.arguments import add_index

if TYPE_CHECKING:
    from pathlib import Path

    from musicssl_training.data import Read

COLUMNS = (  # of an index; the first three must be there
    "path",
    "source",
    "licence",
    "group",
    "evidence",
    "artist",
    "title",
    "sha256",
    "key_signature",
    "key_mode_reliable",
    "key_source_label",
    "tempo_source",
    "downbeat_source",
    "program_source",
    "style",
)
SECONDS = ("seconds", "duration_s")  # columns that may say how long recordings are


def add_pack(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add_index(parser)


def run_pack(args: argparse.Namespace) -> None:
    """Decode recordings into a pack."""
    from musicssl_training.data import decode_complete

    root = args.root or args.index.parent
    rows = chosen_rows(args, (*COLUMNS, *SECONDS))

    def read(row: dict[str, Any]) -> Any:
        audio = decode_complete(root / row["path"], args.sample_rate, row.get("seconds"))
        return audio, {}, None

    write(args, [with_seconds(row, args.index) for row in rows], read, {})


def with_seconds(row: dict[str, Any], index: "Path") -> dict[str, Any]:
    """Return a row whose length, where it has one, is a number under ``seconds``.

    Raises
    ------
    ConfigError
        If it is no number from 0 on.
    """
    out = {key: value for key, value in row.items() if key not in SECONDS}
    for column in SECONDS:
        if text := row.get(column, "").strip():
            try:
                out["seconds"] = float(text)
            except ValueError:
                out["seconds"] = math.nan
            if not 0 <= out["seconds"] < math.inf:
                raise ConfigError(f"{index}: {row['path']} has {column} {text!r}; not a length.")
            break
    return out


def write(
    args: argparse.Namespace,
    rows: list[dict[str, Any]],
    read: "Read",
    settings: Mapping[str, Any],
) -> None:
    """Write a pack of rows of the index, which then name the sample rate and other settings.

    Raises
    ------
    ConfigError
        If not one of the files could be read.
    """
    from musicssl_training.data import write_pack

    root = args.root or args.index.parent
    packed = write_pack(
        rows,
        args.out,
        read,
        args.jobs,
        settings={"sample_rate": args.sample_rate, **settings},
        locate=lambda row: root / row["path"],
    )
    if not packed.recordings:
        raise ConfigError("not one of the files could be read; see above.")
    print(f"{args.out}: {packed}", file=sys.stderr)


def chosen_rows(args: argparse.Namespace, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return some columns of the rows of the index that are to be read; empty rows are not.

    Raises
    ------
    ConfigError
        If none is left, or one has no path.
    """
    from musicssl_training.data.index import leave_out, read_rows

    rows = [row for row in read_rows(args.index, COLUMNS[:3]) if any(row.values())]
    for number, row in enumerate(rows, 1):
        if not row["path"].strip():
            raise ConfigError(f"{args.index}: row {number} below the names has no path.")
    kept = leave_out(rows, args.leave_out)
    if not kept:
        raise ConfigError(f"{args.index}: no row is left.")
    return [{key: row[key] for key in columns if key in row} for row in kept]
