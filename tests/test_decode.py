"""Files as the world has them: all of the sound is heard, or the source says what is missing."""

import io
import logging
import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from musicssl.audio import Source, formats, open_source
from musicssl.audio import decode as decode_module
from musicssl.audio.stream import ByteStream
from musicssl.errors import AudioError, NoAudioError

Floats = NDArray[np.float32]
RATE = 22_050  # of what is heard
SECONDS = 3.0


@cache
def sound(rate: int, channels: int, seed: int = 0, seconds: float = SECONDS) -> Floats:
    """Return pink-like noise with a melody, shape (channels, samples): nothing repeats."""
    random = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    notes = 220 * 2 ** (random.integers(0, 24, 60) / 12)
    melody = np.sin(2 * np.pi * np.cumsum(notes[(times * 8).astype(int)]) / rate)
    rows = [0.3 * melody + 0.05 * random.standard_normal(len(times)) for _ in range(channels)]
    return np.stack(rows).astype(np.float32)


@cache
def encoded(
    codec: str, container: str, rate: int = 44_100, channels: int = 2, seed: int = 0, **options: str
) -> bytes:
    """Return a whole file."""
    audio, out = sound(rate, channels, seed), io.BytesIO()
    bit_rate = options.pop("bit_rate", None)
    with av.open(out, "w", format=container, options=options) as file:
        stream: Any = file.add_stream(codec, rate=rate)
        stream.layout = "mono" if channels == 1 else "stereo"
        if bit_rate:
            stream.bit_rate = int(bit_rate)
        kind = stream.codec_context.codec.audio_formats[0].name
        convert = av.AudioResampler(format=kind, layout=stream.layout.name, rate=rate)
        frame = av.AudioFrame.from_ndarray(audio, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        for part in [*convert.resample(frame), *convert.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return out.getvalue()


@cache
def stored(
    kind: str, rate: int = 44_100, channels: int = 2, seed: int = 0, subtype: str = "PCM_16"
) -> bytes:
    """Return a file of plain samples."""
    out = io.BytesIO()
    soundfile.write(out, sound(rate, channels, seed).T, rate, format=kind, subtype=subtype)
    return out.getvalue()


@cache
def vorbis(rate: int = 44_100, channels: int = 2, seed: int = 0) -> bytes:
    """Return an Ogg Vorbis file."""
    out, audio = io.BytesIO(), sound(rate, channels, seed).T
    with soundfile.SoundFile(out, "w", rate, channels, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(audio), 4096):  # libvorbis overflows on long blocks
            file.write(audio[start : start + 4096])
    return out.getvalue()


def whole_opus() -> bytes:
    return encoded("libopus", "ogg", 48_000)


def ogg_flac() -> bytes:
    return encoded("flac", "ogg")


def heard(data: Any, **options: Any) -> tuple[Source, Floats]:
    """Decode and return the source and its samples."""
    audio = io.BytesIO(data) if isinstance(data, bytes) else data
    with open_source(audio, sample_rate=RATE, **options) as source:
        blocks = list(source.blocks())
    return source, np.concatenate(blocks)


def likeness(got: Floats, expected: Floats, at: float) -> float:
    """Return the best correlation of a second of `expected` with `got` near `at` seconds."""
    first = round(at * RATE)
    piece, slack = expected[first : first + RATE], 3000  # encoders' delays
    near = got[max(0, first - slack) : first + RATE + slack]
    products = np.correlate(near, piece)
    energy = np.convolve(near**2, np.ones(len(piece)), "valid")
    return float((products / np.sqrt(energy * (piece**2).sum() + 1e-12)).max())


@cache
def mono(rate: int, channels: int, seed: int = 0) -> Floats:
    """Return what should be heard of `sound`."""
    with open_source(sound(rate, channels, seed), rate, sample_rate=RATE) as source:
        return np.concatenate(list(source.blocks()))


def is_whole(source: Source, got: Floats, seconds: float) -> bool:
    """Tell whether all was heard, and nothing else was said."""
    return (
        abs(len(got) / RATE - seconds) < 0.02 * seconds + 0.08
        and not source.truncated
        and not source.damaged
    )


# --- lengths that headers say, or do not say


@pytest.mark.parametrize("order", [(320, 64, 96), (64, 320, 320), (32, 32, 320)])
def test_mp3_of_changing_bit_rate_without_a_length(order: tuple[int, ...]) -> None:
    parts = [
        encoded("libmp3lame", "mp3", seed=rate, write_xing="0", bit_rate=str(1000 * rate))
        for rate in order
    ]
    source, got = heard(b"".join(parts))  # the first frames promise another length
    assert is_whole(source, got, 3 * SECONDS)
    assert source.promised is None


@pytest.mark.parametrize(("factor", "says"), [(0.1, False), (0.0, False), (10, False)])
def test_a_wrong_count_of_frames_in_an_mp3s_tag(factor: float, says: bool) -> None:
    data = bytearray(encoded("libmp3lame", "mp3"))
    place = max(data.find(b"Xing"), data.find(b"Info")) + 8
    frames = int.from_bytes(data[place : place + 4], "big")
    data[place : place + 4] = round(frames * factor).to_bytes(4, "big")
    source, got = heard(bytes(data))
    assert abs(len(got) / RATE - SECONDS) < 0.1
    assert source.truncated is says


def test_an_mp3_that_was_cut_says_so() -> None:
    data = encoded("libmp3lame", "mp3")
    source, got = heard(data[: len(data) * 6 // 10])
    assert 0.5 < len(got) / RATE / SECONDS < 0.65
    assert source.truncated
    assert source.promised == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("total", [0, 1000, 44_100])
def test_flac_with_a_total_that_is_too_small(total: int) -> None:
    data = bytearray(encoded("flac", "flac"))
    data[21] &= 0xF0
    data[22:26] = total.to_bytes(4, "big")
    source, got = heard(bytes(data))
    assert is_whole(source, got, SECONDS)


def test_flac_with_a_total_that_is_too_large_invents_nothing() -> None:
    data = bytearray(encoded("flac", "flac"))
    data[22:26] = (10**7).to_bytes(4, "big")
    source, got = heard(bytes(data))
    assert abs(len(got) / RATE - SECONDS) < 0.01
    assert source.truncated


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "W64", "CAF", "AU", "RF64"])
@pytest.mark.parametrize("share", [0.3, 0.01])
def test_a_size_that_is_too_small_while_the_samples_go_on(
    kind: str, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(stored(kind))
    whole = round(SECONDS * 44_100) * 4
    small = round(whole * share) // 4 * 4
    name = {"AIFF": b"SSND", "AU": b".snd"}.get(kind, b"data")
    at = data.index(name, 0 if kind == "AU" else 12)
    if kind == "WAV":
        data[at + 4 : at + 8] = struct.pack("<I", small)
    elif kind == "AIFF":
        data[at + 4 : at + 8] = struct.pack(">I", small + 8)
    elif kind == "AU":
        data[8:12] = struct.pack(">I", small)
    elif kind == "CAF":
        data[at + 4 : at + 12] = struct.pack(">q", small + 4)
    elif kind == "W64":
        data[at + 16 : at + 24] = struct.pack("<Q", small + 24)
    elif data[at + 4 : at + 8] == b"\xff\xff\xff\xff":
        place = data.index(b"ds64") + 16
        data[place : place + 8] = struct.pack("<Q", small)
    else:
        data[at + 4 : at + 8] = struct.pack("<I", small)
    source, got = heard(bytes(data))
    assert abs(len(got) / RATE - SECONDS) < 0.01
    assert not source.truncated
    assert source.promised == pytest.approx(share * SECONDS, abs=0.01)
    assert "header promises" in caplog.text
    assert likeness(got, mono(44_100, 2), 1.5) > 0.99


@pytest.mark.parametrize("kind", ["WAV", "AU"])
@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "PCM_24"])
def test_a_size_that_is_too_small_of_other_samples(kind: str, subtype: str) -> None:
    data = bytearray(stored(kind, subtype=subtype))
    place, order = (data.index(b"data") + 4, "<I") if kind == "WAV" else (8, ">I")
    data[place : place + 4] = struct.pack(order, 9000)
    _, got = heard(bytes(data))
    assert abs(len(got) / RATE - SECONDS) < 0.01
    assert likeness(got, mono(44_100, 2), 1.5) > 0.99


@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
@pytest.mark.parametrize(
    "rest",
    [
        b"TAG" + bytes(125),
        b"ID3\4\0\0\0\0\2\0" + bytes(256),
        bytes(20_000),
        b"APETAGEX" + bytes(100),
        np.random.default_rng(3).bytes(100_000),  # such as a compressed file
        b"This is the text of a song. " * 3000,
    ],
)
def test_what_programs_put_behind_the_samples_is_not_heard(kind: str, rest: bytes) -> None:
    data = stored(kind)
    _, plain = heard(data)
    source, got = heard(data + rest)
    np.testing.assert_array_equal(got, plain)
    assert not source.truncated


# --- joined files, changes of format


def joined(*parts: bytes) -> bytes:
    return b"".join(parts)


CHAINS: dict[str, Callable[[int, int, int], bytes]] = {
    "mp3": lambda rate, channels, seed: encoded("libmp3lame", "mp3", rate, channels, seed),
    "aac": lambda rate, channels, seed: encoded("aac", "adts", rate, channels, seed),
    "opus": lambda rate, channels, seed: encoded("libopus", "ogg", 48_000, channels, seed),
    "vorbis": lambda rate, channels, seed: vorbis(rate, channels, seed),
    "flac": lambda rate, channels, seed: encoded("flac", "flac", rate, channels, seed),
    "ogg flac": lambda rate, channels, seed: encoded("flac", "ogg", rate, channels, seed),
    "wavpack": lambda rate, channels, seed: encoded("wavpack", "wv", rate, channels, seed),
    "mp2": lambda rate, channels, seed: encoded("mp2", "mp2", rate, channels, seed),
    "ac3": lambda rate, channels, seed: encoded("ac3", "ac3", rate, channels, seed),
    "m4a": lambda rate, channels, seed: encoded("aac", "ipod", rate, channels, seed),
    "wav": lambda rate, channels, seed: stored("WAV", rate, channels, seed),
    "aiff": lambda rate, channels, seed: stored("AIFF", rate, channels, seed),
    "au": lambda rate, channels, seed: stored("AU", rate, channels, seed),
    "caf": lambda rate, channels, seed: stored("CAF", rate, channels, seed),
    "w64": lambda rate, channels, seed: stored("W64", rate, channels, seed),
}


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (48_000, 2), (44_100, 1), (32_000, 1)])
def test_every_link_is_heard_at_its_own_rate(kind: str, rate: int, channels: int) -> None:
    make = CHAINS[kind]
    first, second = make(44_100, 2, 1), make(rate, channels, 2)
    source, got = heard(joined(first, second, first))
    alone = [len(heard(part)[1]) for part in (first, second, first)]
    assert abs(len(got) - sum(alone)) < 4000  # some encoders' delays are cut off once only
    assert not source.truncated
    assert not source.damaged
    expected = mono(48_000 if kind == "opus" else rate, channels, 2)
    rest = got[alone[0] - 3000 :]
    assert likeness(rest, np.r_[np.zeros(3000, np.float32), expected], 1.2) > 0.9


