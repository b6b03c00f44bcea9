"""What headers say of lengths, and where the bytes themselves say otherwise."""

import struct
from dataclasses import dataclass, field
from itertools import pairwise

from musicssl.audio.formats import begins, for_sound_file
from musicssl.audio.stream import ByteStream

# Sizes from here on are what programs write that cannot know the length, such as pipes.
PLACEHOLDER_SIZE = 0x7FFF0000
SEARCHED = 2**20  # bytes in which the beginning of a damaged file is looked for
MOST_BLOCKS = 100_000  # of a WavPack file that are looked at: half a day
MOST_BOXES = 10_000  # of an MP4 file that are looked at; films in fragments have many
MP3_TAGS = (b"Xing", b"Info", b"VBRI")
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"3DI")  # that programs put behind a file


@dataclass(frozen=True)
class Layout:
    """Where a file's sound lies."""

    stop: int | None = None  # where another file begins that was joined to this one
    patches: dict[int, bytes] = field(default_factory=dict)  # lengths as they should be
    mark: bytes = b""  # with which such a file begins, wherever that is
    after: int = 0  # where it can be, at the earliest


@dataclass(frozen=True)
class _Chunks:
    """How a container of chunks writes down their names and lengths."""

    samples: bytes  # name of the chunk with the samples
    first: int  # offset of the first chunk
    number: str  # of a length, for `struct`
    name: int = 4  # bytes of a name
    counts_header: bool = False  # whether a length counts name and length too
    align: int = 2

    @property
    def header(self) -> int:
        return self.name + struct.calcsize(self.number)

    def end(self, at: int, head: bytes) -> int:
        """Return where the chunk ends that begins with `head` at offset `at`."""
        (length,) = struct.unpack(self.number, head[self.name : self.header])
        return int(at + length + (0 if self.counts_header else self.header))

    def next(self, end: int) -> int:
        """Return where a chunk begins behind one that ends at `end`."""
        return -(-end // self.align) * self.align

    def is_chunk(self, head: bytes) -> bool:
        """Tell whether `head` can be a chunk's: its name begins with four printable letters."""
        return len(head) >= self.header and all(32 <= byte < 127 for byte in head[:4])

    def length(self, at: int, size: int) -> bytes:
        """Return the length of a chunk at `at` that goes on to the end of `size` bytes."""
        most = 2 ** (8 * struct.calcsize(self.number) - (self.number[1] == "q")) - 1
        whole = size - at - (0 if self.counts_header else self.header)
        return struct.pack(self.number, min(whole, most))


_CONTAINERS = {
    b"RIFF": _Chunks(b"data", 12, "<I"),
    b"RIFX": _Chunks(b"data", 12, ">I"),
    b"RF64": _Chunks(b"data", 12, "<I"),
    b"FORM": _Chunks(b"SSND", 12, ">I"),
    b"riff": _Chunks(b"data", 40, "<Q", name=16, counts_header=True, align=8),  # W64
    b"caff": _Chunks(b"data", 8, ">q", align=1),
}


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
    head = stream.peek(0, 24)
    size = stream.length()
    if head[:4] == b"fLaC":
        return Layout(mark=b"fLaC\0\0\0\x22", after=8)
    if head[:4] == b"OggS":
        return Layout(mark=b"OggS\0\2", after=_ogg_first_data(stream))
    if head[:4] == b"wvpk":
        return Layout(stop=_wavpack_joined(stream))
    if head[4:8] == b"ftyp":
        return Layout(stop=_mp4_joined(stream, size))
    if not for_sound_file(head):
        return Layout()
    if head[:4] == b".snd" and len(head) == 24:
        start, length = struct.unpack(">II", head[4:12])
        end = start + length
        plain = _Chunks(b"", 0, ">I")
        if not (length < PLACEHOLDER_SIZE and end < size):
            return Layout()
        if begins(stream.peek(end, 12)):
            return Layout(stop=end)
        if _goes_on(stream, end, size, plain):
            return Layout(patches={8: struct.pack(">I", min(size - start, 0xFFFFFFFF))})
        return Layout()
    chunks = _CONTAINERS.get(head[:4])
    return Layout() if chunks is None else _walk(stream, size, chunks)


def _ogg_first_data(stream: ByteStream) -> int:
    """Return where the first page stands that does not begin a stream."""
    at = 0
    for _ in range(64):
        page = stream.peek(at, 282)
        if page[:4] != b"OggS" or len(page) < 27 or not page[5] & 2:
            break
        at += 27 + page[26] + sum(page[27 : 27 + page[26]])
    return at


def _mp4_joined(stream: ByteStream, size: int) -> int | None:
    """Return where a second MP4 file begins, if one was joined to the first."""
    at = 0
    seen: set[bytes] = set()
    for _ in range(MOST_BOXES):
        head = stream.peek(at, 16)
        if len(head) < 8:
            return None
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if name == b"ftyp" and {b"moov", b"mdat"} <= seen:
            return at
        seen.add(name)
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or at + length >= size:
            return None
        at += length
    return None


def _wavpack_joined(stream: ByteStream) -> int | None:
    """Return where the count of samples begins anew in a file of WavPack blocks."""
    at = 0
    for _ in range(MOST_BLOCKS):
        head = stream.peek(at, 32)
        if head[:4] != b"wvpk" or len(head) < 32:
            return None
        size, index, flags = (int.from_bytes(head[i : i + 4], "little") for i in (4, 16, 24))
        if at and not index and flags & 0x800:  # the first of a block's channels
            return at
        at += 8 + size
    return None


def _walk(stream: ByteStream, size: int, chunks: _Chunks) -> Layout:
    """Walk the chunks of a file of `size` bytes up to the one with the samples."""
    at, facts, sizes = chunks.first, None, None
    for _ in range(10_000):
        head = stream.peek(at, chunks.header)
        if len(head) < chunks.header:
            break
        end = chunks.end(at, head)
        if head[:4] == b"ds64":  # of RF64: the true length of the samples
            sizes = at + 16
        if head[:4] == b"COMM":
            facts = at + 8
        if head[:4] == chunks.samples:
            lengths = {at + chunks.name: chunks.length(at, size)}
            if sizes is not None and end - at - chunks.header == 0xFFFFFFFF:
                (length,) = struct.unpack("<Q", stream.peek(sizes, 8))
                end = at + chunks.header + length
                lengths = {sizes: struct.pack("<Q", size - at - chunks.header)}
            elif end - at >= PLACEHOLDER_SIZE:
                return Layout()
            if not at < end < size:
                return Layout()
            if joined := _joined(stream, end, size, chunks):
                return Layout(stop=joined)
            if not _goes_on(stream, end, size, chunks):
                return Layout()
            if chunks.first == 12:
                lengths[4] = struct.pack(chunks.number, min(size - 8, 0xFFFFFFFF))
            if chunks.samples == b"SSND" and facts is not None:
                lengths |= _aiff_frames(stream, facts, size - at - 16)
            return Layout(patches=lengths)
        if end <= at:
            break
        at = chunks.next(end)
    return Layout()


def _aiff_frames(stream: ByteStream, facts: int, size: int) -> dict[int, bytes]:
    """Return the patch of AIFF's count of frames, for samples of `size` bytes."""
    channels, _, bits = struct.unpack(">HIH", stream.peek(facts, 8))
    frame = channels * ((bits + 7) // 8)
    return {facts + 2: struct.pack(">I", min(size // frame, 0xFFFFFFFF))} if frame else {}


def _joined(stream: ByteStream, end: int, size: int, chunks: _Chunks) -> int | None:
    """Return where another file begins behind the samples and at most a few more chunks."""
    at = end
    for _ in range(64):
        for place in dict.fromkeys((at, chunks.next(at))):
            head = stream.peek(place, 12)
            if begins(head) and not head.startswith(b"ID3"):
                return place
        at = chunks.next(at)
        head = stream.peek(at, chunks.header)
        if not chunks.is_chunk(head):
            return None
        after = chunks.end(at, head)
        if not at < after < size:
            return None
        at = after
    return None


def _goes_on(stream: ByteStream, end: int, size: int, chunks: _Chunks) -> bool:
    """Tell whether what follows the samples is neither a chunk, nor a tag, nor padding."""
    for at in dict.fromkeys((end, chunks.next(end))):
        head = stream.peek(at, chunks.header)
        if len(head) < chunks.header or head.startswith(TAGS):
            return False
        if chunks.is_chunk(head) and at < chunks.end(at, head) <= size + 1:
            return False
    return any(stream.peek(end, 4096)) or any(stream.peek((end + size) // 2, 4096))


def find_beginning(stream: ByteStream) -> int | None:
    """Return where a file's signature stands that has something else before it.

    Raises
    ------
    AudioError
        If the stream cannot be read.
    """
    data = stream.peek(0, SEARCHED)
    found = [data.find(name) for name in (b"fLaC", b"OggS", b"ID3\x03", b"ID3\x04", b"ADIF")]
    at = data.find(b"RIFF")
    if data[at + 8 : at + 12] == b"WAVE":
        found.append(at)
    at = data.find(b"ftyp")  # its length stands before it
    found.append(at - 4)
    return min((at for at in found if at > 0), default=None)


# What was promised


def mp3_promise(stream: ByteStream) -> int | None:
    """Return how many samples the tag of an MP3's first frame promises; None if nothing does.

    The tag counts bytes too. Where these are there, the count of samples is only a count, right
    or wrong, and nothing is missing.

    Raises
    ------
    AudioError
        If the stream cannot be read.

    References
    ----------
    .. [1] Gabriel Bouvigne, "MP3 Info Tag rev 1 specifications", 2002.
    """
    at, first = _mp3_first(stream)
    place = max(first.find(name, 4, 200) for name in MP3_TAGS)
    sync = next((i for i, (one, two) in enumerate(pairwise(first)) if one == 255 <= two + 31), None)
    if sync is None or not sync < place <= len(first) - 26:
        return None
    per_frame = 1152 if first[sync + 1] & 0x18 == 0x18 else 576  # MPEG 1, or 2 and 2.5
    if first[place : place + 4] == b"VBRI":
        size, frames = struct.unpack(">II", first[place + 10 : place + 18])
    else:
        flags, frames, size = struct.unpack(">III", first[place + 4 : place + 16])
        if not flags & 1:
            return None
        size = size if flags & 2 else 0
    there = stream.length() - at
    if size and there >= size - 4096:
        return None
    return frames * per_frame or None


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
        at += 10 + sum((byte & 127) << 7 * i for i, byte in enumerate(head[:5:-1]))
    return at, stream.peek(at, 4096)


def ogg_breaks_off(stream: ByteStream) -> bool:
    """Tell whether an Ogg file's last page is cut, or is not marked as its stream's last.

    Raises
    ------
    AudioError
        If the stream cannot be read.
    """
    size = stream.length()
    tail = stream.peek(max(0, size - 2**17), 2**17)  # a page is at most 65,307 bytes
    at = tail.rfind(b"OggS")
    page = tail[at:]
    if at < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return True
    length = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return len(page) < length or not page[5] & 4
