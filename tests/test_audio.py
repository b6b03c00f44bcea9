import io
import logging
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from musicssl.audio import AUDIO_EXTENSIONS, RESAMPLERS, Source, open_source, resampled_length
from musicssl.audio import decoder as decoder_module
from musicssl.audio import resample as resample_module
from musicssl.audio import sndfile as sndfile_module
from musicssl.errors import AudioError, ConfigError, DependencyError

RATE = 22_050
Floats = NDArray[np.float32]


def read(audio: Any, sr: float | None = None, *, sample_rate: int = RATE, **options: Any) -> Floats:
    with open_source(audio, sr, sample_rate=sample_rate, **options) as source:
        return join(source)


def join(source: Source) -> Floats:
    blocks = list(source.blocks())
    assert all(block.dtype == np.float32 and block.ndim == 1 and len(block) for block in blocks)
    return np.concatenate(blocks)


def tone(seconds: float, rate: int, hz: float = 440.0, channels: int = 1) -> Floats:
    """Return shape (channels, samples): one octave-ish more in every further channel."""
    times = np.arange(round(seconds * rate)) / rate
    rows = [0.3 * np.sin(2 * np.pi * hz * (1 + i) * times) for i in range(channels)]
    return np.stack(rows).astype(np.float32)


def noise(samples: int, channels: int = 1, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    return random.uniform(-0.5, 0.5, (channels, samples)).astype(np.float32)


def write(path: Path, audio: Floats, rate: int, **options: Any) -> Path:
    with soundfile.SoundFile(path, "w", rate, len(audio), **options) as file:
        for start in range(0, audio.shape[1], 4096):  # libvorbis overflows on long blocks
            file.write(audio.T[start : start + 4096])
    return path


def encode(
    path: Path, audio: Floats, rate: int, codec: str, container: str, **options: str
) -> Path:
    """Write with PyAV."""
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout = "mono" if len(audio) == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(audio, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return path


def without_package(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    find = sys.meta_path

    class Refuse:
        @staticmethod
        def find_spec(module: str, *_: object) -> None:
            if module.split(".")[0] == name:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(sys, "meta_path", [Refuse, *find])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "BLOCK_VALUES", 2000)


def store(audio: Floats, dtype: np.dtype[Any]) -> tuple[NDArray[Any], Floats]:
    """Return `audio` as `dtype`, and as what that means."""
    if dtype.kind == "f":
        stored = audio.astype(dtype)
        return stored, stored.astype(np.float32)
    scale, middle = 2.0 ** (8 * dtype.itemsize - 1), 128 if dtype.kind == "u" else 0
    stored = np.round(audio.astype(np.float64) * scale + middle).astype(dtype)
    return stored, ((stored.astype(np.float64) - middle) / scale).astype(np.float32)


# --- lengths


@given(st.integers(0, 10**10), st.integers(1000, 10**6), st.integers(1000, 10**6))
def test_resampled_length_is_the_exact_ceiling(samples: int, before: int, after: int) -> None:
    length = resampled_length(samples, before, after)
    assert (length - 1) * before < samples * after <= length * before


# --- blocks equal the whole


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 30_000),
    before=st.one_of(st.integers(1000, 50_000), st.sampled_from([8000, 44_100, 48_000, 96_000])),
    after=st.sampled_from([16_000, 22_050, 24_000, 44_100]),
    channels=st.integers(1, 3),
    dtype=st.sampled_from(["float16", "float32", "float64", "int16", "int32", "uint8", ">i2"]),
    block=st.integers(50, 5000),
)
@example(samples=1, before=96_000, after=16_000, channels=1, dtype="float32", block=50)
@example(samples=3, before=44_100, after=44_100, channels=2, dtype="int16", block=1)
def test_blocks_equal_the_whole(
    samples: int, before: int, after: int, channels: int, dtype: str, block: int
) -> None:
    stored, audio = store(noise(samples, channels), np.dtype(dtype))
    mono = audio.mean(0)
    whole = mono if before == after else soxr.resample(mono, before, after, quality="HQ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "BLOCK_VALUES", block * channels)
        with open_source(stored, before, sample_rate=after, channel_axis=0) as source:
            assert (source.native_samples, source.channels) == (samples, channels)
            got = join(source)
            assert len(got) == source.samples == resampled_length(samples, before, after)
    assert len(got) - len(whole) in (0, 1)  # soxr rounds, we count up
    np.testing.assert_allclose(got[: len(whole)], whole, atol=1e-5)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("wav", {"subtype": "FLOAT"}),
        ("flac", {}),
        ("aiff", {}),
        ("caf", {}),
        ("w64", {}),
        ("ogg", {"subtype": "VORBIS"}),
        ("opus", {"format": "OGG", "subtype": "OPUS"}),
        ("mp3", {}),
    ],
)
def test_file_blocks_equal_the_whole(
    tmp_path: Path, small_blocks: None, suffix: str, options: dict[str, str]
) -> None:
    path = write(tmp_path / f"a.{suffix}", noise(70_001, 2), 48_000, **options)
    whole, _ = soundfile.read(path, dtype="float32")
    with open_source(path, sample_rate=RATE) as source:
        assert (source.native_rate, source.channels) == (48_000, 2)
        assert source.native_samples == len(whole)
        assert source.duration == len(whole) / 48_000
        got = join(source)
        assert not source.truncated
    assert len(got) == source.samples
    expected = soxr.resample(whole.mean(1), 48_000, RATE)
    np.testing.assert_allclose(got[: len(expected)], expected, atol=1e-5)
    np.testing.assert_array_equal(read(str(path), 48_000.0), got)
    np.testing.assert_array_equal(read(io.BytesIO(path.read_bytes())), got)


