"""An encoder that begins as a narrower one: the same values, and room to learn."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from musicssl.encoders import ENCODERS, Encoder
from musicssl.encoders.dilated import Dilated, DilatedConfig
from musicssl.encoders.pase import PaseConfig
from musicssl.errors import ConfigError
from musicssl.model import load_model
from musicssl_training.release.export import ReleaseConfig, release
from musicssl_training.release.lineage import check_shape
from musicssl_training.train import PretrainConfig, pretrain
from musicssl_training.train.setup import make_encoder
from musicssl_training.train.widening import can_widen, former_widths, widen

NARROW = DilatedConfig(dim=16, inner=24, pitch_channels=(2, 3), mel_channels=8, dilations=(1, 2))


def encoder(config: DilatedConfig = NARROW, **changes: Any) -> Dilated:
    """Return one whose every weight is random, biases and norms too."""
    made = Dilated(replace(config, **changes))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.3)
    return made.eval()


def audio(samples: int = 22_050) -> torch.Tensor:
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(7)) / 10


@pytest.mark.parametrize(
    ("dim", "inner"), [(16, 40), (32, 24), (32, 64), (48, 25)], ids=lambda n: str(n)
)
def test_a_widened_encoder_has_the_values_of_the_narrow_one_several_times(
    dim: int, inner: int
) -> None:
    narrow, wide = encoder(), encoder(dim=dim, inner=inner)
    widen(narrow, wide)
    with torch.no_grad():
        before, after = narrow(audio()), wide(audio())
    for x, y in zip(before, after, strict=True):
        assert x.std() > 0.01
        torch.testing.assert_close(y, x.repeat(1, 1, dim // 16), atol=1e-4, rtol=1e-4)


def test_copies_and_new_units_learn_different_things() -> None:
    narrow, wide = encoder(), encoder(dim=32, inner=64)
    widen(narrow, wide)
    optimizer = torch.optim.AdamW(wide.parameters(), lr=1e-2)
    goal = torch.randn(32, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        loss = (wide(audio())[-1] * goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        layers = wide(audio())
    assert (layers[1][..., :16] - layers[1][..., 16:]).abs().max() > 1e-3
    reduce = wide.blocks[0].reduce.weight  # type: ignore[union-attr]
    assert reduce[:, 24:].abs().min(dim=0).values.max() > 0  # type: ignore[index]
    assert not torch.equal(reduce[:16], reduce[16:])  # type: ignore[index]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dim": 24},
        {"dim": 8},
        {"inner": 23},
        {"dim": 32, "dilations": (1, 4)},
        {"dim": 32, "dilations": (1, 2, 4)},
        {"dim": 32, "mel_channels": 16},
        {"dim": 32, "kernel": 7},
        {"dim": 32, "pitch_every": 2},
    ],
    ids=str,
)
def test_other_shapes_are_not_widened(changes: dict[str, Any]) -> None:
    assert not can_widen(encoder(), encoder(**changes))


def test_encoders_of_another_kind_are_not_widened() -> None:
    config = PaseConfig(channels=(4, 4), kernels=(31, 11), strides=(4, 4), dim=32)
    other: Encoder = ENCODERS["pase"][0](config)
    assert not can_widen(encoder(), other)
    assert not can_widen(other, encoder(dim=32))


@pytest.mark.usefixtures("few_batches")
def test_a_run_begins_with_a_narrower_encoder_and_the_card_says_so(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    about = ReleaseConfig(summary="A toy.", data_licences="CC0", licence="cc0-1.0")
    short = replace(toy_config, steps=2, workers=("chroma",))
    pretrain(short, tmp_path / "narrow")
    first = release(tmp_path / "narrow", tmp_path / "first", about)
    assert isinstance(short.encoder, DilatedConfig)
    wider = replace(short.encoder, dim=64, inner=100)
    going_on = replace(short, start_from=str(first), encoder=wider)
    with torch.no_grad():
        narrow = load_model(first, device="cpu").encoder(audio())
        wide = make_encoder(going_on).eval()(audio())
    torch.testing.assert_close(wide[-1], narrow[-1].repeat(1, 1, 2), atol=1e-4, rtol=1e-4)
    pretrain(going_on, tmp_path / "wide")
    second = release(tmp_path / "wide", tmp_path / "second", about)
    assert load_model(second, device="cpu").dim == 64
    assert json.loads((second / "training.json").read_text())["widened_from"] == {
        "dim": 32,
        "inner": 48,
    }
    began = "first, widened from 32 values a frame and 48 units in its blocks (2 steps,"
    assert f"It began with the encoder of {began}" in read_card(second)
    assert "widened" not in read_card(first)
    third = replace(going_on, start_from=str(second))
    pretrain(third, tmp_path / "on")
    third_card = read_card(release(tmp_path / "on", tmp_path / "third", about))
    assert "It began with the encoder of second (2 steps," in third_card
    assert f"which began with {began}" in third_card


def read_card(model: Path) -> str:
    return " ".join((model / "README.md").read_text().split())


@pytest.mark.parametrize(
    ("changes", "before"),
    [
        ({"dim": 32}, {"dim": 16}),
        ({"inner": 40}, {"inner": 24}),
        ({"dim": 32, "inner": 40}, {"dim": 16, "inner": 24}),
        ({}, {}),
        ({"dim": 24}, {}),
    ],
)
def test_what_was_widened_is_known(changes: dict[str, Any], before: dict[str, int]) -> None:
    assert former_widths(encoder(), encoder(**changes)) == before


def test_a_start_that_is_not_narrower_is_refused(toy_config: PretrainConfig) -> None:
    with pytest.raises(ConfigError, match="start_from 'musicssl-small': its encoder is"):
        make_encoder(replace(toy_config, start_from="musicssl-small"))


def test_a_start_of_another_shape_is_told_by_what_differs() -> None:
    model = load_model("musicssl-nano", device="cpu")
    config = model.config.encoder
    assert isinstance(config, DilatedConfig)
    said = "is dilated with dim=128, kernel=9; the settings say dim=192, kernel=7"
    with pytest.raises(ConfigError, match=f"^mine: its encoder {said}\\.$"):
        check_shape(model, replace(config, dim=192, kernel=7), "mine")
