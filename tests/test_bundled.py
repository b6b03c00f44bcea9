"""The checkpoints that ship with the package."""

import json
from pathlib import Path

import numpy as np
import pytest

import musicssl
from musicssl.checkpoint.bundled import CHECKPOINTS, bundled_models, describe_model
from musicssl.checkpoint.names import DEFAULT_MODEL
from musicssl.inference.device import cpu_has_bf16
from musicssl.model import MusicEncoder

GOLDEN = Path(__file__).parent / "golden"
MUSIC = Path(__file__).parent.parent / "examples" / "music"
RATE = 44_100


def sound() -> np.ndarray:
    """Return 12 s of chords with a beat: the same numbers on every machine."""
    t = np.arange(12 * RATE) / RATE
    out = np.zeros(len(t))
    for bar, root in enumerate((220.0, 174.614, 261.626, 195.998)):
        inside = (t >= 3 * bar) & (t < 3 * bar + 3)
        for ratio in (1, 1.25992, 1.49831, 2, 4):
            out += inside * np.sin(2 * np.pi * root * ratio * t) * np.exp(-(t % 0.75)) / 12
    out += 0.2 * np.sin(2 * np.pi * 60 * t) * np.exp(-25 * (t % 0.375))
    return out.astype(np.float32)


@pytest.fixture(scope="module", params=list(bundled_models()))
def model(request: pytest.FixtureRequest) -> MusicEncoder:
    return musicssl.load_model(request.param, device="cpu")


def test_the_default_is_there() -> None:
    assert DEFAULT_MODEL in bundled_models()


def test_the_list_tells_the_truth(model: MusicEncoder) -> None:
    info = describe_model(bundled_models()[model.model_id])
    assert info.dim == model.dim
    assert info.layers == model.layers
    assert info.frame_rate == model.frame_rate
    assert info.sample_rate == model.sample_rate
    assert info.megabytes <= 12
    assert info in musicssl.list_models()


def test_golden_embedding(model: MusicEncoder) -> None:
    # renewed, with a new model, by: python tests/make_golden.py
    golden = np.load(GOLDEN / f"{model.model_id}.npy", allow_pickle=False)
    np.testing.assert_allclose(model.embed(sound(), RATE), golden, atol=1e-4)


@pytest.mark.skipif(not cpu_has_bf16(), reason="needs bf16 instructions")
def test_bf16_is_near_fp32(model: MusicEncoder) -> None:
    full, half = (model.embed(sound(), RATE, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert full @ half / np.linalg.norm(full) / np.linalg.norm(half) > 0.9999  # as documented


def test_layers_are_standardised_on_music(model: MusicEncoder) -> None:
    frames = model.embed(sorted(MUSIC.glob("*.ogg"))[::3], level="frame", layer="all")
    values = np.concatenate([clip.values for clip in frames])
    assert abs(values.mean()) < 0.3
    assert 0.6 < values.std() < 1.5


def test_the_card_says_what_it_must(model: MusicEncoder) -> None:
    card = (CHECKPOINTS / model.model_id / "README.md").read_text(encoding="utf-8")
    training = json.loads((CHECKPOINTS / model.model_id / "training.json").read_text())
    for part in ("## Scores", "## Limits", "## How it was trained", "## Data"):
        assert part in card
    for pack in training["data"]:
        for source in pack["sources"]:
            assert f"| {source['source']} |" in card
    assert f"{training['steps']:,} steps" in card
