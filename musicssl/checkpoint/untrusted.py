"""A checkpoint's files, checked before anything that they announce is believed."""

import json
import math
import os
import stat
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from musicssl.errors import shown

JSON_LIMIT = 1_000_000  # bytes of config.json, and of the header of a safetensors file
ITEM_SIZES = {"F32": 4, "F16": 2, "BF16": 2}  # bytes of the numbers that weights may be
BINARY = getattr(os, "O_BINARY", 0)  # Windows
NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # for a pipe's writer


class DamageError(ValueError):
    """Damage of a file, in words that would follow its name in a sentence."""


@dataclass(frozen=True)
class TensorEntry:
    """Place of a tensor in a safetensors file."""

    name: str
    dtype: str  # one of ITEM_SIZES, if musicssl can use it
    shape: tuple[int, ...]
    begin: int  # byte, counted from the header's end
    end: int


def printable(text: object) -> str:
    """Return a name as it is, or quoted where it would break or color the line."""
    return str(text) if str(text).isprintable() else shown(str(text))


def open_file(path: Path) -> BufferedReader:
    """Open a file to read, but no folder, pipe or device: those may never answer, or never end.

    Raises
    ------
    OSError
        If it is none, or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | NO_WAITING | BINARY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{printable(path.name)} is not a file")
    return os.fdopen(descriptor, "rb")


def read_json(path: Path) -> Any:
    """Return what a small JSON file says, strictly.

    Raises
    ------
    DamageError
        If it is too large, or anything but JSON.
    OSError
        If it cannot be read.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > JSON_LIMIT:
            raise DamageError(f"takes {size:,} bytes; {JSON_LIMIT:,} are allowed")
        return parse_json(file.read(JSON_LIMIT))


def parse_json(data: bytes) -> Any:
    """Return what JSON says, strictly: UTF-8, no key twice, no NaN.

    Raises
    ------
    DamageError
        If it is anything else.
    """
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_no_key_twice, parse_constant=_no_constant
        )
    except RecursionError:
        raise DamageError("is nested too deeply") from None
    except ValueError as error:  # also where it is not UTF-8
        raise DamageError(f"is not JSON: {error}") from error


def read_header(file: BufferedReader) -> list[TensorEntry]:
    """Return the tensors of an open safetensors file, in their order there.

    The file then stands at the first of them; they cover the rest, without gaps or overlaps.

    Raises
    ------
    DamageError
        If that is not so.
    """
    total = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if start == b"version ":
        raise DamageError("is a pointer of Git LFS, not the weights; `git lfs pull` fetches them")
    if start.lstrip()[:1] == b"<":
        raise DamageError("is a web page, not the weights")
    length = int.from_bytes(start, "little")
    if total < 8 or length > total - 8:
        raise DamageError(f"has a header of {length:,} bytes, but {total:,} in all")
    if length > JSON_LIMIT:
        raise DamageError(f"has a header of {length:,} bytes; {JSON_LIMIT:,} are allowed")
    try:
        values = parse_json(file.read(length))
    except DamageError as damage:
        raise DamageError(f"has a header that {damage}") from damage
    if not isinstance(values, dict):
        raise DamageError(f"has a header that is no mapping but {shown(values)}")
    entries = [_read_entry(name, x) for name, x in values.items() if name != "__metadata__"]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    at = 0
    for entry in entries:
        if entry.begin != at:
            raise DamageError(f"has {shown(entry.name)} at byte {entry.begin:,}, not at {at:,}")
        at = entry.end
    if at != total - 8 - length:
        raise DamageError(f"has {total - 8 - length:,} bytes for tensors that take {at:,}")
    return entries


def _read_entry(name: str, value: Any) -> TensorEntry:
    """Check one tensor's entry by itself."""
    keys = ("dtype", "shape", "data_offsets")
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise DamageError(f"tells of {shown(name)} {shown(value)} instead of {', '.join(keys)}")
    dtype, shape, offsets = (value[key] for key in keys)
    if not isinstance(dtype, str) or not _are_sizes(shape) or not _are_sizes(offsets):
        raise DamageError(f"tells of {shown(name)} the impossible {shown(value)}")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise DamageError(f"has {shown(name)} at the impossible offsets {shown(offsets)}")
    size = math.prod(shape) * ITEM_SIZES.get(dtype, 0)
    if dtype in ITEM_SIZES and offsets[1] - offsets[0] != size:
        raise DamageError(
            f"has {shown(name)} in {offsets[1] - offsets[0]:,} bytes, which takes {size:,}"
        )
    return TensorEntry(name, dtype, tuple(shape), *offsets)


def _are_sizes(value: Any) -> bool:
    """Tell whether a value is a short list of numbers of a file's size or less."""
    return (
        isinstance(value, list)
        and len(value) <= 8
        and all(type(n) is int and 0 <= n < 2**48 for n in value)
    )


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {shown(key)} occurs twice")
        values[key] = value
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")
