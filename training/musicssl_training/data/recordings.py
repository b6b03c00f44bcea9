"""The index of a pack: its rows, and whether the audio beside it holds what they say."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError, shown

INDEX, AUDIO = "index.jsonl", "audio.i16"
RATE = 22_050  # Hz, of packs that do not say
SHORT = 16  # hexadecimal digits
AUDIO_HASH = "audio_hash"  # of a recording's samples; packs of older versions have none
Row = dict[str, Any]  # path, source, licence and whatever else is known of a recording


def read_index(folder: Path) -> list[Row]:
    """Return the whole lines of a pack's index; a last one that was cut short is left out.

    Raises
    ------
    ConfigError
        If a line is none of a pack's.
    """
    index = folder / INDEX
    if not index.is_file():
        return []
    *lines, _ = index.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        row, wrong = parse_row(line)
        if wrong:
            raise ConfigError(
                f"{index}, line {number}, holds what no pack does ({wrong}). If it is a pack's, it "
                "is damaged: remove the pack and make it again."
            )
        rows.append(row)
    return rows


def parse_row(line: bytes) -> tuple[Row, str]:
    """Return a line of an index as a row, and what is wrong with it, or nothing."""
    try:
        row = json.loads(line)
    except ValueError:
        return {}, f"{shown(line)} is no JSON"
    if not isinstance(row, dict):
        return {}, f"{shown(row)} is no row"
    for key in ("path", "source", "licence"):
        if not isinstance(row.get(key, "" if key != "path" else None), str):
            return row, f"{key} is {shown(row.get(key))}"
    for key, least in (("start", 0), ("samples", 0), ("sample_rate", 1)):
        value = row.get(key, least if key == "sample_rate" else None)
        if type(value) is not int or value < least:
            return row, f"{key} is {shown(value)}"
    return row, ""


def check_audio(folder: Path, items: Sequence[Row]) -> int:
    """Return the samples that the items need.

    Raises
    ------
    ConfigError
        If audio.i16 holds fewer.
    """
    needed = max((item["start"] + item["samples"] for item in items), default=0)
    file = folder / AUDIO
    there = file.stat().st_size // 2 if file.is_file() else 0
    if there < needed:
        raise ConfigError(
            f"{file} holds {there:,} samples, its index.jsonl says {needed:,}: "
            "copied in part? Delete the pack and make it again."
        )
    return int(needed)


def length_of(item: Mapping[str, Any]) -> float:
    """Return the seconds of a recording in a pack."""
    return float(item["samples"] / item.get("sample_rate", RATE))


def short_hash(data: bytes) -> str:
    """Return what tells recordings apart: 16 digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:SHORT]


def file_hash(file: Path) -> str:
    """Return `short_hash` of a file's content, which need not fit into memory."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()[:SHORT]
