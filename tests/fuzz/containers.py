"""Small writers for what no encoder at hand writes, and repairs that let a mutation count."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

DSD_RATE = 2_822_400


def _one_bit(audio: NDArray[np.float64], rate: int) -> NDArray[np.uint8]:
    """Return the first channel as DSD64, one value 0 or 1 a sample: a first-order modulator."""
    times = np.arange(round(len(audio) * DSD_RATE / rate)) * rate / DSD_RATE
    wanted = (np.interp(times, np.arange(len(audio)), audio[:, 0] * 0.5) + 1) / 2
    return np.diff(np.floor(np.cumsum(wanted)), prepend=0).astype(np.uint8)


def dsf(audio: NDArray[np.float64], rate: int) -> bytes:
    """Return a DSF file, mono."""
    bits = _one_bit(audio, rate)
    data = np.packbits(bits, bitorder="little").tobytes()
    data += bytes(-len(data) % 4096)
    form = struct.pack("<IIIIIIQII", 1, 0, 1, 1, DSD_RATE, 1, len(bits), 4096, 0)
    body = b"fmt " + struct.pack("<Q", 12 + len(form)) + form
    body += b"data" + struct.pack("<Q", 12 + len(data)) + data
    return b"DSD " + struct.pack("<QQQ", 28, 28 + len(body), 0) + body


def dff(audio: NDArray[np.float64], rate: int) -> bytes:
    """Return a DSDIFF file, mono."""
    data = np.packbits(_one_bit(audio, rate)).tobytes()

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack(">Q", len(content)) + content + bytes(len(content) % 2)

    properties = b"SND " + chunk(b"FS  ", struct.pack(">I", DSD_RATE))
    properties += chunk(b"CHNL", struct.pack(">H", 1) + b"C000")
    properties += chunk(b"CMPR", b"DSD \x0enot compressed\0")
    body = b"DSD " + chunk(b"FVER", b"\1\5\0\0") + chunk(b"PROP", properties)
    return chunk(b"FRM8", body + chunk(b"DSD ", data))


def join(files: list[bytes]) -> bytes:
    """Return files one after the other; pages of Ogg get a serial number for each."""
    parts = []
    for number, data in enumerate(files):
        pages = ogg_pages(data)
        if pages and data.startswith(b"OggS"):
            edited = bytearray(data)
            for start, _ in pages:
                struct.pack_into("<I", edited, start + 14, 1000 + number)
            data = bytes(ogg_checksums(edited))
        parts.append(data)
    return b"".join(parts)


def ogg_pages(data: bytes | bytearray) -> list[tuple[int, int]]:
    """Return where the pages of an Ogg file start and end."""
    pages = []
    start = bytes(data).find(b"OggS")
    while 0 <= start <= len(data) - 27:
        segments = data[start + 27 : start + 27 + data[start + 26]]
        end = start + 27 + len(segments) + sum(segments)
        if end > len(data):
            break
        pages.append((start, end))
        start = bytes(data).find(b"OggS", end)
    return pages


def ogg_checksums(data: bytearray) -> bytearray:
    """Make the checksums of all pages right, so that what was changed in them is believed."""
    for start, end in ogg_pages(data):
        data[start + 22 : start + 26] = bytes(4)
        struct.pack_into("<I", data, start + 22, _crc(data[start:end]))
    return data


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _crc(page: bytes | bytearray) -> int:
    """Return Ogg's checksum: that of zlib with its bits the other way round, beginning with 0."""
    reflected = zlib.crc32(bytes(page).translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
