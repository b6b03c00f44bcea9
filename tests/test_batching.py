"""The promises: batch equals single, chunked equals whole, half precision near full."""

import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig, PasePlusConfig
from musicssl.errors import ConfigError, ModelError
from musicssl.inference import device
from musicssl.inference.batching import Engine, compute
from musicssl.inference.options import EmbedOptions, Settings
from musicssl.inference.results import Embedding
from musicssl.model import MusicEncoder
from musicssl.pooling import POOLINGS

RATE = 22_050
quick = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def model() -> MusicEncoder:
    torch.manual_seed(0)
    config = DilatedConfig(dim=16, inner=24, pitch_channels=(2, 3), mel_channels=8)
    return MusicEncoder(ModelConfig(encoder=config, layer=(2, -1))).requires_grad_(False).eval()


def music(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Return a few decaying tones and some noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(max(1, round(seconds * rate))) / rate
    out = 0.01 * rng.standard_normal(len(t))
    for hertz in rng.uniform(80, 3000, 4):
        out += 0.1 * np.sin(2 * np.pi * hertz * t) * np.exp(-3 * (t % rng.uniform(0.2, 0.7)))
    return out.astype(np.float32)


@quick
@given(
    lengths=st.lists(st.floats(0.001, 9.0), min_size=2, max_size=5),
    batch_seconds=st.sampled_from([0.5, 10.0, 100.0]),
    level=st.sampled_from(["clip", "frame"]),
)
def test_batch_equals_single(
    model: MusicEncoder, lengths: list[float], batch_seconds: float, level: str
) -> None:
    clips = [music(x, seed) for seed, x in enumerate(lengths)]
    together = model.embed(clips, RATE, level=level, batch_seconds=batch_seconds)
    for clip, result in zip(clips, together, strict=True):
        alone = model.embed(clip, RATE, level=level)
        if isinstance(result, Embedding):
            assert np.array_equal(result.times, alone.times)
            result, alone = result.values, alone.values
        np.testing.assert_allclose(result, alone, atol=1e-5)


@quick
@given(
    seconds=st.floats(0.5, 40.0), chunk=st.floats(1.0, 12.0), batch=st.sampled_from([5.0, 500.0])
)
def test_chunked_equals_whole(
    model: MusicEncoder, seconds: float, chunk: float, batch: float
) -> None:
    clip = music(seconds)
    whole = model.embed(clip, RATE, level="frame")
    cut = model.embed(clip, RATE, level="frame", chunk_seconds=chunk, batch_seconds=batch)
    assert isinstance(cut, Embedding)
    np.testing.assert_allclose(cut.values, whole.values, atol=1e-5)
    assert np.array_equal(cut.times, whole.times)


@pytest.fixture(scope="module")
def remembering() -> MusicEncoder:
    torch.manual_seed(0)
    config = PasePlusConfig(channels=(2, 2), kernels=(31, 320), strides=(1, 160), dim=8, hidden=6)
    model = MusicEncoder(ModelConfig(encoder=config, layer=(0, -1)))
    torch.nn.init.constant_(model.encoder.recurrent.gates.bias[6:12].detach(), -5)  # remember long
    return model.requires_grad_(False).eval()


@quick
@given(
    lengths=st.lists(st.floats(0.001, 20.0), min_size=1, max_size=5),
    chunk=st.floats(0.1, 5.0),
    batch=st.sampled_from([0.5, 5.0, 500.0]),
)
def test_memory_is_carried_from_chunk_to_chunk(
    remembering: MusicEncoder, lengths: list[float], chunk: float, batch: float
) -> None:
    clips = [music(x, seed, 16_000) for seed, x in enumerate(lengths)]
    options = {"level": "frame", "chunk_seconds": chunk, "batch_seconds": batch}
    for clip, result in zip(clips, remembering.embed(clips, 16_000, **options), strict=True):
        with torch.inference_mode():
            whole = remembering(torch.from_numpy(clip)[None])[0]
        np.testing.assert_allclose(result.values, whole, atol=1e-5)


def test_what_is_remembered_matters(remembering: MusicEncoder) -> None:
    clip = music(4, 0, 16_000)
    second = len(clip) // 2
    whole = remembering.embed(clip, 16_000, level="frame").values[200:]
    alone = remembering.embed(clip[second:], 16_000, level="frame").values
    assert np.abs(whole - alone)[10:].max() > 1e-3


@pytest.mark.parametrize("pooling", [name for name in POOLINGS if name != "none"])
def test_pooling_is_that_of_the_frames(model: MusicEncoder, pooling: str) -> None:
    clip = music(20)
    frames = model.embed(clip, RATE, level="frame").values.astype(np.float64)
    expected = {
        "mean": frames.mean(axis=0),
        "max": frames.max(axis=0),
        "meanstd": np.concatenate([frames.mean(axis=0), frames.std(axis=0)]),
    }[pooling]
    got = model.embed(clip, RATE, pooling=pooling, chunk_seconds=3)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert len(got) == model.dim * POOLINGS[pooling].factor


def test_no_pooling_is_the_frame_level(model: MusicEncoder) -> None:
    a = model.embed(music(1), RATE, pooling="none")
    b = model.embed(music(1), RATE, level="frame")
    assert np.array_equal(a.values, b.values)
    with pytest.raises(ConfigError, match="level='frame' does not pool"):
        model.embed(music(1), RATE, level="frame", pooling="mean")


def test_same_input_same_bits(model: MusicEncoder) -> None:
    clips = [music(x) for x in (3, 5, 0.2)]
    assert np.array_equal(model.embed(clips, RATE), model.embed(clips, RATE))


def test_times_are_the_frames_centres(model: MusicEncoder) -> None:
    for seconds in (0.01, 0.04, 1.0, 7.77):
        clip = music(seconds)
        values, times = model.embed(clip, RATE, level="frame")
        assert len(values) == len(times) == -(-len(clip) // model.hop)
        assert np.array_equal(times, np.arange(len(times)) * model.hop / RATE)
        assert times[-1] <= len(clip) / RATE


@pytest.mark.parametrize("at", [0.5, 3.21, 8.0])
def test_a_click_is_found_where_it_is(model: MusicEncoder, at: float) -> None:
    quiet = np.zeros(10 * RATE, np.float32)
    click = quiet.copy()
    click[round(at * RATE)] = 1.0
    a, times = model.embed(quiet, RATE, level="frame", layer=0)
    b, _ = model.embed(click, RATE, level="frame", layer=0)
    change = np.abs(b - a).sum(axis=1)
    assert (change * times).sum() / change.sum() == pytest.approx(at, abs=0.02)


class Blocks:
    """An hour and a minute of silence with a click, as an opened source gives it."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __enter__(self) -> "Blocks":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, 61 * 60 * RATE, 60 * RATE):
            block = np.zeros(60 * RATE, np.float32)
            if start <= self.at < start + len(block):
                block[self.at - start] = 1.0
            yield block


def test_a_click_after_an_hour_has_not_drifted() -> None:
    torch.manual_seed(0)
    config = DilatedConfig(dim=4, inner=4, pitch_channels=(1, 1), mel_channels=4, dilations=(1,))
    model = MusicEncoder(ModelConfig(encoder=config, layer=(0,))).requires_grad_(False).eval()
    at = 3_600 * RATE + 12_345
    (result,) = Engine(model, EmbedOptions(level="frame").resolve(model)).run([Blocks(at)])
    assert isinstance(result, Embedding)
    change = np.abs(result.values - result.values[1000]).sum(axis=1)[10:-10]  # edges differ
    times = result.times[10:-10]
    assert (change * times).sum() / change.sum() == pytest.approx(at / RATE, abs=0.02)


@pytest.mark.skipif(not device.cpu_has_bf16(), reason="needs bf16 instructions")
def test_bf16_is_near_fp32(model: MusicEncoder) -> None:
    clip = music(8)
    full, half = (model.embed(clip, RATE, dtype=dtype) for dtype in ("fp32", "bf16"))
    assert full @ half / np.linalg.norm(full) / np.linalg.norm(half) > 0.999
    assert not np.array_equal(full, half)


class Overflows(MusicEncoder):
    """Gives infinity under autocast, as fp16 does beyond 65504; finite in fp32."""

    def forward(self, audio, samples=None, *, layer=None, state=None):  # type: ignore[no-untyped-def]
        out = super().forward(audio, samples, layer=layer)
        assert out.dtype is torch.float32
        return out * torch.inf if torch.is_autocast_enabled("cpu") else out


def test_overflow_falls_back_to_fp32_and_warns_once(model: MusicEncoder) -> None:
    fragile = Overflows(model.config).requires_grad_(False).eval()
    half = replace(EmbedOptions().resolve(fragile), dtype=torch.float16)
    audio = torch.from_numpy(music(1))[None]
    device._warned.clear()
    samples = torch.tensor([audio.shape[1]])
    with pytest.warns(RuntimeWarning, match="done in fp32"):
        out, _ = compute(fragile, audio, samples, half)
    assert torch.equal(out, compute(fragile, audio, samples, replace(half, dtype=torch.float32))[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute(fragile, audio, samples, half)


def test_damaged_weights_are_an_error(model: MusicEncoder) -> None:
    broken = MusicEncoder(model.config).requires_grad_(False).eval()
    broken.centre += torch.nan
    with pytest.raises(ModelError, match="damaged weights"):
        broken.embed(music(1), RATE)


@pytest.mark.parametrize("chunk", [np.inf, 1.7e308, 0.04, 1.0])
def test_any_chunk_from_one_frame_to_all_gives_the_same(model: MusicEncoder, chunk: float) -> None:
    clip = music(3)
    whole = model.embed(clip, RATE, level="frame")
    cut = model.embed(clip, RATE, level="frame", chunk_seconds=chunk)
    np.testing.assert_allclose(cut.values, whole.values, atol=1e-5)


@pytest.mark.parametrize("chunk", [1e-5, 1e-300, 0.0399])
def test_chunks_of_less_than_a_frame_are_refused(model: MusicEncoder, chunk: float) -> None:
    message = r"at least one frame, 0\.04 s, or inf for all"
    with pytest.raises(ConfigError, match=message):
        EmbedOptions(chunk_seconds=chunk).resolve(model)
    with pytest.raises(ConfigError, match=message):
        model.embed(music(1), RATE, chunk_seconds=chunk)


def test_settings_are_plain_numbers() -> None:
    chosen = Settings(
        pooling="mean",
        layers=[np.int64(2)],  # type: ignore[arg-type]
        chunk_seconds=np.float32(2),  # type: ignore[arg-type]
        batch_seconds=np.array(3),  # type: ignore[arg-type]
        batch_size=torch.tensor(4),  # type: ignore[arg-type]
    )
    assert chosen == Settings(
        pooling="mean", layers=(2,), chunk_seconds=2.0, batch_seconds=3.0, batch_size=4
    )
    assert [type(x) for x in (*chosen.layers, chosen.chunk_seconds, chosen.batch_size)] == [
        *(int, float, int)
    ]


def test_settings_refuse_nonsense(model: MusicEncoder) -> None:
    for name in ("batch_seconds", "chunk_seconds", "batch_size"):
        with pytest.raises(ConfigError, match=f"{name} must be positive, got -1"):
            EmbedOptions(**{name: -1}).resolve(model)
