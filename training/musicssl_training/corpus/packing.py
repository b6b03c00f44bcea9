"""The pack of a corpus."""

from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError
from musicssl_training.corpus.extraction import MUSIC
from musicssl_training.corpus.listing import Row
from musicssl_training.corpus.summary import COLUMNS
from musicssl_training.data import decode_complete, write_pack
from musicssl_training.data.packed import Packed
from musicssl_training.data.recordings import read_index
from musicssl_training.midi.activity import ACTIVITY

PACK = "pack"
# what a pack says of a recording as the corpus does
SAME = ("sha256", "licence", "source", "evidence", "artist", "title", "sample_rate", ACTIVITY)
ANEW = "delete the pack, and the same command makes it anew."
LONG = ("sha256", ACTIVITY)  # of these, values are not shown


def pack_corpus(rows: list[Row], out: Path, sample_rate: int, jobs: int) -> Packed:
    """Pack the recordings of a corpus into ``OUT/pack``, going on with what `check_pack` allows."""

    def read(row: Row) -> Any:
        return decode_complete(out / row["path"], sample_rate, row["seconds"]), {}, None

    return write_pack([_item(row, sample_rate) for row in rows], out / PACK, read, jobs)


def check_pack(rows: list[Row], out: Path, sample_rate: int) -> None:
    """Make sure that a pack that is there is of this corpus and says the same of its recordings.

    Raises
    ------
    ConfigError
        If it does not; the message says in what they differ.
    """
    folder = out / PACK
    wanted = {item["path"]: item for item in (_item(row, sample_rate) for row in rows)}
    there = read_index(folder)
    gone = [item["path"] for item in there if item["path"] not in wanted]
    if gone:
        raise ConfigError(
            f"{folder} holds {len(gone)} recordings that are not (or no longer) of this corpus, "
            f"such as {gone[0]}: {ANEW}"
        )
    pairs = [(item, wanted[item["path"]]) for item in there]
    differing = {item["path"]: said for item, row in pairs if (said := _difference(item, row))}
    if differing:
        path, said = next(iter(differing.items()))
        raise ConfigError(
            f"{folder} differs from the recipe in what it says of {len(differing)} recordings, "
            f"such as {path} ({said}): {ANEW}"
        )


def _difference(item: Row, row: Row) -> str:
    """Return in what a pack says otherwise of a recording than the corpus, or nothing."""
    keys = [key for key in SAME if item.get(key) != row.get(key)]
    return "; ".join(
        f"another {key}" if key in LONG else f"{key} {item.get(key)!r}, now {row.get(key)!r}"
        for key in keys
    )


def _item(row: Row, sample_rate: int) -> Row:
    """Return what the pack's index is to say of a recording."""
    said = {column: row[column] for column in (*COLUMNS, ACTIVITY) if row.get(column)}
    path = f"{MUSIC}/{row['path']}"
    return said | {"path": path, "seconds": row["seconds"], "sample_rate": sample_rate}
