"""Going on with a pack: only if what it holds is its own, and what is asked for now."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from musicssl.errors import ConfigError, shown
from musicssl.folder.paths import put_aside
from musicssl_training.data.decode import too_short
from musicssl_training.data.recordings import (
    AUDIO,
    AUDIO_HASH,
    INDEX,
    RATE,
    Row,
    file_hash,
    length_of,
    parse_row,
)
from musicssl_training.midi.score import SCORES

log = logging.getLogger(__name__)
LENGTHS = ("seconds", "duration_s")  # how long recordings should be: compared with a tolerance
BEGINNING = b'{"path"'  # of every line of an index, and of scores
FILE = "file"  # of the row of a recording: what its file was
ADVICE = "Write into another folder, or remove this one to make it anew."
NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})
Locate = Callable[[Row], Path]  # where a row's file lies


def check_own(folder: Path, items: Sequence[Row]) -> None:
    """Refuse a folder whose files this program may not have written; nothing of it is changed.

    What a run that was killed before its first whole recording has left is put aside.

    Raises
    ------
    ConfigError
        If the index is none of a pack's, or there are files of a pack without an index.
    """
    index, others = folder / INDEX, [folder / name for name in (AUDIO, SCORES)]
    filled = [file for file in others if file.is_file() and file.stat().st_size]
    if not index.is_file():
        if filled:
            raise ConfigError(
                f"{filled[0]} is there without the index.jsonl of a pack, and is left as it is: it "
                "is somebody else's, or the index was lost. Write into another folder, or remove "
                "it."
            )
        return
    tail = index.read_bytes().rpartition(b"\n")[2]
    row, wrong = parse_row(tail)
    if not is_cut_line(tail) or (row and wrong):
        raise ConfigError(
            f"{index} ends with {shown(tail)}, which is no line of a pack's, and is left as it is. "
            f"{ADVICE}"
        )
    if not items and not tail:
        for file in filled:
            put_aside(file)


def is_cut_line(tail: bytes) -> bool:
    """Tell whether a line without an end may be one of ours that a kill has cut short."""
    return tail[: len(BEGINNING)] == BEGINNING[: len(tail)]


def without_repeats(rows: Iterable[Row]) -> list[Row]:
    """Return every recording once.

    Raises
    ------
    ConfigError
        If rows say different things of one.
    """
    rows = list(rows)
    first: dict[str, Row] = {}
    for row in rows:
        known = first.setdefault(row["path"], row)
        for key in known.keys() | row.keys():
            if known.get(key) != row.get(key):
                raise ConfigError(
                    f"the index names {row['path']} twice, with the {key} "
                    f"{shown(known.get(key))} and {shown(row.get(key))}."
                )
    if again := len(rows) - len(first):
        log.warning("%d rows name a recording once more; each is packed once", again)
    return list(first.values())


def check_lengths(folder: Path, items: Iterable[Row], rows: Iterable[Row]) -> None:
    """Refuse a pack, made before lengths were compared, whose recordings are too short.

    Raises
    ------
    ConfigError
        If one is shorter than its row says.
    """
    wanted = {row["path"]: row["seconds"] for row in rows if row.get("seconds") is not None}
    short = [
        item
        for item in items
        if item["path"] in wanted and too_short(length_of(item), wanted[item["path"]])
    ]
    if short:
        path = short[0]["path"]
        raise ConfigError(
            f"{folder} holds {len(short)} recordings that are shorter than the index says, such as "
            f"{path} ({length_of(short[0]):.1f} of {wanted[path]:.1f} s); "
            "delete the pack and make it again."
        )


def check_asked(
    folder: Path,
    items: Iterable[Row],
    rows: Sequence[Row],
    settings: Mapping[str, Any] = NO_SETTINGS,
    locate: Locate | None = None,
) -> None:
    """Refuse a pack that holds something else than what is asked for.

    Parameters
    ----------
    folder
        The pack's.
    items
        What it holds. Of what older versions did not write down nothing is compared.
    rows
        What is asked for; there may be more than in the pack.
    settings
        How it is to be made.
    locate
        Where the recordings' files are; None if that is not to be looked at.

    Raises
    ------
    ConfigError
        If a recording is in the pack that is in no row, of which its row says something else, that
        was made otherwise, or whose file has changed; names the first.
    """
    asked, columns = {row["path"]: row for row in rows}, {key for row in rows for key in row}
    index = folder / INDEX
    since = index.stat().st_mtime if index.is_file() else 0.0
    count, first = 0, ""
    for item in items:
        row = asked.get(item["path"])
        if row is None:
            why = "it is left out now, or is in the index no more"
        else:
            why = _other_words(item, row, columns) or _other_settings(item, settings)
            if not why and locate is not None and _has_changed(item, locate(row), since):
                why = "its file is another now"
        if why:
            count, first = count + 1, first or f"{item['path']} ({why})"
    if count:
        raise ConfigError(
            f"{folder} holds {count:,} recordings that are not what is asked for, such as {first}. "
            f"{ADVICE}"
        )


def of_file(file: Path) -> Row:
    """Return what tells later whether a recording's file is still the same."""
    return {"bytes": file.stat().st_size, "sha256": file_hash(file)}


def _other_words(item: Row, row: Row, columns: Iterable[str]) -> str:
    """Return what a row says otherwise than the pack does, or nothing."""
    for key in sorted(columns):
        there, now = (None if (v := one.get(key)) == "" else v for one in (item, row))
        if there == now or key in LENGTHS or (there is None and AUDIO_HASH not in item):
            continue  # an older version kept fewer columns
        return f"its {key} is {shown(there)} in the pack, {shown(now)} in the index"
    return ""


def _other_settings(item: Row, settings: Mapping[str, Any]) -> str:
    """Return how a recording was made otherwise than it would be now, or nothing."""
    for key, now in settings.items():
        there = item.get(key, RATE if key == "sample_rate" else None)
        if there is None or there == now:
            continue
        if isinstance(there, dict) and isinstance(now, dict):
            return _other_settings(there, now) or f"made with other {key}"
        return f"made with {key} {shown(there)}, asked for is {shown(now)}"
    return ""


def _has_changed(item: Row, file: Path, since: float) -> bool:
    """Tell whether a file is another than it was; of one that is gone nothing is known.

    Its content is read only if it is newer than the pack, `since` in seconds.
    """
    said = item.get(FILE)
    if not isinstance(said, dict):
        return False
    try:
        state = file.stat()
        if state.st_size != said.get("bytes"):
            return True
        return state.st_mtime > since and file_hash(file) != said.get("sha256")
    except OSError:
        return False
