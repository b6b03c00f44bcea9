"""Layouts of compressed files in pages, boxes and blocks: Ogg, MP4, True Audio, WavPack."""

import struct

import numpy as np

from musicssl.audio.layout.base import UNHEARD, Layout
from musicssl.audio.layout.tags import behind_tags, leaves_something
from musicssl.audio.stream import ByteStream

MOST_BLOCKS = 100_000  # of a WavPack file that are looked at: half a day
MOST_BOXES = 10_000  # of an MP4 file that are looked at; films in fragments have many


def ogg_first_data(stream: ByteStream) -> int:
    """Return where the first page stands that does not begin a stream."""
    at = 0
    for _ in range(64):
        page = stream.peek(at, 282)
        if page[:4] != b"OggS" or len(page) < 27 or not page[5] & 2:
            break
        at += 27 + page[26] + sum(page[27 : 27 + page[26]])
    return at


def mp4_layout(stream: ByteStream, size: int) -> Layout:
    """Return the layout of an MP4 file, from its outermost boxes."""
    at = 0
    seen: set[bytes] = set()
    for _ in range(MOST_BOXES):
        head = stream.peek(at, 16)
        if len(head) < 8:
            break
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if name == b"ftyp" and {b"moov", b"mdat"} <= seen:
            return Layout(stop=at)
        seen.add(name)
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length and (length < 8 or not all(32 <= byte < 127 or byte == 169 for byte in name)):
            whole = {b"moov", b"mdat"} <= seen
            return Layout(unheard=whole and leaves_something(stream, at, UNHEARD))
        if length == 0 or at + length >= size:
            break
        at += length
    return Layout()


def tta_layout(stream: ByteStream, size: int) -> Layout:
    """Return the layout of a True Audio file, whose header lists the size of every frame."""
    rate, samples = struct.unpack("<10xII", stream.peek(0, 18))
    frames = -(-samples * 245 // (256 * rate)) if rate else 0
    if not 0 < frames < MOST_BLOCKS:
        return Layout()
    sizes = np.frombuffer(stream.peek(22, 4 * frames), "<u4")
    end = 22 + 4 * frames + 4 + int(sizes.sum(dtype=np.int64))
    following = behind_tags(stream, end)
    if stream.peek(following, 4) == b"TTA1":
        return Layout(stop=following)
    return Layout(unheard=leaves_something(stream, end, UNHEARD))


def wavpack_joined(stream: ByteStream) -> int | None:
    """Return where the count of samples begins anew in a file of WavPack blocks."""
    at = 0
    for _ in range(MOST_BLOCKS):
        head = stream.peek(at, 32)
        if head[:8] == b"APETAGEX" and len(head) == 32:  # behind each of the files
            at += 32 + int.from_bytes(head[12:16], "little")
            continue
        if head[:4] != b"wvpk" or len(head) < 32:
            return None
        numbers = (int.from_bytes(head[i : i + 4], "little") for i in (4, 16, 20, 24))
        size, index, samples, flags = numbers
        if at and samples and not index and flags & 0x800:  # the first of a block's channels
            return at
        at += 8 + size
    return None
