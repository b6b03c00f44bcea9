"""Windows: one vector per stretch of seconds, computed from the frames."""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folder_trees import manifest, noise
from hypothesis import given, settings
from hypothesis import strategies as st

import musicssl
from musicssl import AudioError, ConfigError, Embedding, MusicEncoder, OutputError
from musicssl.audio import resample
from musicssl.cli.main import main
from musicssl.folder.api import embed_folder
from musicssl.folder.formats import FORMATS
from musicssl.inference.windows import Windows
from musicssl.pooling import POOLINGS

RATE = 22_050


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, round(seconds * RATE)).astype(np.float32)


def by_hand(frames: Embedding, window: float, hop: float, pooling: str = "mean") -> np.ndarray:
    """Pool the frames whose centers lie in each window, from the definition."""
    reduce: Any = {
        "mean": lambda x: x.mean(0),
        "max": lambda x: x.max(0),
        "meanstd": lambda x: np.concatenate([x.mean(0), x.std(0)]),
    }[pooling]
    times = np.round(frames.times * 25).astype(int)  # in frames of 0.04 s, as are all windows here
    length, step = round(window * 25), round(hop * 25)
    out = []
    for start in range(0, len(times), step):
        out.append(reduce(frames.values[(start <= times) & (times < start + length)]))
        if start + length >= len(times):
            break
    return np.stack(out)


@pytest.mark.parametrize("pooling", ["mean", "max", "meanstd"])
@pytest.mark.parametrize(
    ("window", "hop"),
    [(1, 0.4), (1.0, 1.0), (1, None), (0.52, 0.6), (0.04, 0.04), (0.2, 1.64), (99, 1), (3.2, 3)],
)
def test_each_window_pools_its_own_frames(
    window: float, hop: float | None, pooling: str, model: MusicEncoder
) -> None:
    audio = sound(3.3)
    frames = model.embed(audio, RATE, level="frame")
    found = model.embed(audio, RATE, window=window, hop=hop, pooling=pooling)  # type: ignore[call-overload]
    step = window if hop is None else hop
    expected = by_hand(frames, window, step, pooling)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    np.testing.assert_allclose(found.times, np.arange(len(expected)) * step + window / 2)
    assert found.values.dtype == np.float32 and found.times.dtype == np.float64


@pytest.mark.parametrize(
    ("seconds", "window", "hop", "count"),
    [
        (3.0, 1, 1, 3),  # the last one is full: none after it
        (3.01, 1, 1, 4),  # one frame more
        (3.0, 1, 0.5, 5),  # the sixth, from 2.5 s on, would tell nothing new
        (0.5, 10, 5, 1),  # shorter than a window
        (0.001, 10, 5, 1),
        (2.5, 0.5, 2, 2),  # hop > window: the rest of 2 to 2.5 is a window
        (1.9, 0.5, 2, 1),  # it ends between two windows
    ],
)
def test_how_many_windows_there_are(
    seconds: float, window: float, hop: float, count: int, model: MusicEncoder
) -> None:
    assert len(model.embed(sound(seconds), RATE, window=window, hop=hop).times) == count


def test_one_window_is_the_clip_and_segments_are_windows(model: MusicEncoder) -> None:
    audio = sound(2.0)
    whole = model.embed(audio, RATE, window=2)
    np.testing.assert_allclose(whole.values, [model.embed(audio, RATE)], atol=1e-6)
    frames = model.embed(audio, RATE, level="frame")
    found = model.embed(audio, RATE, window=0.5, pooling="meanstd")
    segments = musicssl.pool(frames, [0, 0.5, 1, 1.5, 2], pooling="meanstd")
    np.testing.assert_allclose(found.values, segments.values, atol=1e-5)
    np.testing.assert_allclose(found.times, segments.times)


@settings(deadline=None, max_examples=30)
@given(
    data=st.data(),
    count=st.integers(1, 120),
    window=st.integers(1, 50),
    hop=st.integers(1, 70),
    name=st.sampled_from(["mean", "max", "meanstd"]),
)
def test_chunks_change_nothing(
    data: st.DataObject, count: int, window: int, hop: int, name: str
) -> None:
    values = np.random.default_rng(0).standard_normal((count, 3)).astype(np.float32)
    edges = sorted(data.draw(st.sets(st.integers(1, count))) | {0, count})
    pool = Windows(POOLINGS[name], window / 25, hop / 25, Fraction(25))
    for start, stop in pairwise(edges):
        pool.add(values[start:stop])
    frames = Embedding(values, np.arange(count) / 25)
    expected = by_hand(frames, window / 25, hop / 25, name)
    np.testing.assert_allclose(pool.result(), expected, atol=1e-5)


def test_a_tenth_of_a_second_is_a_tenth(model: MusicEncoder) -> None:
    """In binary, 3 * 0.04 is more than 0.12: a frame would fall out of its window."""
    frames = model.embed(sound(4.0), RATE, level="frame")
    found = model.embed(sound(4.0), RATE, window=0.04)
    np.testing.assert_array_equal(found.values, frames.values)


def test_windows_of_long_audio_are_those_of_its_frames(model: MusicEncoder) -> None:
    audio = sound(12.0)
    chunked = model.embed(audio, RATE, window=5, hop=2.6, chunk_seconds=3.3)
    frames = model.embed(audio, RATE, level="frame")
    np.testing.assert_allclose(chunked.values, by_hand(frames, 5, 2.6), atol=1e-4)


