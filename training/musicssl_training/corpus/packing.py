"""The pack of a corpus."""

from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError
from musicssl_training.corpus.extraction import MUSIC
from musicssl_training.corpus.listing import Row
from musicssl_training.corpus.summary import COLUMNS
from musicssl_training.data import decode_complete, write_pack
from musicssl_training.data.pack import Packed, read_index

PACK = "pack"


def pack_corpus(rows: list[Row], out: Path, sample_rate: int, jobs: int) -> Packed:
    """Pack the recordings of a corpus into ``OUT/pack``, going on with what is there.

    Raises
    ------
    ConfigError
        If the pack that is there holds recordings that are none of the corpus.
    """
    folder = out / PACK
    hashes = {f"{MUSIC}/{row['path']}": row["sha256"] for row in rows}
    strange = [
        item["path"]
        for item in read_index(folder)
        if hashes.get(item["path"]) != item.get("sha256") or item["sample_rate"] != sample_rate
    ]
    if strange:
        raise ConfigError(
            f"{folder} holds {len(strange)} recordings that are not (or no longer) of this corpus, "
            f"such as {strange[0]}: delete the pack, and the same command makes it anew."
        )
    wanted = [
        {column: row[column] for column in COLUMNS if row.get(column)}
        | {"path": f"{MUSIC}/{row['path']}", "seconds": row["seconds"], "sample_rate": sample_rate}
        for row in rows
    ]

    def read(row: Row) -> Any:
        return decode_complete(out / row["path"], sample_rate, row["seconds"]), {}, None

    return write_pack(wanted, folder, read, jobs)
