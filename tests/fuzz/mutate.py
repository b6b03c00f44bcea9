"""Damage files in the ways that disks, downloads, editors and careless programs do.

`case(number, seeds)` gives the same file for the same number, for ever, as long as the seeds are
the same (`seeds.digest`).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np
from containers import ogg_checksums, ogg_pages
from seeds import Seed

CAMPAIGN = 20261129
MOST_BYTES = 4 << 20
Random = np.random.Generator

# Where lengths, counts and rates stand near.
MARKS = (
    *(b"RIFF", b"RF64", b"fmt ", b"data", b"fact", b"ds64", b"FORM", b"COMM", b"SSND", b".snd"),
    *(b"caff", b"desc", b"pakt", b"kuki", b"fLaC", b"OggS", b"OpusHead", b"\x01vorbis", b"Speex"),
    *(b"Xing", b"Info", b"VBRI", b"ID3", b"ftyp", b"moov", b"mvhd", b"mdhd", b"stsd", b"stts"),
    *(b"stsz", b"stsc", b"stco", b"mp4a", b"alac", b"esds", b"elst", b"moof", b"trun", b"tfhd"),
    *(b"wvpk", b"TTA1", b"DSD ", b"FRM8", b"#!AMR", b"\x1a\x45\xdf\xa3", b"\x15\x49\xa9\x66"),
    *(b"\x16\x54\xae\x6b", b"\x30\x26\xb2\x75", b"\xa1\xdc\xab\x8c", b"\x91\x07\xdc\xb7"),
    *(b"avih", b"strh", b"strf", b"movi", b"idx1", b"VHDR", b"2BIT", b"NIST", b"Creative"),
)
SUFFIXES = (
    *(".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aiff", ".au", ".snd", ".caf"),
    *(".wma", ".ac3", ".dsf", ".ape", ".mpc", ".wv", ".raw", ".gsm", ".vox", ".sds", ".amr"),
    *(".mka", ".mp4", ".tta", ".mp2", ".txt", ".bin", ""),
)
TEXTS = (
    b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>nginx</body></html>\n",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 123456\n",
    b"#EXTM3U\n#EXTINF:123,Somebody - Something\nsong.mp3\n",
    b"milk, bread, 12 eggs\n",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
)


@dataclass
class Case:
    """A mutated file."""

    number: int
    seed: Seed
    others: list[Seed] = field(default_factory=list)
    suffix: str = ""
    data: bytes = b""
    what: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.number:06d}{self.suffix}"


def case(number: int, seeds: dict[str, Seed]) -> Case:
    """Make the case of that number; below zero, the seeds themselves, unharmed."""
    names = list(seeds)
    if number < 0:
        seed = seeds[names[-number - 1]]
        return Case(number, seed, [], PurePath(seed.name).suffix, seed.path.read_bytes(), ["none"])
    random = np.random.default_rng([CAMPAIGN, number])
    seed = seeds[names[number % len(names)]]
    made = Case(number, seed, [], PurePath(seed.name).suffix)
    data = bytearray(seed.path.read_bytes())
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        kind = str(random.choice(list(MUTATIONS), p=_weights()))
        if kind == "other file":
            made.others.append(seeds[_partner(random, seed.name, names)])
            data = _other_file(random, data, made.others[-1].path.read_bytes())
        else:
            data = MUTATIONS[kind](random, data)
        made.what.append(kind)
    if data[:4] == b"OggS" and random.random() < 0.5:
        data = ogg_checksums(data)
        made.what.append("checksums right")
    if random.random() < 0.1:
        made.suffix = str(random.choice(SUFFIXES))
        made.what.append(f"named {made.suffix or 'without suffix'}")
    made.data = bytes(data[:MOST_BYTES])
    return made


def _partner(random: Random, name: str, names: list[str]) -> str:
    """Name another seed, as often as not one of the same suffix."""
    kin = [n for n in names if PurePath(n).suffix == PurePath(name).suffix and n != name]
    return str(random.choice(kin if kin and random.random() < 0.6 else names))


def _place(random: Random, data: bytearray) -> int:
    """Choose a position: in the head, near the end, or anywhere."""
    where = random.random()
    if where < 0.2:
        return int(random.integers(0, min(512, len(data)) + 1))
    if where < 0.3:
        return int(len(data) - random.integers(0, min(512, len(data)) + 1))
    return int(random.integers(0, len(data) + 1))


def _length(random: Random, most: int) -> int:
    """Choose a length, small ones as often as large ones."""
    return int(2 ** random.uniform(0, np.log2(max(2, most))))


def _filler(random: Random, size: int) -> bytes:
    """Return zeros, ones, a pattern, text or noise."""
    text = TEXTS[random.integers(len(TEXTS))]
    return (
        bytes(size),
        b"\xff" * size,
        b"\xaa" * size,
        (text * (size // len(text) + 1))[:size],
        random.bytes(size),
        random.bytes(size),
    )[random.integers(6)]


def _bit_flips(random: Random, data: bytearray) -> bytearray:
    most = min(512, len(data)) if random.random() < 0.3 else len(data)
    count = min(_length(random, 1000), max(1, most // 50))
    for position in random.integers(0, max(1, most), count):
        if position < len(data):
            data[position] ^= 1 << random.integers(8)
    return data


def _byte_run(random: Random, data: bytearray) -> bytearray:
    start, size = _place(random, data), _length(random, 70_000)
    size = min(size, len(data) - start)
    data[start : start + size] = _filler(random, size)
    return data


def _truncation(random: Random, data: bytearray) -> bytearray:
    small = random.random() < 0.2
    return data[: _length(random, len(data)) if small else random.integers(len(data) + 1)]


def _insertion(random: Random, data: bytearray) -> bytearray:
    start = _place(random, data)
    data[start:start] = _filler(random, _length(random, 100_000))
    return data


def _deletion(random: Random, data: bytearray) -> bytearray:
    start = _place(random, data)
    del data[start : start + _length(random, max(2, len(data) // 2))]
    return data


def _field(random: Random, data: bytearray) -> bytearray:
    """Edit one to three numbers of 2, 4 or 8 bytes in headers."""
    marks = [at for mark in MARKS if (at := data.find(mark)) >= 0]
    for _ in range(random.integers(1, 4)):
        start = int(random.choice(marks)) if marks and random.random() < 0.8 else 0
        start += int(random.integers(0, 64))
        size = int(random.choice([1, 2, 4, 4, 8]))
        if start + size > len(data):
            continue
        order = "<" if random.random() < 0.5 else ">"
        code = order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
        top = 1 << 8 * size
        (old,) = struct.unpack_from(code, data, start)
        new: tuple[int, ...] = (
            0,
            1,
            top - 1,
            top // 2,
            top // 2 - 1,
            old // 2,
            old * 2,
            old // 10,
            old * 10,
        )
        new = (*new, old + 1, old - 1, int(random.integers(0, 1 << 16)), 8000, 48_000)
        struct.pack_into(code, data, start, int(new[random.integers(len(new))]) % top)
    return data


def _swap(random: Random, data: bytearray) -> bytearray:
    size = _length(random, max(2, len(data) // 3))
    one, two = sorted(random.integers(0, max(1, len(data) - size), 2))
    if one + size <= two:
        data[one : one + size], data[two : two + size] = (
            data[two : two + size],
            data[one : one + size],
        )
    return data


def _repeat(random: Random, data: bytearray) -> bytearray:
    start, size = _place(random, data), _length(random, len(data))
    data[start:start] = data[start : start + size]
    return data


def _front(random: Random, data: bytearray) -> bytearray:
    """Put text, zeros or junk before the file or over its beginning."""
    junk = _filler(random, _length(random, 20_000))
    over = len(junk) if random.random() < 0.5 else 0
    data[:over] = junk
    return data


def _page(random: Random, data: bytearray) -> bytearray:
    """Ogg: change a page's granule, flags, serial or number, drop, double or move one."""
    pages = ogg_pages(data)
    if len(pages) < 3:
        return _byte_run(random, data)
    start, end = pages[random.integers(len(pages))]
    deed = random.integers(6)
    if deed < 3:
        (granule,) = struct.unpack_from("<q", data, start + 6)
        step = int(random.choice([-1, 1])) * _length(random, 10**7)
        struct.pack_into("<q", data, start + 6, int((granule + step, 0, -1)[deed]))
    elif deed == 3:
        data[start + int(random.choice([5, 14, 18]))] ^= 1 << random.integers(3)
    elif deed == 4:
        del data[start:end]
    else:
        target = pages[random.integers(len(pages))][0]
        data[target:target] = data[start:end]
    return ogg_checksums(data)