@pytest.mark.parametrize("resampler", RESAMPLERS)
@pytest.mark.parametrize("before", [44_100, 16_000, 44_099])
def test_resamplers_do_not_see_the_blocks(
    monkeypatch: pytest.MonkeyPatch, resampler: str, before: int
) -> None:
    if resampler != "soxr":
        pytest.importorskip(resampler, exc_type=ImportError)
    if resampler == "torchaudio" and before == 44_099:
        pytest.skip("refused: see test_torchaudio_refuses_giant_filters")
    audio = noise(20_001)
    whole = read(audio, before, resampler=resampler)
    monkeypatch.setattr(decoder_module, "BLOCK_VALUES", 777)
    blocks = read(audio, before, resampler=resampler)
    assert len(whole) == len(blocks) == resampled_length(20_001, before, RATE)
    np.testing.assert_allclose(blocks, whole, atol=2e-6)
    if resampler == "resampy":
        import resampy

        original = resampy.resample(audio[0], before, RATE, filter="kaiser_best")
    elif resampler == "torchaudio":
        import torchaudio.functional

        original = torchaudio.functional.resample(torch.from_numpy(audio[0]), before, RATE).numpy()
    else:
        original = soxr.resample(audio[0], before, RATE)
    assert len(whole) - len(original) in (0, 1)
    np.testing.assert_allclose(whole[: len(original)], original, atol=2e-6)


@pytest.mark.parametrize("resampler", RESAMPLERS)
@pytest.mark.parametrize("samples", [1, 2, 50])
def test_resamplers_take_the_shortest_audio(resampler: str, samples: int) -> None:
    if resampler != "soxr":
        pytest.importorskip(resampler, exc_type=ImportError)
    got = read(np.full(samples, 0.5, np.float32), 48_000, resampler=resampler)
    assert len(got) == resampled_length(samples, 48_000, RATE)
    assert np.isfinite(got).all()
    assert np.abs(got).max() > 0.1


def test_a_tone_above_the_new_nyquist_vanishes_and_one_below_stays() -> None:
    assert np.abs(read(tone(1, 44_100, 15_000), 44_100)[2000:-2000]).max() < 1e-4
    low = read(tone(1, 44_100, 1000), 44_100)
    np.testing.assert_allclose(low[2000:-2000], tone(1, RATE, 1000)[0, 2000:-2000], atol=1e-4)


def test_last_sample_is_not_a_step_to_zero() -> None:
    steady = np.full(48_001, 0.5, np.float32)
    with_more = read(np.full(60_000, 0.5, np.float32), 48_000)
    got = read(steady, 48_000)
    assert abs(got[-1]) > 0.1
    np.testing.assert_allclose(got[:-400], with_more[: len(got) - 400], atol=1e-3)