def test_a_second_chunk_of_samples_is_heard() -> None:
    data = stored("WAV")
    place = data.index(b"data")
    samples = data[place + 8 :]
    half = len(samples) // 8 * 4
    chunks = [b"data" + struct.pack("<I", len(x)) + x for x in (samples[:half], samples[half:])]
    _, got = heard(data[:place] + b"".join(chunks))
    assert abs(len(got) / RATE - SECONDS) < 0.01
    assert likeness(got, mono(44_100, 2), 1.8) > 0.99


def test_joined_true_audio_files() -> None:
    first, second = encoded("tta", "tta", seed=1), encoded("tta", "tta", 48_000, 1, seed=2)
    source, got = heard(first + second)
    assert is_whole(source, got, 2 * SECONDS)
    source, got = heard(first + JUNK)
    assert abs(len(got) / RATE - SECONDS) < 0.1
    assert source.damaged


def test_what_is_joined_to_an_m4a_and_cannot_be_heard_is_counted() -> None:
    source, got = heard(encoded("aac", "ipod") + encoded("libmp3lame", "mp3", write_xing="0"))
    assert abs(len(got) / RATE - SECONDS) < 0.1
    assert source.damaged


def test_tags_between_joined_mp3s_are_no_damage() -> None:
    picture = np.random.default_rng(1).bytes(200_000).replace(b"\xff", b"\x00")
    size = bytes(len(picture) >> shift & 127 for shift in (21, 14, 7, 0))
    part = encoded("libmp3lame", "mp3", id3v2_version="0", write_xing="0")
    source, got = heard(part + b"ID3\4\0\0" + size + picture + part)
    assert is_whole(source, got, 2 * SECONDS)
    title = b"TIT2\0\0\0\x0b\0\0\1" + "Song".encode("utf-16")  # begins as a frame does
    tagged = b"ID3\3\0\0\0\0\1\x00" + title.ljust(128, b"\0") + encoded("libmp3lame", "mp3")
    source, got = heard(encoded("libmp3lame", "mp3") + tagged)
    assert is_whole(source, got, 2 * SECONDS)


