"""Lengths that the headers of compressed files state."""

import struct
from itertools import pairwise

from musicssl.audio.stream import ByteStream

UNKNOWN_SIZE = 0x7F000000  # and more: what programs write that cannot know the length
MP3_TAGS = (b"Xing", b"Info", b"VBRI")


def mp3_stated(stream: ByteStream) -> tuple[int, int]:
    """Return how many samples and bytes the tag of an MP3's first frame states; 0: it does not.

    Raises
    ------
    AudioError
        If the stream cannot be read.

    References
    ----------
    .. [1] Gabriel Bouvigne, "MP3 Info Tag rev 1 specifications", 2002.
    """
    _, first = _mp3_first(stream)
    place = max(first.find(name, 4, 200) for name in MP3_TAGS)
    sync = next((i for i, (one, two) in enumerate(pairwise(first)) if one == 255 <= two + 31), None)
    if sync is None or not sync < place <= len(first) - 26:
        return 0, 0
    per_frame = 1152 if first[sync + 1] & 0x18 == 0x18 else 576  # MPEG 1, or 2 and 2.5
    if first[place : place + 4] == b"VBRI":
        size, frames = struct.unpack(">II", first[place + 10 : place + 18])
    else:
        flags, frames, size = struct.unpack(">III", first[place + 4 : place + 16])
        frames, size = frames * (flags & 1), size if flags & 2 else 0
    return frames * per_frame, size


def mp3_promise(stream: ByteStream) -> int | None:
    """Return how many samples an MP3's tag promises; None if nothing does.

    The tag counts bytes too. Where these are there, the count of samples is only a count, right
    or wrong, and nothing is missing.

    Raises
    ------
    AudioError
        If the stream cannot be read.
    """
    samples, size = mp3_stated(stream)
    if size and stream.length() - _mp3_first(stream)[0] >= size - 4096:
        return None
    return samples or None


def mp3_has_tag(stream: ByteStream) -> bool:
    """Tell whether an MP3's first frame says how long it is; without, the length is a guess.

    Raises
    ------
    AudioError
        If the stream cannot be read.
    """
    _, first = _mp3_first(stream)
    return any(name in first for name in MP3_TAGS)


def _mp3_first(stream: ByteStream) -> tuple[int, bytes]:
    """Return where an MP3 begins behind its ID3 tags, and its first bytes."""
    at = 0
    while (head := stream.peek(at, 10))[:3] == b"ID3" and len(head) == 10:
        at += id3_size(head)
    return at, stream.peek(at, 4096)


def id3_size(head: bytes) -> int:
    """Return how many bytes the ID3 tag has that begins with `head`."""
    return 10 + sum((byte & 127) << 7 * i for i, byte in enumerate(head[9:5:-1]))


def riff_is_cut(stream: ByteStream) -> bool:
    """Tell whether a RIFF file is shorter than its header says; one from a pipe says nothing.

    Raises
    ------
    AudioError
        If the stream cannot be read.
    """
    size = int.from_bytes(stream.peek(4, 4), "little")
    return stream.length() - 8 < size < UNKNOWN_SIZE


def ogg_end(stream: ByteStream) -> tuple[int, bool]:
    """Return where an Ogg file's last page ends, and whether the stream ends with it.

    It does not if the page is cut, or not marked as its stream's last; the offset is 0 if no
    page is found.

    Raises
    ------
    AudioError
        If the stream cannot be read.
    """
    first = max(0, stream.length() - 2**17)
    tail = stream.peek(first, 2**17)  # a page is at most 65,307 bytes
    at = tail.rfind(b"OggS")
    page = tail[at:]
    if at < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return 0, False
    length = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return first + at + length, length <= len(page) and bool(page[5] & 4)