# --- arrays and tensors


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("int8", [-128, 0, 64], [-1, 0, 0.5]),
        ("uint8", [0, 128, 192], [-1, 0, 0.5]),
        ("int16", [-32768, 0, 16384], [-1, 0, 0.5]),
        ("int32", [-(2**31), 0, 2**30], [-1, 0, 0.5]),
        ("float16", [-1, 0, 0.5], [-1, 0, 0.5]),
        ("float64", [-1, 0, 0.5], [-1, 0, 0.5]),
    ],
)
def test_integers_are_scaled(dtype: str, values: list[int], expected: list[float]) -> None:
    array = np.array(values, dtype)
    before = array.copy()
    np.testing.assert_array_equal(read(array, RATE), np.array(expected, np.float32))
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int16", "uint8"])
def test_tensors_are_as_arrays(dtype: str) -> None:
    tensor = (torch.linspace(-1, 1, 500) * 100).to(getattr(torch, dtype))
    tensor = tensor / 128 if tensor.is_floating_point() else tensor
    array = tensor.float().numpy() if dtype == "bfloat16" else tensor.numpy()
    np.testing.assert_array_equal(read(tensor, 44_100), read(array, 44_100))


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_subclasses_of_arrays() -> None:
    audio = noise(100, 2)
    np.testing.assert_array_equal(read(np.asmatrix(audio), RATE), read(audio, RATE))


def test_tensors_with_gradients_are_taken_as_they_are() -> None:
    tensor = torch.zeros(2, 100, requires_grad=True)
    assert len(read(tensor, RATE)) == 100
    with pytest.raises(AudioError, match="expected a dense tensor"):
        read(torch.zeros(2, 100).to_sparse(), RATE)


@pytest.mark.parametrize("channels", [1, 2, 3, 64])
def test_mono_is_the_mean(channels: int) -> None:
    audio = noise(3000, channels)
    mean = audio.astype(np.float64).mean(0)
    np.testing.assert_allclose(read(audio, RATE, channel_axis=0), mean, atol=1e-6)
    for axis in (1, -1):
        np.testing.assert_allclose(read(audio.T, RATE, channel_axis=axis), mean, atol=1e-6)
    np.testing.assert_allclose(read(audio, RATE, channel_axis=-2), mean, atol=1e-6)


def test_blocks_belong_to_the_reader() -> None:
    audio = noise(1000)[0]
    before = audio.copy()
    with open_source(audio, RATE, sample_rate=RATE) as source:
        for block in source.blocks():
            block += 1
    np.testing.assert_array_equal(audio, before)


@pytest.mark.parametrize(
    ("audio", "options", "message"),
    [
        (np.zeros((500, 2)), {}, r"shape \(500, 2\).*500 channels of 2 samples.*channel_axis=1"),
        (np.zeros((3, 2)), {}, "channel_axis=0"),
        (np.zeros((65, 200)), {}, "65 channels"),
        (np.zeros((0, 200)), {}, "0 channels"),
        (np.zeros((2, 100)), {"channel_axis": 1}, "100 channels; expected 1 to 64. Transposed"),
        (np.zeros((1, 2, 200)), {}, "3 dimensions"),
        (np.zeros(()), {}, "0 dimensions"),
        (np.zeros(0), {}, "empty: there are 0 samples"),
        (np.zeros((2, 0)), {}, "empty: there are 0 samples"),
        (np.zeros(9), {"channel_axis": 2}, "channel_axis is 2; expected 0, 1, -1 or -2"),
        (np.zeros(9, bool), {}, "dtype bool; expected one of float16"),
        (np.zeros(9, complex), {}, "dtype complex128"),
        (np.zeros(9, np.int64), {}, "dtype int64"),
        (np.zeros(9, object), {}, "dtype object"),
        (torch.zeros(9, dtype=torch.int64), {}, "dtype int64"),
        (torch.zeros(9, dtype=torch.complex64), {}, "Tensor.*dtype complex64"),
        ([0.0, 1.0], {}, r"audio \(list\): expected a path, binary file, numpy array"),
        (b"RIFF", {}, "wrap it in io.BytesIO"),
        (None, {}, "NoneType"),
    ],
)
def test_what_cannot_be_audio_is_refused(audio: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AudioError, match=message):
        open_source(audio, RATE, sample_rate=RATE, **options)


