"""The lock file beside a recipe: what each recording was when it was written."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicssl.atomic import atomic_write_text
from musicssl.errors import ConfigError, nearest, shown

DIGEST = re.compile(r"[0-9a-f]{64}")
FIELDS = ("source", "path", "sha256", "seconds", "size")
ANEW = "Mend it, or delete the file: --write-lock makes it anew."


@dataclass(frozen=True)
class Locked:
    """A recording as it was when the lock file was written."""

    sha256: str
    seconds: float
    size: int  # bytes


Lock = dict[tuple[str, str], Locked]  # by source and path


def read_lock(file: Path, names: list[str]) -> Lock:
    """Read a lock file; none is an empty one.

    Parameters
    ----------
    file
        Of JSON lines.
    names
        Of the recipe's sources.

    Raises
    ------
    ConfigError
        If it cannot be read, a line is not as it must be, or two lines contradict each other.
    """
    if not file.is_file():
        return {}
    lock: Lock = {}
    lines: dict[tuple[str, str], int] = {}
    try:
        texts = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{file} is no lock file ({error}). {ANEW}") from error
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            key, facts = _read_line(text)
        except ValueError as error:
            raise ConfigError(f"{file} is no lock file (line {number}: {error}). {ANEW}") from error
        source, path = key
        if source not in names:
            raise ConfigError(
                f"{file}, line {number}: the recipe has no source {shown(source)}."
                f"{nearest(source[:100], names)}"
            )
        if lock.setdefault(key, facts) != facts:
            raise ConfigError(
                f"{file}: lines {lines[key]} and {number} contradict each other about {path} of "
                f"{source}. {ANEW}"
            )
        lines[key] = number
    return lock


def _read_line(text: str) -> tuple[tuple[str, str], Locked]:
    """Return what a line says.

    Raises
    ------
    ValueError
        If it is not as it must be.
    """
    row = json.loads(text)
    if not isinstance(row, dict):
        raise ValueError(f"not an object, but {shown(row)}")
    if missing := [name for name in FIELDS if name not in row]:
        raise ValueError(f"no {missing[0]}")
    source, path, sha256, seconds, size = (row[name] for name in FIELDS)
    for name in FIELDS[:3]:
        if not isinstance(row[name], str):
            raise ValueError(f"{name} must be text, got {shown(row[name])}")
    if not DIGEST.fullmatch(sha256.lower()):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, got {shown(sha256)}")
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be a number from 0 on, got {shown(seconds)}")
    if type(size) is not int or size < 0:
        raise ValueError(f"size must be a number of bytes, got {shown(size)}")
    return (source, path), Locked(sha256.lower(), float(seconds), size)


def write_lock(file: Path, lock: Lock, rows: Iterable[dict[str, Any]]) -> int:
    """Write what is known of recordings over what was; return how many there are then.

    What the lock says of other recordings stays.
    """
    lines = {key: _line(*key, facts) for key, facts in lock.items()}
    for row in rows:
        facts = Locked(row["sha256"], row["seconds"], row["size"])
        lines[row["source"], row["path"]] = _line(row["source"], row["path"], facts)
    texts = [json.dumps(lines[key], ensure_ascii=False) for key in sorted(lines)]
    atomic_write_text(file, "".join(f"{text}\n" for text in texts))
    return len(lines)


def _line(source: str, path: str, facts: Locked) -> dict[str, Any]:
    return {
        "source": source,
        "path": path,
        "sha256": facts.sha256,
        "seconds": round(facts.seconds, 3),
        "size": facts.size,
    }
