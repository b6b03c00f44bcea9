"""Layout of any file: what is joined to its end, and lengths that stop it too early."""

import struct

from musicssl.audio.headers import UNKNOWN_SIZE, id3_size
from musicssl.audio.layout import blocks, chunks
from musicssl.audio.layout.base import Layout
from musicssl.audio.stream import ByteStream

SEARCHED = 2**20  # bytes in which the beginning of a damaged file is looked for


def find_layout(stream: ByteStream) -> Layout:
    """Return the layout of a file: its lengths as they are, and what is joined to its end.

    In WAV, RF64, W64, AIFF, CAF and AU files, a length that is too small while the sound goes on,
    as recorders leave it that were switched off, would end the reading there: it is replaced by
    the true one.

    Raises
    ------
    AudioError
        If the stream cannot be read.
    """
    try:
        return _layout(stream)
    except struct.error:  # cut within a header
        return Layout()


def _layout(stream: ByteStream) -> Layout:
    head = stream.peek(0, 24)
    size = stream.length()
    if head[:4] == b"fLaC":
        return Layout(mark=b"fLaC\0\0\0\x22", after=8)
    if head[:4] == b"OggS":
        return Layout(mark=b"OggS\0\2", after=blocks.ogg_first_data(stream))
    if head[:4] == b"wvpk":
        return Layout(stop=blocks.wavpack_joined(stream))
    if head[:4] == b"TTA1":
        return blocks.tta_layout(stream, size)
    if head[4:8] == b"ftyp":
        return blocks.mp4_layout(stream, size)
    if head[:4] == b".snd":
        return chunks.au_layout(stream, head, size)
    container = chunks.CONTAINERS.get(head[:4])
    return Layout() if container is None else chunks.walk_chunks(stream, size, container)


def find_beginning(stream: ByteStream) -> int | None:
    """Return where a file's signature stands that has something else before it.

    Raises
    ------
    AudioError
        If the stream cannot be read.
    """
    data = stream.peek(0, SEARCHED)
    found = [data.find(name) for name in (b"fLaC", b"OggS", b"ID3\x03", b"ID3\x04", b"ADIF")]
    if data[:3] == b"ID3":  # before a format that knows no such tags
        found.append(id3_size(data))
    at = data.find(b"RIFF")
    if data[at + 8 : at + 12] == b"WAVE":
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + size <= stream.length() or size >= UNKNOWN_SIZE:
            found.append(at)  # other formats keep the header of what they were made from
    at = data.find(b"ftyp")  # its length stands before it
    found.append(at - 4)
    return min((at for at in found if at > 0), default=None)
