"""Read the tensors of a TensorFlow checkpoint without TensorFlow.

A checkpoint is an index, a sorted table of LevelDB's kind whose values say of each tensor its type,
shape, and place, and files of raw bytes. Only what networks are saved as is read: uncompressed
tables, one file of bytes, little-endian numbers.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ModelError

MAGIC = 0xDB4775248B80FB57  # ends every table
FOOTER = 48  # bytes
TRAILER = 5  # bytes behind a block: its compression, and a checksum
KINDS = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # of TensorFlow's types


def read_bundle(prefix: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a checkpoint that hold numbers, by their names.

    Parameters
    ----------
    prefix
        What stands before ``.index`` and ``.data-00000-of-00001``; or a folder, where the files
        have no other name.

    Raises
    ------
    ModelError
        If the files are not there, damaged, or of a kind that is not read.
    """
    stem = f"{prefix}/" if prefix.is_dir() else f"{prefix}"
    index, data = Path(f"{stem}.index"), Path(f"{stem}.data-00000-of-00001")
    try:
        table, numbers = index.read_bytes(), data.read_bytes()
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror}.") from error
    out: dict[str, NDArray[Any]] = {}
    try:
        for name, value in _entries(table):
            if not name:
                _check_header(value)
                continue
            fields = dict(_fields(value))
            if kind := KINDS.get(fields.get(1, 0)):
                out[name] = _tensor(numbers, fields, kind)
    except (ValueError, IndexError, struct.error) as error:
        raise ModelError(
            f"{index} is no TensorFlow checkpoint that can be read: {error}."
        ) from None
    return out


def _tensor(numbers: bytes, fields: Mapping[int, Any], kind: str) -> NDArray[Any]:
    """Return the numbers of one tensor, in its shape."""
    axes = [dict(_fields(value)) for tag, value in _fields(fields.get(2, b"")) if tag == 2]
    shape = tuple(axis.get(1, 0) for axis in axes)
    first, size, count = fields.get(4, 0), fields.get(5, 0), math.prod(shape)
    if fields.get(3, 0) or size != np.dtype(kind).itemsize * count or first + size > len(numbers):
        raise ValueError("a tensor lies where it does not fit: was the other file copied in part?")
    return np.frombuffer(numbers, kind, count, first).reshape(shape)


def _entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield names and values of a sorted table."""
    if len(table) < FOOTER or struct.unpack("<Q", table[-8:])[0] != MAGIC:
        raise ValueError("its last bytes are not those of a table")
    footer, place = table[-FOOTER:], 0
    for _ in range(2):
        _, place = _varint(footer, place)  # where the table of tables lies, which is not needed
    for _, where in _block(table, *_handle(footer, place)):
        for key, value in _block(table, *_handle(where, 0)):
            yield key.decode(), value


def _handle(data: bytes, place: int) -> tuple[int, int]:
    """Return offset and size of a block."""
    offset, place = _varint(data, place)
    size, _ = _varint(data, place)
    return offset, size


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block; a key begins with so many bytes of the one before."""
    block = table[offset : offset + size]
    if len(table) < offset + size + TRAILER:
        raise ValueError("it was cut short")
    if table[offset + size]:
        raise ValueError("it is compressed")
    restarts = struct.unpack("<I", block[-4:])[0]
    end, place, key = size - 4 - 4 * restarts, 0, b""
    while place < end:
        shared, place = _varint(block, place)
        more, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + more]
        yield key, block[place + more : place + more + length]
        place += more + length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a number written seven bits a byte, lowest first, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield numbers and values of the fields of a protocol buffer."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield tag >> 3, value
        elif kind == 2:
            size, place = _varint(message, place)
            yield tag >> 3, message[place : place + size]
            place += size
        elif kind in (1, 5):  # 8 or 4 bytes, such as checksums
            place += 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field is of the unknown kind {kind}")


def _check_header(message: bytes) -> None:
    """Refuse several files of bytes, and numbers whose highest byte comes first."""
    fields = dict(_fields(message))
    if fields.get(1, 0) != 1 or fields.get(2, 0):
        raise ValueError("its numbers lie in several files, or are big-endian")
