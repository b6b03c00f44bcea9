"""Streams: the frames of the whole, whatever the blocks; what they keep, and what they refuse."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from musicssl import AudioError, ConfigError, MusicEncoder, Stream, load_model
from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig, PasePlusConfig
from musicssl.inference.chunking import Cutter

RATES = (22_050, 44_100, 16_000, 48_000)


def tiny(name: str) -> MusicEncoder:
    """Return a model that hears 0.2 s to each side, or everything before."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "memory":
            channels = (2, 2, 3, 3, 4, 4, 4, 4)
            recurrent = PasePlusConfig(channels=channels, dim=6, hidden=5)
            return MusicEncoder(ModelConfig(encoder=recurrent)).requires_grad_(False).eval()
        encoder = DilatedConfig(
            dim=8, inner=8, pitch_channels=(1, 1), mel_channels=4, dilations=(1,), kernel=3
        )
        return MusicEncoder(ModelConfig(encoder=encoder)).requires_grad_(False).eval()


MODELS = {name: tiny(name) for name in ("finite", "memory")}


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


def blocks(audio: NDArray[Any], sizes: list[int]) -> Iterator[NDArray[Any]]:
    """Cut the last axis into blocks of these sizes, and one of what is left."""
    length = audio.shape[-1]
    edges = np.minimum(np.concatenate([[0], np.cumsum(sizes, dtype=int), [length]]), length)
    for start, stop in pairwise(edges):
        yield audio[..., start:stop]