@pytest.mark.parametrize("rate", [1000, 44_100.0, np.int64(8000), np.float32(16_000), 1_000_000])
def test_rates_that_are_allowed(rate: float) -> None:
    with open_source(np.zeros(50, np.float32), rate, sample_rate=RATE) as source:
        assert source.native_rate == rate
        assert type(source.native_rate) is int


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (44.1, r"sr is 44.1; expected 1,000 to 1,000,000 Hz. Is that kHz\?"),
        (0, "sr is 0; expected 1,000"),
        (-44_100, "sr is -44100"),
        (2_000_000, "sr is 2000000"),
        (22_050.5, "whole number of Hz"),
        (float("nan"), "sr is nan"),
        (float("inf"), "sr is inf"),
        (True, "sr is True"),
        ("44100", "sr is '44100'"),
        (None, "sr is missing"),
    ],
)
def test_rates_that_are_not(rate: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        open_source(np.zeros(50), rate, sample_rate=RATE)


def test_the_models_rate_is_checked_too() -> None:
    with pytest.raises(AudioError, match=r"sample_rate is 22.05"):
        open_source(np.zeros(50), RATE, sample_rate=22.05)  # type: ignore[arg-type]


# --- files


def test_a_rate_that_the_file_denies(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(0.1, 44_100), 44_100)
    with pytest.raises(AudioError, match=r"a.wav: sr=48000 was given, but the file says 44100"):
        open_source(path, 48_000, sample_rate=RATE)


def test_a_files_own_rate_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(1000), 500)
    with pytest.raises(AudioError, match=r"a.wav: its sample rate is 500"):
        open_source(path, sample_rate=RATE)


@pytest.mark.parametrize("name", ["a.mp3", "a.raw", "a", "ä: 音 %03d.txt"])
def test_files_are_decoded_by_content(tmp_path: Path, name: str) -> None:
    audio = tone(0.5, RATE)
    path = write(tmp_path / name, audio, RATE, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(read(path), audio[0])


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(0.1, RATE), RATE)
    odd = path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    assert len(read(odd)) == 2205


def test_file_objects_start_where_they_stand_and_stay_open(tmp_path: Path) -> None:
    audio = tone(0.5, RATE)
    path = write(tmp_path / "a.wav", audio, RATE, subtype="FLOAT")
    data = io.BytesIO(b"x" * 100 + path.read_bytes())
    data.seek(100)
    np.testing.assert_array_equal(read(data), audio[0])
    assert not data.closed
    with path.open("rb") as file:
        assert open_source(file, sample_rate=RATE).name == str(path)
        assert not file.closed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: io.StringIO("text"), "open it with mode 'rb'"),
        (lambda: SimpleNamespace(read=lambda n: b""), "must be open and seekable"),
        (lambda: closed(io.BytesIO()), "must be open and seekable"),
        (lambda: io.BytesIO(b"not audio" * 99), r"audio \(BytesIO\): cannot be decoded"),
        (lambda: io.BytesIO(), "holds 0 bytes from where it stands"),
    ],
)
def test_file_objects_that_cannot_be_read(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(AudioError, match=message):
        open_source(make(), sample_rate=RATE)


def closed(file: io.BytesIO) -> io.BytesIO:
    file.close()
    return file


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.wav", None, "missing.wav: cannot be opened .No such file"),
        ("null\0.wav", None, "cannot be opened .*null"),
        ("zero.mp3", b"", "zero.mp3: is empty: 0 bytes"),
        (
            "text.mp3",
            b"hello world " * 999,
            "text.mp3: cannot be decoded .FFmpeg: Invalid.*libsndfile: Format not",
        ),
        (
            "text.wav",
            b"hello",
            "text.wav: cannot be decoded .FFmpeg: Invalid.*libsndfile: Format not",
        ),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:9,\na.wav\n", "list.m3u8: cannot be decoded"),
    ],
)
def test_paths_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    write(tmp_path / "a.wav", tone(0.5, RATE), RATE)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=message):
        open_source(str(tmp_path / name), sample_rate=RATE)


def test_folders_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is a directory; musicssl-embed takes folders"):
        open_source(tmp_path, sample_rate=RATE)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", tone(0.1, RATE), RATE)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match=r"a.wav: cannot be opened \(Permission denied\)"):
        open_source(path, sample_rate=RATE)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_pipes_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        open_source(tmp_path / "pipe.wav", sample_rate=RATE)


