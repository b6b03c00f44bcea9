"""From settings to a released model, by command."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from musicssl.config import from_dict
from musicssl.errors import ConfigError
from musicssl.model import load_model
from musicssl_training.cli import main
from musicssl_training.config import PretrainConfig, read_config, write_config
from musicssl_training.pretrain import pretrain
from musicssl_training.release import ReleaseConfig, excerpts, release
from musicssl_training.weighting import WEIGHTINGS

ROOT = Path(__file__).parent.parent


def test_settings_survive_json_and_refuse_unknown_keys(toy_config: PretrainConfig) -> None:
    values = json.loads(json.dumps(write_config(toy_config)))
    assert read_config(values) == toy_config
    with pytest.raises(ConfigError, match="Did you mean 'steps'"):
        read_config(values | {"step": 3})
    with pytest.raises(ConfigError, match="1 sources but 2 shares"):
        read_config(values | {"data": values["data"] | {"shares": [0.5, 0.5]}})
    with pytest.raises(ConfigError, match="Did you mean 'chroma'"):
        read_config(values | {"workers": ["chrome"]})
    with pytest.raises(ConfigError, match="distort_in"):
        read_config(values | {"distort_in": "wav"})


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_every_weighting_can_be_named_in_settings(name: str, toy_config: PretrainConfig) -> None:
    _, kind = WEIGHTINGS[name]
    values = write_config(replace(toy_config, weighting=kind()))
    assert values["weighting"]["name"] == name
    assert read_config(json.loads(json.dumps(values))).weighting == kind()


def test_shipped_settings_can_be_read() -> None:
    files = [*(ROOT / "configs").glob("*.toml")]
    assert files
    for file in files:
        values = tomllib.loads(file.read_text())
        if file.stem.endswith(".about"):
            from_dict(ReleaseConfig, values, "about")
        else:
            read_config(values)


def test_from_settings_to_a_model_by_command(
    toy_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, about = tmp_path / "toy.toml", tmp_path / "about.toml"
    config.write_text(
        'workers = ["chroma", "contrast"]\nsteps = 9\nmeasure_batches = 2\nhidden = 8\n'
        f"[data]\nsources = ['{toy_pack}']\nshares = [1.0]\nrecordings = 2\n"
        "[encoder]\nname = 'dilated'\ndim = 16\ninner = 24\nmel_channels = 8\n"
        "pitch_channels = [2, 3]\n"
    )
    run, out = tmp_path / "run", tmp_path / "toy-model"
    start = ["pretrain", str(config), str(run), "--set", "steps=2", "--threads", "1"]
    assert main([*start, "--set", "log_every=1", "--set", "weighting.name=uncertainty"]) == 0
    about.write_text('summary = "A toy."\ndata_licences = "CC0"\nlayer = [2, -1]\n')
    assert main(["release", str(run), str(out), "--about", str(about)]) == 0
    model = load_model(out, device="cpu")
    assert model.dim == 32
    card = (out / "README.md").read_text()
    assert "A toy." in card
    assert "weighted by `uncertainty`" in card
    facts = json.loads((out / "training.json").read_text())
    assert facts["steps"] == 2
    assert facts["data"][0]["sources"][0]["recordings"] == 6
    assert str(tmp_path) not in json.dumps(facts)
    assert main(["plot", str(run)]) == 0
    assert Path(capsys.readouterr().out.splitlines()[0]).is_file()
    assert main(["pretrain", str(config), str(run), "--set", "stepps=2"]) == 2
    assert "Did you mean 'steps'" in capsys.readouterr().err
    assert main(["release", str(tmp_path), str(out), "--about", str(about)]) == 2


def test_a_released_model_gives_what_was_trained(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    run = pretrain(toy_config, tmp_path / "run")
    config = ReleaseConfig(summary="A toy.", data_licences="CC0", pooling="meanstd")
    model = load_model(release(tmp_path / "run", tmp_path / "model", config), device="cpu")
    audio = torch.cat([excerpts(run, step) for step in range(5)])
    values = model(audio, layer="all")[:, 25:-25].flatten(0, 1)
    assert values.mean().abs() < 0.3
    assert 0.7 < values.std() < 1.3
    assert model.clip_dim == 64
