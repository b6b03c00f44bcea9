"""The rules of the HEAR validator, restated (https://hearbenchmark.com/hear-api.html)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from musicssl import hear
from musicssl.errors import AudioError
from musicssl.model import MusicEncoder


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> MusicEncoder:
    return hear.load_model(str(tiny_model_folder))


def noise(sounds: int, seconds: float, rate: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(sounds, round(seconds * rate), generator=generator) * 2 - 1


def test_model(model: MusicEncoder) -> None:
    assert isinstance(model, torch.nn.Module)
    assert model.to("cpu") is model
    assert model.sample_rate in (16_000, 22_050, 32_000, 44_100, 48_000)
    assert type(model.scene_embedding_size) is int
    assert type(model.timestamp_embedding_size) is int


@pytest.mark.parametrize("seconds", [1.07, 1.98, 4.0])
def test_timestamp_embeddings(model: MusicEncoder, seconds: float) -> None:
    audio = noise(2, seconds, model.sample_rate)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    assert embeddings.dtype is torch.float32
    assert embeddings.ndim == 3
    assert len(embeddings) == 2
    assert embeddings.shape[2] == model.timestamp_embedding_size
    assert timestamps.ndim == 2
    assert timestamps.shape == embeddings.shape[:2]
    assert embeddings.device == timestamps.device == audio.device
    steps = timestamps.diff(dim=1)
    length = 1000 * seconds
    assert (steps - steps.mean()).abs().max() <= 1  # ms, an error beyond
    assert steps.mean() <= 50
    assert timestamps[:, 0].max() <= steps.mean()
    assert timestamps[:, -1].min() >= length - steps.mean()
    assert timestamps[:, -1].max() <= length


def test_scene_embeddings(model: MusicEncoder) -> None:
    embeddings = hear.get_scene_embeddings(noise(4, 2.74, model.sample_rate), model)
    assert embeddings.dtype is torch.float32
    assert embeddings.shape == (4, model.scene_embedding_size)


def test_timestamps_do_not_drift_in_20_minutes(model: MusicEncoder) -> None:
    frames = 20 * 60 * model.sample_rate // model.hop
    exact = 1000 * np.arange(frames, dtype=np.float64) * model.hop / model.sample_rate
    assert np.abs(exact.astype(np.float32) - exact).max() < 0.1  # ms


def test_sounds_do_not_depend_on_the_batch(model: MusicEncoder) -> None:
    audio = noise(3, 2.0, model.sample_rate)
    together = hear.get_scene_embeddings(audio, model)
    for sound, expected in zip(audio, together, strict=True):
        alone = hear.get_scene_embeddings(sound[None], model)[0]
        torch.testing.assert_close(alone, expected, atol=1e-5, rtol=0)


def test_refuses_what_is_not_a_batch(model: MusicEncoder) -> None:
    with pytest.raises(AudioError, match=r"\(sounds, samples\), got \(100,\)"):
        hear.get_scene_embeddings(torch.zeros(100), model)
