"""The pack of a corpus."""

from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError
from musicssl_training.corpus.extraction import MUSIC
from musicssl_training.corpus.listing import Row
from musicssl_training.corpus.summary import COLUMNS
from musicssl_training.data import decode_complete, write_pack
from musicssl_training.data.pack import Packed, read_index
from musicssl_training.midi.activity import ACTIVITY

PACK = "pack"


def pack_corpus(rows: list[Row], out: Path, sample_rate: int, jobs: int) -> Packed:
    """Pack the recordings of a corpus into ``OUT/pack``, going on with what is there.

    Raises
    ------
    ConfigError
        If the pack that is there holds recordings that are none of the corpus.
    """
    folder = out / PACK
    known = ("sha256", "sample_rate", ACTIVITY)  # what is to be the same
    wanted = [_item(row, sample_rate) for row in rows]
    by_path = {item["path"]: [item.get(key) for key in known] for item in wanted}
    strange = [
        item["path"]
        for item in read_index(folder)
        if by_path.get(item["path"]) != [item.get(key) for key in known]
    ]
    if strange:
        raise ConfigError(
            f"{folder} holds {len(strange)} recordings that are not (or no longer) of this corpus, "
            f"such as {strange[0]}: delete the pack, and the same command makes it anew."
        )

    def read(row: Row) -> Any:
        return decode_complete(out / row["path"], sample_rate, row["seconds"]), {}, None

    return write_pack(wanted, folder, read, jobs)


def _item(row: Row, sample_rate: int) -> Row:
    """Return what the pack's index is to say of a recording."""
    said = {column: row[column] for column in (*COLUMNS, ACTIVITY) if row.get(column)}
    path = f"{MUSIC}/{row['path']}"
    return said | {"path": path, "seconds": row["seconds"], "sample_rate": sample_rate}
