"""Where a file's sound lies: what is joined to its end, and lengths that stop it too early."""

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from musicssl.audio.formats import begins
from musicssl.audio.headers import UNKNOWN_SIZE, id3_size
from musicssl.audio.stream import ByteStream

SEARCHED = 2**20  # bytes in which the beginning of a damaged file is looked for
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
UNHEARD = 4096  # bytes behind the samples that are worth a word
LOOKED_AT = 8192  # bytes at four places, to tell samples from something else
MOST_BLOCKS = 100_000  # of a WavPack file that are looked at: half a day
MOST_BOXES = 10_000  # of an MP4 file that are looked at; films in fragments have many
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"3DI")  # that programs put behind a file


@dataclass(frozen=True)
class Layout:
    """Where a file's sound lies."""

    stop: int | None = None  # where another file begins that was joined to this one
    patches: dict[int, bytes] = field(default_factory=dict)  # lengths as they should be
    stated: float = 1.0  # part of the true length that the header states
    unheard: bool = False  # something follows that is neither music nor a tag
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


_CONTAINERS = {
    b"RIFF": _Chunks(b"data", 12, "<I"),
    b"RIFX": _Chunks(b"data", 12, ">I"),
    b"RF64": _Chunks(b"data", 12, "<I"),
    b"FORM": _Chunks(b"SSND", 12, ">I", before=8),
    b"riff": _Chunks(b"data", 40, "<Q", name=16, counts_header=True, align=8),  # W64
    b"caff": _Chunks(b"data", 8, ">q", align=1, before=4),
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
        return Layout(mark=b"OggS\0\2", after=_ogg_first_data(stream))
    if head[:4] == b"wvpk":
        return Layout(stop=_wavpack_joined(stream))
    if head[:4] == b"TTA1":
        return _tta(stream, size)
    if head[4:8] == b"ftyp":
        return _mp4(stream, size)
    if head[:4] == b".snd":
        return _au(stream, head, size)
    chunks = _CONTAINERS.get(head[:4])
    return Layout() if chunks is None else _walk(stream, size, chunks)


def _au(stream: ByteStream, head: bytes, size: int) -> Layout:
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
    samples = _Samples(width, channels, False, law, encoding in {6, 7})
    follows = _follows(stream, end, size, _Chunks(b"", 0, ">I"))
    if follows and _more_of(stream, start, end, size, samples):
        sizes = {8: struct.pack(">I", min(size - start, 0xFFFFFFFF))}
        return Layout(patches=sizes, stated=length / (size - start))
    return Layout(unheard=follows and size - end >= UNHEARD)


def _ogg_first_data(stream: ByteStream) -> int:
    """Return where the first page stands that does not begin a stream."""
    at = 0
    for _ in range(64):
        page = stream.peek(at, 282)
        if page[:4] != b"OggS" or len(page) < 27 or not page[5] & 2:
            break
        at += 27 + page[26] + sum(page[27 : 27 + page[26]])
    return at


def _mp4(stream: ByteStream, size: int) -> Layout:
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


def _tta(stream: ByteStream, size: int) -> Layout:
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


def _wavpack_joined(stream: ByteStream) -> int | None:
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


def _walk(stream: ByteStream, size: int, chunks: _Chunks) -> Layout:
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
    stream: ByteStream, size: int, chunks: _Chunks, at: int, end: int, facts: dict[bytes, int]
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
    samples = _sample_format(stream, facts)
    if (
        not follows
        or samples is None
        or not _more_of(stream, at + chunks.header + chunks.before, end, size, samples)
    ):
        return Layout(unheard=follows and size - end >= UNHEARD)
    if chunks.first == 12:
        lengths[4] = struct.pack(chunks.number, min(size - 8, 0xFFFFFFFF))
    if b"COMM" in facts:  # AIFF counts frames too
        frames = (size - at - 16) // (samples.width * samples.channels)
        lengths[facts[b"COMM"] + 2] = struct.pack(">I", min(frames, 0xFFFFFFFF))
    return Layout(patches=lengths, stated=(end - at) / (size - at))


@dataclass(frozen=True)
class _Samples:
    """How samples are stored."""

    width: int  # bytes of each
    channels: int
    little: bool  # the most significant byte comes last
    law: str = ""  # "mu" or "a" of logarithmic ones
    floats: bool = False

    def plausible(self, data: bytes) -> bool:
        """Tell whether `data` can be a stretch of music rather than of anything else.

        Compressed data and the like have all values alike, each without regard to the one before;
        text has no negative ones.
        """
        size = len(data) // self.width * self.width
        if self.floats:
            values = np.frombuffer(data[:size], f"{'<' if self.little else '>'}f{self.width}")
            sizes = np.abs(values)
            return bool(np.mean((sizes == 0) | ((sizes > 1e-9) & (sizes < 4))) > 0.99)
        places = np.frombuffer(data[:size], np.int8).reshape(-1, self.width)
        values = places[:, -1 if self.little else 0].astype(np.float64) / 128
        if self.law:
            values = _expand(data, self.law)
        elif self.width == 1 and self.little:  # WAV stores bytes from 0 to 255
            values = np.where(values < 0, values + 1, values - 1)
        if len(values) <= 2 * self.channels or not values.any():
            return False
        power = np.mean(values**2)
        alike = np.mean(values[self.channels :] * values[: -self.channels]) / power
        return not (abs(values.mean()) > 0.25 or (power > 0.16 and alike < 0.3))


def _expand(data: bytes, law: str) -> NDArray[np.float64]:
    """Return logarithmic samples in [-1, 1] (ITU-T G.711)."""
    codes = np.frombuffer(data, np.uint8) ^ (0xFF if law == "mu" else 0xD5)
    steps, segment = (codes & 15).astype(np.float64), (codes >> 4 & 7).astype(np.float64)
    if law == "mu":
        size = (2 * steps + 33) * 2**segment - 33
    else:
        size = (2 * steps + 1 + 32 * (segment > 0)) * 2.0 ** np.maximum(segment - 1, 0)
    signed: NDArray[np.float64] = np.where(codes & 128, -size, size) / (
        8192 if law == "mu" else 4096
    )
    return signed


def _sample_format(stream: ByteStream, facts: dict[bytes, int]) -> _Samples | None:
    """Return how the samples are stored; None where they are not plain integers."""
    little, law, floats = True, "", False
    if b"fmt " in facts:
        fmt = stream.peek(facts[b"fmt "], 26)
        kind, channels, _, _, _, bits = struct.unpack("<HHIIHH", fmt[:16])
        if kind == 0xFFFE and len(fmt) == 26:  # WAVE_FORMAT_EXTENSIBLE says it later
            (kind,) = struct.unpack("<H", fmt[24:26])
        law, floats = {6: "a", 7: "mu"}.get(kind, ""), kind == 3
        plain = kind in {1, 3, 6, 7}
    elif b"COMM" in facts:
        channels, _, bits = struct.unpack(">HIH", stream.peek(facts[b"COMM"], 8))
        name = stream.peek(facts[b"COMM"] + 18, 4) if stream.peek(8, 4) == b"AIFC" else b"NONE"
        little, floats = name == b"sowt", name in {b"fl32", b"FL32", b"fl64", b"FL64"}
        law = {b"alaw": "a", b"ulaw": "mu", b"ALAW": "a", b"ULAW": "mu"}.get(name, "")
        plain = bool(law) or floats or name in {b"NONE", b"sowt", b"twos", b"in24", b"in32"}
        bits = 8 if law else bits
    elif b"desc" in facts:
        name, flags, channels, bits = struct.unpack(">8x4sI8xII", stream.peek(facts[b"desc"], 32))
        law = {b"alaw": "a", b"ulaw": "mu"}.get(name, "")
        little, floats, plain = bool(flags & 2), bool(flags & 1), bool(law) or name == b"lpcm"
    else:
        return None
    if not plain or bits not in {8, 16, 24, 32, 64} or not 1 <= channels <= 64:
        return None
    if floats and bits < 32:
        return None
    return _Samples(bits // 8, channels, little, law, floats)


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


def _follows(stream: ByteStream, end: int, size: int, chunks: _Chunks) -> bool:
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


def _more_of(stream: ByteStream, start: int, end: int, size: int, samples: _Samples) -> bool:
    """Tell whether what follows the samples, which begin at `start`, is more of them."""
    frame = samples.width * samples.channels
    end = start - (start - end) // frame * frame  # where one begins
    starts = [end + (size - end) // frame * i // 4 * frame for i in range(4)]
    pieces = [stream.peek(start, LOOKED_AT) for start in starts]
    heard = [samples.plausible(piece) for piece in pieces if any(piece)]
    return bool(heard) and all(heard)


def is_padding(data: bytes) -> bool:
    """Tell whether `data` is one byte again and again."""
    return data.count(data[:1]) == len(data)


def behind_tags(stream: ByteStream, at: int) -> int:
    """Return where the tags end that say how long they are, if any begin at `at`."""
    for _ in range(64):
        head = stream.peek(at, 32)
        if head[:3] == b"ID3" and len(head) >= 10:
            at += id3_size(head)
        elif head[:8] == b"APETAGEX" and len(head) == 32 and head[23] & 0x20:  # its header
            at += 32 + int.from_bytes(head[12:16], "little")
        else:
            break
    return at


def leaves_something(stream: ByteStream, end: int, least: int) -> bool:
    """Tell whether `least` bytes or more, neither tags nor padding, follow offset `end`.

    Raises
    ------
    AudioError
        If the stream cannot be read.
    """
    size = stream.length()
    end = behind_tags(stream, end)
    if not 0 < end <= size - least:
        return False
    pieces = [stream.peek(end + (size - end) * i // 4, 512) for i in range(4)]
    tail = stream.peek(max(end, size - 512), 512)
    tagged = pieces[0].startswith(TAGS) or any(tag in tail for tag in (b"APETAGEX", b"LYRICS"))
    return not (tagged or all(is_padding(piece) for piece in pieces))


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