def streamed(stream: Stream, parts: Iterator[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return everything that a stream gives, put together."""
    out = [stream.push(part) for part in parts] + [stream.flush()]
    return np.concatenate([x.values for x in out]), np.concatenate([x.times for x in out])


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 2, 441, 882, 5000]) | st.integers(0, 30_000), max_size=9),
    length=st.integers(1, 60_000),
    rate=st.sampled_from(RATES),
    channels=st.sampled_from([None, 1, 2]),
    chunk=st.sampled_from([None, 0.1, 0.5]),
)
def test_any_blocks_give_the_frames_of_the_whole(
    name: str, sizes: list[int], length: int, rate: int, channels: int | None, chunk: float | None
) -> None:
    model = MODELS[name]
    audio = noise(length) if channels is None else noise(channels, length)
    values, times = streamed(Stream(model, rate, chunk_seconds=chunk), blocks(audio, sizes))
    whole = model.embed(audio, rate, level="frame", channel_axis=0 if channels else None)
    assert times.tolist() == whole.times.tolist()
    np.testing.assert_allclose(values, whole.values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate", [22_050, 44_100, 8000, 96_000])
@pytest.mark.parametrize("chunk", [None, 0.3])
def test_frames_come_within_the_lookahead_and_not_much_sooner(
    rate: int, chunk: float | None
) -> None:
    model = MODELS["finite"]
    stream = Stream(model, rate, chunk_seconds=chunk)
    pushed, known, longest = 0, 0, 0.0
    for block in blocks(noise(rate), [rate // 50] * 50):
        before = pushed / rate
        pushed += len(block)
        times = stream.push(block).times
        known += len(times)
        if len(times):
            longest = max(longest, before - times[0])
        assert known * model.hop / model.sample_rate > pushed / rate - stream.lookahead
    assert longest <= stream.lookahead
    assert longest > model.context / model.sample_rate
    assert stream.lookahead - longest < 0.15


def test_the_bundled_models_lookahead_is_that_of_the_docs() -> None:
    model = load_model(device="cpu")
    assert round(Stream(model, model.sample_rate).lookahead, 2) == 5.0
    assert round(Stream(model, 44_100, chunk_seconds=1).lookahead, 1) == 6.0


def test_memory_does_not_grow() -> None:
    model = MODELS["finite"]
    stream = Stream(model, 44_100)
    block = noise(4410)
    for _ in range(60):
        stream.push(block)
        kept = sum(map(len, stream._cutter._held))
        assert kept == stream._cutter.held <= 2 * model.context + 3 * model.hop + len(block)
    assert stream.push(block).times[-1] > 5


def test_a_long_block_is_encoded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicssl.stream.MOST_SECONDS", 0.5)
    model, audio = MODELS["finite"], noise(60_000)
    lengths: list[int] = []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda x, *a, **k: (lengths.append(x.shape[1]), forward(x, *a, **k))[1]
    )
    values, _ = streamed(Stream(model, 22_050), iter([audio]))
    assert len(lengths) > 3 and max(lengths) < 22_050
    monkeypatch.undo()
    np.testing.assert_allclose(
        values, model.embed(audio, 22_050, level="frame").values, atol=1e-5, rtol=0
    )


def test_after_a_flush_the_stream_is_as_new() -> None:
    stream = Stream(MODELS["memory"], 44_100)
    assert stream.flush().values.shape == (0, MODELS["memory"].dim)
    first = streamed(stream, blocks(noise(30_000), [20_000]))
    again = streamed(stream, blocks(np.stack([noise(30_000)] * 2), [10_000]))  # and in stereo
    for a, b in zip(first, again, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=0)


def test_blocks_come_in_the_forms_of_other_audio() -> None:
    model, audio = MODELS["finite"], (noise(30_000) * 30_000).astype(np.int16)
    whole = model.embed(audio, 44_100, level="frame").values
    forms: list[Any] = [
        torch.from_numpy(audio),
        (audio, 44_100),
        {"array": audio, "sampling_rate": 44_100},
        audio.astype(np.float64) / 2**15,
    ]
    for form in forms:
        values, _ = streamed(Stream(model, 44_100), iter([form]))
        np.testing.assert_allclose(values, whole, atol=1e-5, rtol=0)
    turned = Stream(model, 44_100, channel_axis=1)
    values, _ = streamed(turned, iter([audio[:20_000, None], audio[20_000:, None]]))
    np.testing.assert_allclose(values, whole, atol=1e-5, rtol=0)
    left = Stream(model, 44_100, mono="left", layer=[0, 1])
    values, _ = streamed(left, iter([np.stack([audio, 0 * audio])]))
    expected = model.embed(audio, 44_100, level="frame", layer=[0, 1]).values
    np.testing.assert_allclose(values, expected, atol=1e-5, rtol=0)


NAN = np.zeros(1000, np.float32)
NAN[500] = np.nan


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (NAN, r"1 of 1,000 samples from 0\.454 s on are NaN or infinite, the first at 0\.476190 s"),
        (np.full(9, 3e4, np.float32), "integers stored as floats"),
        (np.zeros(9, np.int64), "dtype int64; expected one of"),
        (np.zeros(9, complex), "dtype complex128"),
        (torch.zeros(9, dtype=torch.bool), "dtype bool"),
        (np.zeros((2, 9), np.float32), r"shape \(2, 9\) has 2 channels, those before had 1"),
        (np.zeros((9, 2), np.float32), "9 channels, those before had 1.*channel_axis"),
        (np.zeros((1, 1, 9), np.float32), "3 dimensions"),
        (np.float32(0.5)[...], "0 dimensions"),
        ((np.zeros(9, np.float32), 48_000), "sr is 22050|at 22,050 Hz, this block at 48,000"),
        ("song.wav", "must be a numpy array or a torch tensor of samples, got 'song.wav'"),
        ([0.0, 0.1], "must be a numpy array"),
        (None, "must be a numpy array"),
    ],
)
def test_a_refused_block_changes_nothing(block: Any, message: str) -> None:
    stream, audio = Stream(MODELS["finite"], 22_050), noise(20_000)
    first = stream.push(audio[:10_000])
    with pytest.raises(AudioError, match=message):
        stream.push(block)
    rest = [stream.push(audio[10_000:]), stream.flush()]
    values = np.concatenate([x.values for x in (first, *rest)])
    whole = MODELS["finite"].embed(audio, 22_050, level="frame").values
    np.testing.assert_allclose(values, whole, atol=1e-5, rtol=0)


def test_the_rate_is_the_streams() -> None:
    stream = Stream(MODELS["finite"], 44_100)
    stream.push(noise(10), 44_100.0)
    with pytest.raises(AudioError, match=r"at 44,100 Hz, this block at 48,000; call flush\(\)"):
        stream.push(noise(10), 48_000)
    for rate in (0, "44100", None, 44.1):
        with pytest.raises(AudioError, match="sr is"):
            Stream(MODELS["finite"], rate)  # type: ignore[arg-type]


def test_choices_are_checked_at_once(tiny_model_folder: Path) -> None:
    assert Stream(tiny_model_folder, 22_050).flush().values.shape == (0, 16)
    wrong: list[dict[str, Any]] = [
        {"layer": 7},
        {"resampler": "sox"},
        {"mono": "middle"},
        {"dtype": "fp12"},
    ]
    for choice in wrong:
        with pytest.raises(ConfigError):
            Stream(MODELS["finite"], 22_050, **choice)
    for seconds in (1e-9, 0.01, 601, 1e9, float("inf")):
        with pytest.raises(ConfigError, match=r"chunk_seconds must be from .* to 600 s, for which"):
            Stream(MODELS["finite"], 22_050, chunk_seconds=seconds)
    with pytest.raises(AudioError, match="channel_axis"):
        Stream(MODELS["finite"], 22_050, channel_axis=2)
    with pytest.raises(ConfigError, match=r"in training mode.*model\.eval\(\)"):
        Stream(tiny("memory").train(), 16_000)
    with pytest.raises(AudioError, match="65 channels; expected 1 to 64"):
        Stream(MODELS["finite"], 22_050, channel_axis=0).push(np.zeros((65, 9), np.float32))
    with pytest.raises(AudioError, match=r"1,024 channels of 2 samples.*channel_axis=1"):
        Stream(MODELS["finite"], 22_050).push(np.zeros((1024, 2), np.float32))


def test_more_than_a_chunk_is_cut_at_once() -> None:
    cutter = Cutter(hop=10, context=25, chunk=10, most=100)
    chunks = [chunk for chunk, _ in cutter.add(np.zeros(201, np.float32))]
    assert [(chunk.first, chunk.frames) for chunk in chunks] == [(0, 10), (10, 7)]
    assert cutter.held == 201 - 140
