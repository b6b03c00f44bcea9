"""Layouts of files of plain samples in chunks: WAV, RF64, W64, AIFF, CAF, and AU."""

import struct
from dataclasses import dataclass

from musicssl.audio.formats import begins
from musicssl.audio.headers import UNKNOWN_SIZE
from musicssl.audio.layout.base import UNHEARD, Layout
from musicssl.audio.layout.pcm import PcmFormat, continues, read_pcm_format
from musicssl.audio.layout.tags import TAGS, leaves_something
from musicssl.audio.stream import ByteStream

# Chunks that may follow the samples, also where a file is cut within them.
NAMES = frozenset(
    name.ljust(4).encode()
    for name in (
        *("LIST", "id3", "ID3", "bext", "fact", "cue", "smpl", "inst", "JUNK", "PAD", "FLLR"),
        *("iXML", "axml", "_PMX", "afsp", "DISP", "acid", "strc", "cart", "levl", "chna", "plst"),
        *("note", "labl", "MD5", "AFAn", "LGWV", "ANNO", "NAME", "AUTH", "(c)", "APPL", "MARK"),
        *("COMT", "MIDI", "SAUR", "INST", "CHAN", "FVER", "COMM", "basc", "trns", "cate", "info"),
        *("uuid", "strg", "mark", "regn", "umid", "PEAK"),
    )
)
MOST_CHUNKS = 10_000


@dataclass(frozen=True)
class Container:
    """Format of the names and lengths of a container's chunks."""

    samples: bytes  # name of the chunk with the samples
    first: int  # offset of the first chunk
    number: str  # of a length, for `struct`
    name: int = 4  # bytes of a name
    counts_header: bool = False  # whether a length counts name and length too
    align: int = 2
    before: int = 0  # bytes of the contents before the samples

    @property
    def header(self) -> int:
        return self.name + struct.calcsize(self.number)

    def end(self, at: int, head: bytes) -> int:
        """Return where the chunk ends that begins with `head` at offset `at`."""
        (length,) = struct.unpack(self.number, head[self.name : self.header])
        if length < 0:  # unknown
            length = UNKNOWN_SIZE
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


CONTAINERS = {
    b"RIFF": Container(b"data", 12, "<I"),
    b"RIFX": Container(b"data", 12, ">I"),
    b"RF64": Container(b"data", 12, "<I"),
    b"FORM": Container(b"SSND", 12, ">I", before=8),
    b"riff": Container(b"data", 40, "<Q", name=16, counts_header=True, align=8),  # W64
    b"caff": Container(b"data", 8, ">q", align=1, before=4),
}


def walk_chunks(stream: ByteStream, size: int, chunks: Container) -> Layout:
    """Walk the chunks of a file of `size` bytes up to the one with the samples."""
    at = chunks.first
    facts: dict[bytes, int] = {}  # where the contents of other chunks begin
    for _ in range(MOST_CHUNKS):
        head = stream.peek(at, chunks.header)
        if len(head) < chunks.header:
            break
        end = chunks.end(at, head)
        if head[:4] == chunks.samples:
            return _around_samples(stream, size, chunks, at, end, facts)
        if end <= at:
            break
        facts[head[:4]] = at + chunks.header
        at = chunks.next(end)
    return Layout()


def _around_samples(
    stream: ByteStream, size: int, chunks: Container, at: int, end: int, facts: dict[bytes, int]
) -> Layout:
    """Return the layout of a file whose samples are said to stand in a chunk from `at` to `end`."""
    lengths = {at + chunks.name: chunks.length(at, size)}
    if b"ds64" in facts and end - at - chunks.header == 0xFFFFFFFF:  # RF64 says it there
        place = facts[b"ds64"] + 8
        (length,) = struct.unpack("<Q", stream.peek(place, 8))
        end = at + chunks.header + length
        lengths = {place: struct.pack("<Q", size - at - chunks.header)}
    elif end - at >= UNKNOWN_SIZE:
        return Layout()
    if not at < end < size:
        return Layout()
    if joined := _joined(stream, end, size, chunks):
        return Layout(stop=joined)
    follows = _follows(stream, end, size, chunks)
    samples = read_pcm_format(stream, facts)
    if (
        not follows
        or samples is None
        or not continues(stream, at + chunks.header + chunks.before, end, size, samples)
    ):
        return Layout(unheard=follows and size - end >= UNHEARD)
    if chunks.first == 12:
        lengths[4] = struct.pack(chunks.number, min(size - 8, 0xFFFFFFFF))
    if b"COMM" in facts:  # AIFF counts frames too
        frames = (size - at - 16) // (samples.width * samples.channels)
        lengths[facts[b"COMM"] + 2] = struct.pack(">I", min(frames, 0xFFFFFFFF))
    return Layout(patches=lengths, stated=(end - at) / (size - at))


def au_layout(stream: ByteStream, head: bytes, size: int) -> Layout:
    """Return the layout of an AU file, which has no chunks."""
    if len(head) < 24:
        return Layout()
    start, length, encoding = struct.unpack(">III", head[4:16])
    end = start + length
    if start >= size:
        return Layout()
    if length >= UNKNOWN_SIZE:
        return Layout(patches={8: struct.pack(">I", min(size - start, 0xFFFFFFFF))})
    if end >= size:
        return Layout()
    if begins(stream.peek(end, 12)):
        return Layout(stop=end)
    widths = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
    width, law = widths.get(encoding, 0), {1: "mu", 27: "a"}.get(encoding, "")
    (channels,) = struct.unpack(">I", head[20:24])
    if not width or not 1 <= channels <= 64:
        return Layout()
    samples = PcmFormat(width, channels, False, law, encoding in {6, 7})
    follows = _follows(stream, end, size, Container(b"", 0, ">I"))
    if follows and continues(stream, start, end, size, samples):
        sizes = {8: struct.pack(">I", min(size - start, 0xFFFFFFFF))}
        return Layout(patches=sizes, stated=length / (size - start))
    return Layout(unheard=follows and size - end >= UNHEARD)


def _joined(stream: ByteStream, end: int, size: int, chunks: Container) -> int | None:
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


def _follows(stream: ByteStream, end: int, size: int, chunks: Container) -> bool:
    """Tell whether the samples are followed by something that is no chunk, tag or padding."""
    for at in dict.fromkeys((end, chunks.next(end))):
        head = stream.peek(at, chunks.header)
        if len(head) < chunks.header or head.startswith(TAGS):
            return False
        if head[:4] == chunks.samples != b"":  # a second chunk of them
            return True
        inside = at < chunks.end(at, head) <= size + 1
        if chunks.is_chunk(head) and (inside or head[:4] in NAMES):
            return False
    return leaves_something(stream, end, 1)
