"""`musicssl.pool`: frames to one vector per segment."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import musicssl
from musicssl import ConfigError, Embedding
from musicssl.pooling import POOLINGS

TIMES: NDArray[np.float64] = np.linspace(0, 3.96, 100, dtype=np.float64)
VALUES = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
FRAMES = Embedding(VALUES, TIMES)


@pytest.mark.parametrize(
    ("pooling", "by_hand"),
    [
        ("mean", lambda x: x.mean(0)),
        ("max", lambda x: x.max(0)),
        ("meanstd", lambda x: np.concatenate([x.mean(0), x.std(0)])),
    ],
)
def test_each_segment_has_its_own_frames(pooling: str, by_hand: Any) -> None:
    edges = [0.0, 0.5, 0.8, 2.0, 9.0]
    found = musicssl.pool(FRAMES, edges, pooling=pooling)
    for i, value in enumerate(found.values):
        own = VALUES[(edges[i] <= TIMES) & (edges[i + 1] > TIMES)]
        np.testing.assert_allclose(value, by_hand(own), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.times, [0.25, 0.65, 1.4, 5.5])
    assert set(POOLINGS) - {"none"} == {"mean", "max", "meanstd"}


def test_a_segment_without_a_frame_has_the_nearest() -> None:
    with pytest.warns(UserWarning, match="1 of 4 segments .* 0 to 3.96 s") as told:
        found = musicssl.pool(FRAMES, [0.081, 0.085, 0.118, 50.0, 51.0])
    assert told[0].filename == __file__
    np.testing.assert_allclose(found.values[0], VALUES[2])
    np.testing.assert_allclose(found.values[1], VALUES[3])
    np.testing.assert_allclose(found.values[3], VALUES[-1])


def test_segments_at_the_ends_are_inside(recwarn: pytest.WarningsRecorder) -> None:
    musicssl.pool(FRAMES, [-5.0, 0.0, 2.0, 4.0, 9.0])
    musicssl.pool(Embedding(VALUES[:1], TIMES[:1]), [0.0, 0.5, 1.0])
    assert not recwarn.list


def test_all_in_one_is_the_clip(tiny_model_folder: Any) -> None:
    model = musicssl.load_model(tiny_model_folder, device="cpu")
    tone = np.sin(np.arange(22_050) / 10)
    frames = model.embed(tone, 22_050, level="frame")
    clip = model.embed(tone, 22_050, pooling="meanstd")
    found = musicssl.pool(frames, [0, 1], pooling="meanstd")
    np.testing.assert_allclose(found.values[0], clip, atol=1e-6)


def test_tensors_stay_tensors() -> None:
    frames = Embedding(torch.from_numpy(VALUES), torch.from_numpy(TIMES))
    found = musicssl.pool(frames, torch.tensor([0.0, 1.0, 2.0]))
    assert isinstance(found.values, torch.Tensor) and isinstance(found.times, torch.Tensor)
    expected = musicssl.pool(FRAMES, [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize(
    "wrong", [[0.0], [], [0.0, 0.0], [1.0, 0.5], [0.0, np.nan], [[0.0, 1.0]], 5, "ab", None]
)
def test_boundaries_must_increase(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="boundaries must be at least two times"):
        musicssl.pool(FRAMES, wrong)


def test_what_is_no_embedding_of_frames_is_refused() -> None:
    for wrong in (VALUES, None, (VALUES, TIMES)):
        with pytest.raises(ConfigError, match="level='frame'"):
            musicssl.pool(wrong, [0, 1])  # type: ignore[call-overload]
    for values, times in ((VALUES[0], TIMES), (VALUES, TIMES[:5]), (VALUES[:0], TIMES[:0])):
        with pytest.raises(ConfigError, match=r"\(frames, dim\)"):
            musicssl.pool(Embedding(values, times), [0, 1])
    with pytest.raises(ConfigError, match="pooling 'none' is unknown"):
        musicssl.pool(FRAMES, [0, 1], pooling="none")