def _sync(random: Random, data: bytearray) -> bytearray:
    """MPEG, ADTS, FLAC: change bits of frame headers in the middle: rate, channels, bit rate."""
    values = np.frombuffer(bytes(data), np.uint8)[:-3]
    places = np.flatnonzero((values[:-1] == 0xFF) & (values[1:] >= 0xE0))
    if not len(places):
        return _bit_flips(random, data)
    for place in random.choice(places, _length(random, 20)):
        data[place + random.integers(1, 4)] ^= 1 << random.integers(8)
    return data


def _other_file(random: Random, data: bytearray, other: bytes) -> bytearray:
    """Put another file after this one, before it, or into its middle; or join two halves."""
    deed = random.integers(4)
    if deed == 0:
        return data + other
    if deed == 1:
        return bytearray(other) + data
    place = _place(random, data)
    if deed == 2:
        return data[:place] + other + data[place:]
    return data[:place] + other[random.integers(len(other)) :]


MUTATIONS: dict[str, Callable[[Random, bytearray], bytearray]] = {
    "bit flips": _bit_flips,
    "byte run": _byte_run,
    "truncation": _truncation,
    "insertion": _insertion,
    "deletion": _deletion,
    "header field": _field,
    "block swap": _swap,
    "block repeat": _repeat,
    "front": _front,
    "ogg page": _page,
    "frame header": _sync,
    "other file": lambda _, data: data,  # done in `case`, which knows the other files
}


def _weights() -> list[float]:
    raw = [
        1.5 if name in ("header field", "bit flips", "other file") else 1.0 for name in MUTATIONS
    ]
    raw = [0.5 if name == "ogg page" else w for name, w in zip(MUTATIONS, raw, strict=True)]
    return [weight / sum(raw) for weight in raw]