def test_lists_and_tensors(model: MusicEncoder) -> None:
    one, two = sound(1.0), sound(2.5)
    found = model.embed([one, two], RATE, window=1)
    assert [len(each.times) for each in found] == [1, 3]
    tensors = model.embed(torch.from_numpy(two), RATE, window=1)
    np.testing.assert_array_equal(tensors.values.numpy(), found[1].values)
    assert isinstance(tensors.times, torch.Tensor)
    assert model.embed([], window=1) == []
    same = musicssl.get_embedding(two, RATE, model=model, window=1)
    np.testing.assert_array_equal(same.values, found[1].values)
    part = model.embed(two, RATE, window=1, offset=1.5)
    assert len(part.times) == 1 and part.times[0] == 0.5  # from where the part begins


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"hop": 1}, "hop is the distance between windows; give window too"),
        ({"window": 1, "level": "frame"}, "either window or frames"),
        ({"window": 1, "pooling": "none"}, "either window or frames"),
        ({"window": 0}, "window must be positive"),
        ({"window": -1}, "window must be positive"),
        ({"window": 1, "hop": 0.0}, "hop must be positive"),
        ({"window": float("inf")}, "window must be finite"),
        ({"window": "10"}, "window must be a number"),
        ({"window": 0.039}, r"window must be at least one frame, 0\.04 s, got 0\.039"),
        ({"window": 1, "hop": 0.01}, r"hop must be at least one frame, 0\.04 s"),
    ],
)
def test_what_is_no_window_is_refused(choices: Any, message: str, model: MusicEncoder) -> None:
    with pytest.raises(ConfigError, match=message):
        model.embed(sound(1.0), RATE, **choices)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_holds_windows_and_their_times(
    format: str, model: MusicEncoder, tmp_path: Path
) -> None:
    pytest.importorskip({"parquet": "pyarrow", "h5": "h5py"}.get(format, "numpy"))
    for name, seconds in (("a.wav", 2.6), ("b.wav", 0.3)):
        noise(tmp_path / "music" / name, seconds)
    out = tmp_path / "out"
    embed_folder(tmp_path / "music", out, model=model, format=format, window=1, hop=0.5)
    space = json.loads((out / "space.json").read_text())
    assert (space["level"], space["window"], space["hop"]) == ("window", 1, 0.5)
    assert "/window=1/hop=0.5/mean/" in space["space"]
    output = FORMATS[format](out, space["space"], level="window")
    output.scan()
    for name, count in (("a.wav", 5), ("b.wav", 1)):
        row = output.read_row(name)
        expected = model.embed(tmp_path / "music" / name, window=1, hop=0.5)
        assert row is not None and row.times is not None and len(row.times) == count
        np.testing.assert_allclose(row.values, expected.values, atol=1e-6)
        np.testing.assert_allclose(row.times, expected.times)
    assert manifest(out)["a.wav"]["settings"]["window"] == 1
    with pytest.raises(OutputError, match=r"hop is 0\.5 there, 1\.0 was asked for"):
        embed_folder(tmp_path / "music", out, model=model, format=format, window=1)
    with pytest.raises(OutputError, match=r"level is window there, clip was asked for"):
        embed_folder(tmp_path / "music", out, model=model, format=format)
    with pytest.raises(OutputError, match="holds windows, many vectors per file"):
        musicssl.load_embeddings(out)


def test_the_command_takes_windows(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = noise(tmp_path / "a.wav", 1.2), tmp_path / "out"
    common = [str(file), "-o", str(out), "--model", str(tiny_model_folder)]
    assert main([*common, "--window", "0.5", "--hop", "0.25"]) == 0
    with np.load(out / "a.wav.npz") as result:
        np.testing.assert_allclose(result["times"], [0.25, 0.5, 0.75, 1.0])
    assert main([*common, "--hop", "1"]) == 2
    assert "give window too" in capsys.readouterr().err


def test_skipped_items_are_none_and_said(
    model: MusicEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = noise(tmp_path / "good.wav"), tmp_path / "bad.wav"
    bad.write_bytes(b"no music")
    files = [good, bad, tmp_path / "none.wav", good]
    found = model.embed(files, on_error="skip")
    assert isinstance(found, list) and [one is None for one in found] == [False, True, True, False]
    np.testing.assert_allclose(found[0], model.embed(good), atol=1e-6)
    assert "audio[1]: " in caplog.text and "bad.wav" in caplog.text and "audio[2]: " in caplog.text
    windows = model.embed(files, on_error="skip", window=0.2)
    assert windows[1] is None and windows[3] is not None and len(windows[3].times) == 2
    assert musicssl.get_embedding(bad, model=model, on_error="skip") is None
    assert model.embed([], on_error="skip") == []
    with pytest.raises(AudioError, match=r"audio\[1\]"):
        model.embed(files, on_error="raise")
    with pytest.raises(ConfigError, match="on_error 'ignore' is unknown; choose from raise, skip"):
        model.embed(files, on_error="ignore")


def test_only_what_is_wrong_with_audio_is_skipped(
    model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        resample,
        "import_module",
        lambda name: (_ for _ in ()).throw(ModuleNotFoundError(name=name)),
    )
    with pytest.raises(musicssl.DependencyError, match="needs the package resampy"):
        model.embed([(sound(0.1), 8000)], on_error="skip", resampler="resampy")