def test_links_of_different_codecs() -> None:
    data = joined(encoded("libopus", "ogg", 48_000), vorbis(seed=1))
    source, got = heard(data + encoded("flac", "ogg", seed=2))
    assert is_whole(source, got, 3 * SECONDS)


def test_a_chain_in_which_a_later_link_is_damaged_says_so() -> None:
    first, second = vorbis(), bytearray(vorbis(seed=1))
    second[200:3000] = bytes(2800)  # its headers
    source, got = heard(first + bytes(second))
    assert len(got) / RATE > SECONDS - 0.1
    assert source.damaged or source.truncated


# --- damage


def damaged(data: bytes, junk: bytes, at: float = 0.5) -> bytes:
    place = int(len(data) * at)
    return data[:place] + junk + data[place + len(junk) :]


def inserted(data: bytes, junk: bytes, at: float = 0.5) -> bytes:
    place = int(len(data) * at)
    return data[:place] + junk + data[place:]


JUNK = np.random.default_rng(5).bytes(5000)
DAMAGED = {
    "mp3, junk put in": lambda: inserted(encoded("libmp3lame", "mp3"), JUNK),
    "mp3, zeros put in": lambda: inserted(encoded("libmp3lame", "mp3"), bytes(70_000)),
    "mp3, 0xAA put in": lambda: inserted(encoded("libmp3lame", "mp3"), b"\xaa" * 3000),
    "mp3, junk in place": lambda: damaged(encoded("libmp3lame", "mp3"), JUNK[:1500]),
    "flac": lambda: damaged(encoded("flac", "flac"), JUNK),
    "flac, zeros": lambda: damaged(encoded("flac", "flac"), bytes(3000)),
    "m4a": lambda: damaged(encoded("aac", "ipod", bit_rate="192000"), JUNK[:1500]),
    "aac": lambda: damaged(encoded("aac", "adts", bit_rate="192000"), JUNK[:1500]),
    "vorbis": lambda: damaged(vorbis(), JUNK[:300]),
    "opus": lambda: damaged(encoded("libopus", "ogg", 48_000), JUNK[:300], 0.3),
    "wma": lambda: damaged(encoded("wmav2", "asf", bit_rate="192000"), JUNK[:1500]),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_costs_little_and_what_follows_is_heard(kind: str) -> None:
    _, got = heard(DAMAGED[kind]())
    assert len(got) / RATE > 0.6 * SECONDS
    expected = mono(48_000 if kind == "opus" else 44_100, 2)
    assert likeness(got[::-1], expected[::-1], 0.3) > 0.9  # counted from the end


@pytest.mark.parametrize("kind", ["flac", "m4a", "flac, zeros"])
def test_damage_is_counted_where_time_is_known(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    source, _ = heard(DAMAGED[kind]())
    assert source.damaged
    assert not source.truncated
    assert "damaged spot" in caplog.text


@pytest.mark.parametrize("before", [bytes(100), JUNK, b"HTTP/1.1 200 OK\r\n\r\n"])
@pytest.mark.parametrize("kind", ["flac", "vorbis", "wav", "mp3"])
def test_what_stands_before_the_beginning_is_passed_over(
    kind: str, before: bytes, tmp_path: Path
) -> None:
    data = CHAINS[kind](44_100, 2, 0)
    source, got = heard(before + data)
    assert abs(len(got) / RATE - SECONDS) < 0.1
    assert not source.truncated
    path = tmp_path / f"a.{'ogg' if kind == 'vorbis' else kind}"
    path.write_bytes(before + data)
    named, same = heard(path)
    np.testing.assert_array_equal(same, got)
    assert named.damaged == source.damaged


def crc(page: bytes) -> int:
    """Return an Ogg page's checksum (RFC 3533: polynomial 0x04c11db7, nothing reflected)."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


def with_page(data: bytes, number: int, change: Callable[[bytearray], None]) -> bytes:
    """Change one page of an Ogg file and make its checksum right."""
    at = 0
    for _ in range(number):
        at = data.index(b"OggS", at + 1)
    end = data.find(b"OggS", at + 1)
    page = bytearray(data[at : end if end > 0 else len(data)])
    change(page)
    page[22:26] = bytes(4)
    page[22:26] = crc(bytes(page)).to_bytes(4, "little")
    return data[:at] + bytes(page) + data[at + len(page) :]


@pytest.mark.parametrize("rate", [0, 8000, 16_000, 12_345])
def test_the_rate_in_an_opus_header_changes_nothing(rate: int) -> None:
    data = encoded("libopus", "ogg", 48_000)

    def change(page: bytearray) -> None:
        place = page.index(b"OpusHead") + 12
        page[place : place + 4] = rate.to_bytes(4, "little")

    _, expected = heard(data)
    source, got = heard(with_page(data, 0, change))
    np.testing.assert_array_equal(got, expected)
    assert not source.truncated


def test_an_opus_page_whose_position_is_ahead_ends_nothing() -> None:
    data = encoded("libopus", "ogg", 48_000)
    assert data.count(b"OggS") > 4

    def change(page: bytearray) -> None:
        position = int.from_bytes(page[6:14], "little") + 5
        page[6:14] = position.to_bytes(8, "little")

    source, got = heard(with_page(data, 3, change))
    assert is_whole(source, got, SECONDS)


def test_an_ogg_file_that_was_downloaded_by_half_says_so() -> None:
    data = vorbis()
    for size in (len(data) // 2, data.index(b"OggS", len(data) // 2)):
        source, got = heard(data[:size])
        assert len(got) / RATE < 0.8 * SECONDS
        assert source.truncated


def test_a_sliver_of_a_damaged_file_is_a_failure() -> None:
    data = stored("WAV")
    with pytest.raises(AudioError, match=r"damaged; only 9\.1 ms could be decoded"):
        heard(data[: 44 + 400 * 4])


@pytest.mark.parametrize("make", [vorbis, whole_opus, ogg_flac], ids=["vorbis", "opus", "flac"])
def test_a_lost_page_of_an_ogg_file_is_counted(make: Callable[[], bytes]) -> None:
    data = bytearray(make())
    whole = len(heard(bytes(data))[1])
    data[len(data) // 2] ^= 0x55  # the page's checksum is wrong now
    source, got = heard(bytes(data))
    assert len(got) < whole - RATE // 10
    assert source.damaged == 1
    assert not source.truncated


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "AIFF", "CAF"])
def test_a_size_that_is_too_small_of_floats(kind: str, subtype: str) -> None:
    data = bytearray(stored(kind, subtype=subtype))
    at = data.index(b"SSND" if kind == "AIFF" else b"data", 12)
    if kind == "CAF":
        data[at + 4 : at + 12] = struct.pack(">q", 80_000)
    else:
        data[at + 4 : at + 8] = struct.pack("<I" if kind == "WAV" else ">I", 80_000)
    source, got = heard(bytes(data))
    assert abs(len(got) / RATE - SECONDS) < 0.01
    assert source.promised is not None
    assert source.promised < 1


@pytest.mark.parametrize("first", ["flac", "wav", "vorbis"])
def test_what_is_joined_and_cannot_be_heard_is_counted(first: str) -> None:
    data = CHAINS[first](44_100, 2, 0)
    _, plain = heard(data)
    source, got = heard(data + b"\0\1\2\3" + np.random.default_rng(2).bytes(60_000))
    assert abs(len(got) - len(plain)) < 10
    assert source.damaged or source.truncated


@pytest.mark.parametrize("padding", [bytes(50_000), b"\xff" * 50_000])
@pytest.mark.parametrize("kind", ["mp3", "aac", "flac", "wav", "vorbis"])
def test_padding_at_the_end_is_no_loss(kind: str, padding: bytes) -> None:
    data = CHAINS[kind](44_100, 2, 0)
    _, plain = heard(data)
    source, got = heard(data + padding)
    assert abs(len(got) - len(plain)) < 0.06 * RATE
    assert not source.truncated
    assert not source.damaged


def test_a_chunk_that_is_cut_is_not_heard() -> None:
    data = stored("WAV")
    _, plain = heard(data)
    source, got = heard(data + b"id3 " + struct.pack("<I", 99_999) + JUNK[:1000])
    np.testing.assert_array_equal(got, plain)
    assert not source.truncated


def test_a_film_whose_picture_is_longer_is_whole() -> None:
    out, audio = io.BytesIO(), sound(44_100, 2)
    with av.open(out, "w", format="asf") as file:
        picture: Any = file.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        tone: Any = file.add_stream("wmav2", rate=44_100)
        tone.layout, tone.bit_rate = "stereo", 128_000
        frame = av.AudioFrame.from_ndarray(audio, format="fltp", layout="stereo")
        frame.sample_rate, frame.time_base, frame.pts = 44_100, Fraction(1, 44_100), 0
        file.mux(tone.encode(frame))
        file.mux(tone.encode(None))
        for _ in range(10 * round(2 * SECONDS)):
            image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            file.mux(picture.encode(image))
        file.mux(picture.encode(None))
    source, got = heard(out.getvalue())
    assert is_whole(source, got, SECONDS)


def test_flac_that_ffmpeg_refuses_frame_by_frame_is_read_by_libsndfile() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as file:
        stream: Any = file.add_stream("flac", rate=44_100, options={"frame_size": "16384"})
        stream.layout = "stereo"
        audio = np.round(sound(44_100, 2) * 32_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(audio.T.reshape(1, -1).copy(), "s16", "stereo")
        frame.sample_rate, frame.time_base, frame.pts = 44_100, Fraction(1, 44_100), 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    data = bytearray(out.getvalue())
    _, whole = heard(bytes(data))
    largest = int.from_bytes(data[10:12], "big")
    assert largest > 4608
    data[8:12] = b"\x10\x00\x10\x00"  # says that no frame has more than 4096 samples
    source, got = heard(bytes(data))
    np.testing.assert_allclose(got, whole, atol=1e-6)
    assert not source.truncated


def test_an_mp3_with_something_else_behind_lacks_nothing() -> None:
    data = encoded("libmp3lame", "mp3")
    source, got = heard(data + b"\xff\xd8\xff\xe0" + JUNK * 6)
    assert abs(len(got) / RATE - SECONDS) < 0.1
    assert not source.truncated


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU"])
def test_a_few_stray_bytes_behind_are_no_damage(kind: str) -> None:
    source, got = heard(stored(kind) + JUNK[:64])
    assert is_whole(source, got, SECONDS)


# --- what is no music


@pytest.mark.parametrize("suffix", ["au", "snd", "vox", "gsm", "raw", "wav", "mp3", "flac", "txt"])
@pytest.mark.parametrize(
    "content",
    [b"milk, bread, " * 300, b"<html><body>404</body></html>" * 100, b"#EXTM3U\nhttp://x/y.mp3\n"],
)
def test_text_is_no_music_whatever_its_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"shopping-list.{suffix}"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"shopping-list\.\w+: cannot be decoded"):
        heard(path)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "W64", "CAF", "AU", "RF64"])
def test_headers_of_any_numbers_are_read_or_refused(kind: str) -> None:
    data, random = stored(kind)[:4000], np.random.default_rng(1)
    for _ in range(300):
        bad = bytearray(data)
        at = int(random.integers(4, 96))
        bad[at : at + 4] = random.choice([b"\xff" * 4, bytes(4), b"\x7f\0\0\x08", random.bytes(4)])
        try:
            heard(bytes(bad))
        except AudioError as error:
            assert "\n" not in str(error)


def test_an_avi_that_is_cut_says_so() -> None:
    data = encoded("libmp3lame", "avi")
    source, got = heard(data)
    assert is_whole(source, got, SECONDS)
    source, got = heard(data[: len(data) * 6 // 10])
    assert len(got) / RATE < 0.7 * SECONDS
    assert source.truncated


def test_a_film_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(NoAudioError, match=r"a\.mp4: holds no audio"):
        heard(path)


def test_an_extension_helps_where_the_content_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = decode_module.FFmpegDecoder

    def opener(stream: Any, hint: str | None = None) -> Any:
        asked.append(hint)
        if hint is None:
            raise AudioError("unclear")
        return real(stream, hint)

    monkeypatch.setattr(decode_module, "FFmpegDecoder", opener)
    path = tmp_path / "a.m4a"
    path.write_bytes(encoded("aac", "ipod"))
    _, got = heard(path)
    assert asked == [None, "mov"]
    assert abs(len(got) / RATE - SECONDS) < 0.1
    stream = io.BytesIO(path.read_bytes())
    stream.name = "b.m4a"
    _, again = heard(stream)
    np.testing.assert_array_equal(again, got)


def test_hints_are_of_extensions_that_are_taken() -> None:
    assert set(formats.FORMAT_HINTS) <= formats.AUDIO_EXTENSIONS
    names = set(av.formats_available)
    for hint in set(formats.FORMAT_HINTS.values()):
        assert any(hint in name.split(",") for name in names), hint


# --- the medium and file objects


class Failing(io.BytesIO):
    """Fails from the given byte on, the first time or always."""

    def __init__(self, data: bytes, at: int, error: BaseException, times: int = 10**9) -> None:
        super().__init__(data)
        self.at, self.error, self.times = at, error, times

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() + max(0, size or 0) > self.at and self.times:
            self.times -= 1
            raise self.error
        return super().read(size)


WHOLE: dict[str, Callable[[], bytes]] = {
    "wav": lambda: stored("WAV"),
    "aiff": lambda: stored("AIFF"),
    "flac": lambda: encoded("flac", "flac"),
    "mp3": lambda: encoded("libmp3lame", "mp3"),
    "ogg": lambda: vorbis(),
    "opus": lambda: encoded("libopus", "ogg", 48_000),
    "m4a": lambda: encoded("aac", "ipod"),
    "wma": lambda: encoded("wmav2", "asf", bit_rate="128000"),
}
ERRORS: Iterable[Exception] = (
    OSError(5, "Input/output error"),
    TimeoutError("timed out"),
    KeyError("lost"),
    RuntimeError("closed"),
)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("times", [1, 10**9])
def test_a_medium_that_fails_is_an_error_and_no_short_file(
    kind: str, error: Exception, times: int
) -> None:
    data = WHOLE[kind]()
    with pytest.raises(AudioError) as caught:
        heard(Failing(data, len(data) // 2, error, times))
    assert caught.value.__cause__ is error
    assert "cannot be read" in str(caught.value) or "must be open" in str(caught.value)


def test_a_disk_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(stored("WAV"))
    error = OSError(5, "Input/output error")
    bad = Failing(path.read_bytes(), 300_000, error)
    monkeypatch.setattr(decode_module, "open_path", lambda _: bad)
    with pytest.raises(AudioError, match=r"a\.wav: cannot be read to its end \(Input/output"):
        heard(path)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
@pytest.mark.parametrize("times", [1, 10**9])
def test_ctrl_c_in_a_callback_is_not_lost(kind: str, times: int) -> None:
    data = WHOLE[kind]()
    with pytest.raises(KeyboardInterrupt):
        heard(Failing(data, len(data) // 2, KeyboardInterrupt(), times))


class Odd(io.BytesIO):
    """A file object whose `read` answers as it was told."""

    answer: Callable[[bytes, int], Any]

    def read(self, size: int | None = -1) -> Any:
        data = super().read(size)
        return type(self).answer(data, size or 0) if size and size > 0 else data


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda data, size: data + bytes(100_000), r"returned \d+ bytes: a broken file object"),
        (lambda data, size: None, "returned NoneType, not bytes"),
        (lambda data, size: "text", "returned str, not bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_file_objects_that_answer_what_they_must_not(
    kind: str, answer: Callable[[bytes, int], Any], message: str
) -> None:
    odd = type("Broken", (Odd,), {"answer": staticmethod(answer)})
    with pytest.raises(AudioError, match=message):
        heard(odd(WHOLE[kind]()))


@pytest.mark.parametrize("kind", WHOLE)
def test_file_objects_that_give_little_at_a_time(kind: str) -> None:
    data = WHOLE[kind]()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size, 1000) if size and size > 0 else size)

    np.testing.assert_array_equal(heard(Slow(data))[1], heard(data)[1])


def test_file_objects_whose_seek_says_nothing() -> None:
    class Quiet(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> Any:
            super().seek(offset, whence)

    for kind in ("wav", "flac", "m4a"):
        data = WHOLE[kind]()
        np.testing.assert_array_equal(heard(Quiet(data))[1], heard(data)[1])


def test_file_objects_at_their_end() -> None:
    written = io.BytesIO()
    written.write(WHOLE["wav"]())
    with pytest.raises(AudioError, match=r"0 bytes from where it stands; .*seek\(0\)"):
        heard(written)


def test_an_mp3_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    data = encoded("libmp3lame", "mp3", bit_rate="320000")
    path.write_bytes(data)
    with open_source(path, sample_rate=RATE) as source:
        path.write_bytes(data[: len(data) // 2])
        got = sum(map(len, source.blocks()))
    assert got / RATE < 0.8 * SECONDS
    assert source.truncated


@pytest.mark.parametrize("size", [0x7F000008, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", ["AIFF", "WAV", "AU"])
def test_sizes_that_pipes_leave_are_no_promise(kind: str, size: int) -> None:
    data = bytearray(stored(kind))
    at = {"AIFF": lambda: data.index(b"SSND") + 4, "WAV": lambda: 40, "AU": lambda: 8}[kind]()
    data[at : at + 4] = struct.pack("<I" if kind == "WAV" else ">I", size)
    source, got = heard(bytes(data))
    assert abs(len(got) / RATE - SECONDS) < 0.01
    assert not source.truncated


def test_file_objects_whose_tell_says_nonsense() -> None:
    class Nonsense(io.BytesIO):
        def tell(self) -> Any:
            return "here"

    with pytest.raises(AudioError, match=r"tell\(\) returned 'here'"):
        heard(Nonsense(WHOLE["wav"]()))


@pytest.mark.parametrize("kind", CHAINS)
def test_paths_and_file_objects_give_the_same_samples(tmp_path: Path, kind: str) -> None:
    data = joined(CHAINS[kind](44_100, 2, 1), CHAINS[kind](44_100, 1, 2))
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    shifted = io.BytesIO(b"before" + data)
    shifted.seek(6)
    np.testing.assert_array_equal(heard(path)[1], heard(shifted)[1])


def test_streams_over_one_file_do_not_disturb_each_other() -> None:
    data = np.random.default_rng(0).bytes(10_000)
    whole = ByteStream(io.BytesIO(b"xx" + data), start=2)
    one, other = whole.part(0, 5000), whole.part(5000)
    parts: dict[ByteStream, bytes] = {one: b"", other: b"", whole: b""}
    for size in (1, 700, 3, 2500, 900, 4000, 9000):
        for stream in parts:
            parts[stream] += stream.read(size)
            assert whole.peek(17, 5) == data[17:22]
            assert one.length() == 5000
            late = whole.part(123)
            assert late.read(4) == data[123:127]
    assert parts == {one: data[:5000], other: data[5000:], whole: data}


# --- channels


def test_channels_in_opposite_phase_are_named(caplog: pytest.LogCaptureFixture) -> None:
    left = sound(44_100, 1)[0]
    source, got = heard(np.stack([left, -left]), sr=44_100)
    assert source.cancels
    assert not got.any()
    assert "opposite phase" in caplog.text
    for mono_of, expected in (("left", left), ("right", -left)):
        caplog.clear()
        source, got = heard(np.stack([left, -left]), sr=44_100, mono=mono_of)
        _, alone = heard(expected, sr=44_100)
        np.testing.assert_array_equal(got, alone)
        assert not source.cancels
        assert not caplog.records


@pytest.mark.parametrize("channels", [1, 2])
def test_ordinary_sound_and_silence_are_not_said_to_cancel(
    channels: int, caplog: pytest.LogCaptureFixture
) -> None:
    for audio in (sound(44_100, channels), np.zeros((channels, 44_100), np.float32)):
        source, _ = heard(audio, sr=44_100)
        assert not source.cancels
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("channels", [6, 7, 8, 9, 16, 24])
def test_many_channels_of_a_compressed_file(channels: int) -> None:
    # PyAV counts planes up to the first that is missing, and eight or more have none missing
    random = np.random.default_rng(0)
    audio = random.uniform(-0.5, 0.5, (channels, 9000)).astype(np.float32)
    names = {6: "5.1", 7: "6.1", 8: "7.1"}
    out = io.BytesIO()
    with av.open(out, "w", format="wv") as file:
        stream: Any = file.add_stream("wavpack", rate=RATE)
        stream.layout = names.get(channels, f"{channels} channels")
        stream.format = "fltp"
        packed = audio.T.reshape(1, -1).copy()
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=stream.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        planar = av.AudioResampler(format="fltp", layout=stream.layout.name, rate=RATE)
        for part in [*planar.resample(frame), *planar.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    source, got = heard(out.getvalue())
    assert source.channels == channels
    np.testing.assert_allclose(got, audio.mean(0), atol=1e-6)