@pytest.mark.parametrize("suffix", ["wav", "ogg"])
def test_files_without_samples(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", np.zeros((2, 0), np.float32), 44_100)
    with pytest.raises(AudioError, match=f"a.{suffix}: .*no samples"):
        open_source(path, sample_rate=RATE)


def test_too_many_channels_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(100, 65), 44_100)
    with pytest.raises(AudioError, match=r"a.wav: 65 channels"):
        open_source(path, sample_rate=RATE)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(minutes: int) -> int:
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 8000, 2) as file:
            for _ in range(minutes):
                file.write(np.zeros((480_000, 2), np.int16))
        tracemalloc.start()
        with open_source(path, sample_rate=RATE) as source:
            for _ in source.blocks():
                pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    assert peak(12) < 1.1 * peak(1)


def test_many_sources_in_threads(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.flac", noise(30_000, 2, i), 44_100) for i in range(6)]
    alone = [read(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(read, paths * 3), alone * 3, strict=True):
            np.testing.assert_array_equal(got, expected)
    assert threading.active_count() < 8


# --- reading once


def test_blocks_are_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(0.1, RATE), RATE)
    with open_source(path, sample_rate=RATE) as source:
        join(source)
        with pytest.raises(AudioError, match=r"a.wav: already read or closed"):
            source.blocks()
    source = open_source(path, sample_rate=RATE)
    source.close()
    source.close()
    with pytest.raises(AudioError, match="already read or closed"):
        source.blocks()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_files_are_closed(tmp_path: Path) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    path = write(tmp_path / "a.wav", noise(50_000), RATE)
    bad = write(tmp_path / "b.wav", np.full((1, 99), np.nan, np.float32), RATE, subtype="FLOAT")
    before = opened()
    kept = [open_source(path, sample_rate=RATE) for _ in range(3)]
    assert opened() == before + 3
    for source in kept:
        join(source)
    assert opened() == before
    broken = open_source(bad, sample_rate=RATE)
    with pytest.raises(AudioError):
        join(broken)
    with pytest.raises(AudioError):
        open_source(path, 8000, sample_rate=RATE)
    assert opened() == before


# --- what is in the samples


def test_non_finite_samples_are_counted_and_placed(small_blocks: None) -> None:
    audio = noise(10_000, 2)
    audio[1, 5000], audio[0, 5001], audio[1, 5500] = np.nan, np.inf, -np.inf
    message = r"of shape.*: 3 of 1,000 samples from 5.000 s on are NaN or infinite.*at 5.000000 s"
    with pytest.raises(AudioError, match=message):
        read(audio, 1000)


def test_infinities_of_both_signs_and_huge_doubles() -> None:
    with pytest.raises(AudioError, match=r"1 of 2 samples.*NaN or infinite"):
        read(np.array([[0.1, np.inf], [0.1, -np.inf]], np.float32), RATE)
    with pytest.raises(AudioError, match="NaN or infinite"):
        read(np.array([0.0, 1e300]), RATE)


def test_integers_stored_as_floats() -> None:
    with pytest.raises(AudioError, match=r"peak 9,000, but.*stored as floats: divide by 3"):
        read(tone(1, RATE) * 30_000, RATE)
    assert np.abs(read(tone(1, RATE) * 100, RATE)).max() > 29


def test_silence_offset_and_clipping_are_accepted() -> None:
    for value in (0, 1, -1, 3):
        assert np.all(read(np.full(100, value, np.float32), RATE) == value)


# --- cut and damaged files


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


@pytest.mark.parametrize("suffix", ["wav", "aiff", "w64", "au", "flac", "mp3"])
def test_cut_files_give_what_is_there(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = cut(write(tmp_path / f"a.{suffix}", noise(100_000, 2), 44_100), 0.6)
    with open_source(path, sample_rate=44_100) as source:
        got = join(source)
        assert source.truncated
    assert 0.5 < len(got) / 100_000 < 0.62
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name.startswith("musicssl.")
    assert f"a.{suffix}: cut off or damaged; only its first 1." in record.message
    assert "of 2.2" in record.message


def test_damage_costs_only_what_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.flac", noise(200_000), 44_100)
    whole = read(path, sample_rate=44_100)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    with open_source(path, sample_rate=44_100) as source:
        got = join(source)
        assert source.damaged == 1
        assert not source.truncated
    lost = 200_000 - len(got)
    assert 0 < lost < 20_000
    same = int(np.argmin(got == whole[: len(got)]))
    np.testing.assert_array_equal(got[same:], whole[same + lost :])
    assert "a.flac: 1 damaged spot was skipped" in caplog.text


@pytest.mark.parametrize("suffix", ["flac", "wav", "mp3", "ogg"])
def test_tags_after_the_audio_are_no_damage(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / f"a.{suffix}", noise(50_000), 44_100)
    path.write_bytes(path.read_bytes() + b"TAG" + b"title".ljust(125, b"\0"))
    with open_source(path, sample_rate=RATE) as source:
        assert len(join(source)) == 25_000
        assert not source.truncated
    assert not caplog.records


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFDB])
def test_sizes_that_stand_for_unknown_are_not_a_loss(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.wav", noise(5000), RATE)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(data)
    with open_source(path, sample_rate=RATE) as source:
        assert len(join(source)) == 5000
        assert not source.truncated
    assert not caplog.records


def test_flac_of_unknown_length(tmp_path: Path, small_blocks: None) -> None:
    path = write(tmp_path / "a.flac", noise(9001), RATE)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    with open_source(path, sample_rate=RATE) as source:
        assert source.native_samples is source.samples is source.duration is None
        assert len(join(source)) == 9001
        assert not source.truncated


def test_a_header_that_lies_about_the_length_does_not_change_the_blocks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.flac", noise(44_100), 44_100)
    data = bytearray(path.read_bytes())
    data[22:26] = struct.pack(">I", 200_000)
    path.write_bytes(data)
    with open_source(path, sample_rate=RATE) as source:
        assert source.native_samples == 200_000
        assert len(join(source)) == 22_050
        assert source.truncated
    assert len(caplog.records) == 1


def test_mp3_without_a_length_is_unknown_instead_of_guessed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio = noise(100_000)
    path = encode(tmp_path / "a.mp3", audio, 44_100, "libmp3lame", "mp3", write_xing="0")
    with open_source(path, sample_rate=RATE) as source:
        assert source.native_samples is None
        assert abs(len(join(source)) - 50_000) < 1200
        assert not source.truncated
    tagged = b"ID3\3\0\0" + bytes([0, 0, 64, 0]) + bytes(8192)
    path = encode(tmp_path / "b.mp3", audio, 44_100, "libmp3lame", "mp3", id3v2_version="0")
    path.write_bytes(tagged + path.read_bytes())
    with open_source(path, sample_rate=RATE) as source:
        assert source.native_samples == 100_000
        assert len(join(source)) == 50_000
    assert not caplog.records


# --- FFmpeg


@pytest.mark.parametrize(
    ("suffix", "codec", "container"), [("m4a", "aac", "ipod"), ("aac", "aac", "adts")]
)
def test_ffmpeg_reads_what_libsndfile_cannot(
    tmp_path: Path, small_blocks: None, suffix: str, codec: str, container: str
) -> None:
    audio = tone(2, 44_100, channels=2)
    path = encode(tmp_path / f"a:%03d.{suffix}", audio, 44_100, codec, container)
    with open_source(path, sample_rate=44_100) as source:
        assert (source.native_rate, source.channels) == (44_100, 2)
        assert source.native_samples is None or abs(source.native_samples - 88_200) < 3000
        got = join(source)
        assert not source.truncated
    shift = {"m4a": 0, "aac": 1024}[suffix]  # bare streams keep the encoder's delay
    assert abs(len(got) - 88_200) < 3000
    middle = got[20_000 + shift : 60_000 + shift] - audio.mean(0)[20_000:60_000]
    assert np.abs(middle).max() < 0.02
    data = io.BytesIO(b"xyz" + path.read_bytes())
    data.seek(3)
    np.testing.assert_array_equal(read(data, sample_rate=44_100), got)
    assert not data.closed


def test_ffmpeg_takes_over_whenever_libsndfile_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = noise(50_000, 2)
    path = write(tmp_path / "a.wav", audio, 44_100, subtype="FLOAT")
    expected = read(path)

    def fail(*_: object, **__: object) -> None:
        raise soundfile.LibsndfileError(3)  # "Supported file format but file is malformed."

    monkeypatch.setattr(sndfile_module, "_Forward", fail)
    np.testing.assert_allclose(read(path), expected, atol=1e-6)
    without_package(monkeypatch, "av")
    with pytest.raises(AudioError, match=r"a.wav: .*malformed.*PyAV cannot be imported"):
        open_source(path, sample_rate=RATE)


def test_cut_and_damaged_m4a(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / "a.m4a", noise(200_000), 44_100, "aac", "ipod", movflags="faststart")
    cut(path, 0.6)
    with open_source(path, sample_rate=44_100) as source:
        got = join(source)
        assert source.truncated
    assert 0.4 < len(got) / 200_000 < 0.65
    assert "a.m4a: cut off or damaged" in caplog.text


def test_a_header_without_a_size_is_left_to_ffmpeg(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(5000), RATE)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = bytes(4)
    path.write_bytes(data)
    assert len(read(path)) == 5000


# --- optional packages


def test_unknown_resampler() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'soxr'"):
        open_source(np.zeros(9), RATE, sample_rate=RATE, resampler="sox")


@pytest.mark.parametrize("name", ["resampy", "torchaudio"])
def test_missing_resampler(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    without_package(monkeypatch, name)
    with pytest.raises(DependencyError, match=rf"pip install 'musicssl\[{name}\]'"):
        read(np.zeros(9), 44_100, resampler=name)
    assert len(read(np.zeros(9), RATE, resampler=name)) == 9  # equal rates need none


@pytest.mark.parametrize(
    ("torch_version", "torchaudio_version", "advice"),
    [
        ("2.13.0+cpu", "2.11.0", r"stops at 2.11: pip install 'torch==2.11.\*' 'torchaudio==2.11"),
        ("2.9.1+cu130", "2.11.0", r"must be equal: pip install torchaudio==2.9.1"),
        ("2.11.0+cpu", "2.11.0+cu130", "builds .CPU or CUDA. differ"),
    ],
)
def test_torchaudio_beside_the_wrong_torch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    torch_version: str,
    torchaudio_version: str,
    advice: str,
) -> None:
    (tmp_path / "torchaudio.py").write_text("raise OSError('undefined symbol: x')\n")
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    versions = {"torch": torch_version, "torchaudio": torchaudio_version}
    monkeypatch.setattr(resample_module, "version", versions.__getitem__)
    with pytest.raises(DependencyError, match=advice) as caught:
        read(np.zeros(9), 44_100, resampler="torchaudio")
    for word in ("undefined symbol", torch_version, torchaudio_version, "resampler='soxr'"):
        assert word in str(caught.value)


@pytest.fixture
def simple_torchaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for torchaudio: nearest-neighbour, so that cuts and lengths can be counted."""

    def resample(audio: torch.Tensor, before: int, after: int) -> torch.Tensor:
        length = resampled_length(len(audio), before, after)
        return audio[torch.arange(length) * before // after]

    fake = SimpleNamespace(functional=SimpleNamespace(resample=resample))
    monkeypatch.setitem(sys.modules, "torchaudio", fake)


@pytest.mark.parametrize("before", [44_100, 48_000, 8000, 11_025, 96_000])
@pytest.mark.parametrize("samples", [1, 999, 20_000])
def test_overlaps_are_cut_exactly(
    simple_torchaudio: None, small_blocks: None, before: int, samples: int
) -> None:
    audio = noise(samples)
    length = resampled_length(samples, before, RATE)
    expected = audio[0, np.arange(length) * before // RATE]
    np.testing.assert_array_equal(read(audio, before, resampler="torchaudio"), expected)


def test_torchaudio_refuses_giant_filters(simple_torchaudio: None) -> None:
    with pytest.raises(AudioError, match=r"shape \(9,\)\): torchaudio's filters.*3.9 GB.*'soxr'"):
        open_source(np.zeros(9), 44_101, sample_rate=RATE, resampler="torchaudio")


def test_nothing_optional_is_imported_unasked() -> None:
    code = (
        "import sys, numpy as np; from musicssl.audio import open_source; "
        "list(open_source(np.zeros(99), 44100, sample_rate=22050).blocks()); "
        "print([m for m in ('torch', 'torchaudio', 'resampy', 'av', 'numba') if m in sys.modules])"
    )
    root = Path(__file__).parent.parent
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_extensions_are_lower_case_suffixes() -> None:
    assert {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aiff"} <= AUDIO_EXTENSIONS
    assert all(name == name.lower() and name.startswith(".") for name in AUDIO_EXTENSIONS)
