"""From settings to a released model, by command."""

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from musicssl.checkpoint import ModelConfig
from musicssl.config import from_dict
from musicssl.encoders import DilatedConfig
from musicssl.errors import ConfigError, OutputError
from musicssl.model import MusicEncoder, load_model
from musicssl_training.augment import SpectrogramAugmentConfig
from musicssl_training.cli.main import main
from musicssl_training.cli.settings import replace_setting
from musicssl_training.release.export import STATISTICS_BATCHES, ReleaseConfig, excerpts, release
from musicssl_training.release.lineage import ancestry, facts_of
from musicssl_training.release.model_card import tell
from musicssl_training.train import PretrainConfig, loop, pretrain, read_config, write_config
from musicssl_training.train.setup import make_sampler
from musicssl_training.weighting import WEIGHTINGS

ROOT = Path(__file__).parent.parent
FILES = [p for p in (ROOT / "configs").glob("*.toml") if not p.stem.startswith("study")]
SETTINGS = [p for p in FILES if not p.stem.endswith(".about")]


def test_settings_survive_json_and_refuse_unknown_keys(toy_config: PretrainConfig) -> None:
    values = json.loads(json.dumps(write_config(toy_config)))
    assert read_config(values) == toy_config
    with pytest.raises(ConfigError, match="Did you mean 'steps'"):
        read_config(values | {"step": 3})
    with pytest.raises(ConfigError, match="1 sources but 2 shares"):
        read_config(values | {"data": values["data"] | {"shares": [0.5, 0.5]}})
    with pytest.raises(ConfigError, match="Did you mean 'chroma'"):
        read_config(values | {"workers": ["chrome"]})
    with pytest.raises(ConfigError, match="augment_in"):
        read_config(values | {"augment_in": "wav"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", -1.0),
        ("seconds", 0.0),
        ("seconds", float("nan")),
        ("seconds", float("inf")),
        ("per_recording", 0),
        ("isolated", 2.0),
        ("layered", -0.1),
    ],
)
def test_data_settings_that_make_no_sense_are_named(
    name: str, value: float, toy_config: PretrainConfig
) -> None:
    values = write_config(toy_config)
    with pytest.raises(ConfigError, match=f"data.{name} .* got {value}"):
        read_config(values | {"data": values["data"] | {name: value}})


@pytest.mark.parametrize("name", ["steps", "hidden", "measure_batches", "save_every", "patience"])
def test_counts_below_one_are_named(name: str, toy_config: PretrainConfig) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
        read_config(write_config(toy_config) | {name: 0})


def test_a_run_folder_that_cannot_be_written_is_named(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    (tmp_path / "run" / "config.json").mkdir(parents=True)  # in the way
    with pytest.raises(OutputError, match=r"cannot write to .*config\.json"):
        pretrain(toy_config, tmp_path / "run")


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_every_weighting_can_be_named_in_settings(name: str, toy_config: PretrainConfig) -> None:
    _, kind = WEIGHTINGS[name]
    values = write_config(replace(toy_config, weighting=kind()))
    assert values["weighting"]["name"] == name
    assert read_config(json.loads(json.dumps(values))).weighting == kind()


def test_shipped_settings_can_be_read() -> None:
    assert FILES
    for file in FILES:
        values = tomllib.loads(file.read_text())
        if file.stem.endswith(".about"):
            from_dict(ReleaseConfig, values, "about")
        else:
            read_config(values)


@pytest.mark.parametrize("name", sorted(path.name for path in SETTINGS))
def test_shipped_settings_take_a_width_as_the_help_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[PretrainConfig] = []
    monkeypatch.setattr(loop, "pretrain", lambda config, folder, **_: begun.append(config))
    start = ["pretrain", str(ROOT / "configs" / name), str(tmp_path / "run")]
    assert main([*start, "--set", "encoder.dim=64", "--set", "weighting.normalize=false"]) == 0
    assert begun[0].encoder.dim == 64  # type: ignore[attr-defined]
    assert begun[0].weighting.normalize is False


def test_settings_that_older_runs_wrote_can_be_read(toy_config: PretrainConfig) -> None:
    values = write_config(toy_config)
    older = {k: v for k, v in values.items() if not k.startswith(("augment", "mask"))}
    older["distort"] = {"clean": 0.5, "equalise": 0.1, "noise_power": [1e-7, 1e-4]}
    older |= {"wave": {"quantise": 0.3, "noise_colour": [0.0, 1.0]}, "distort_in": "both"}
    older["weighting"] = {"name": "dwa", "normalise": False}
    older["data"] = {k: v for k, v in values["data"].items() if k != "workers"}
    older["workers"] = ["chroma", "mfcc:context=7", "teacher:musicnn-msd"]
    config = read_config(older)
    assert (config.augment_spectrogram.clean, config.augment_spectrogram.equalize) == (0.5, 0.1)
    assert config.augment_waveform.quantize == 0.3
    assert config.augment_in == "both"
    assert config.weighting.normalize is False
    with pytest.raises(ConfigError, match="former name"):
        read_config(older | {"augment_in": "wave"})


def test_a_workers_settings_can_be_given_and_survive(toy_config: PretrainConfig) -> None:
    values = write_config(toy_config) | {"workers": ["chroma", {"name": "mfcc", "context": 7}]}
    values = replace_setting(values, "workers.contrast.temperature=0.2")
    values = replace_setting(values, "workers.chroma.hidden=8")
    config = read_config(values)
    found = config.worker_configs()
    assert list(found) == ["chroma", "mfcc", "contrast"]
    assert (found["chroma"].hidden, found["mfcc"].hidden) == (8, 16)  # type: ignore[attr-defined]
    assert found["contrast"].temperature == 0.2  # type: ignore[attr-defined]
    assert read_config(json.loads(json.dumps(write_config(config)))) == config
    with pytest.raises(ConfigError, match="'steps' is not a group of settings"):
        replace_setting(values, "steps.more=3")
    with pytest.raises(ConfigError, match="is not KEY=VALUE"):
        replace_setting(values, "steps")


def test_workers_that_need_masks_have_them(
    toy_config: PretrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    values = write_config(toy_config) | {"workers": ["masked"]}
    assert read_config(values).mask.excerpts == 0
    assert "mask.excerpts is 0" in caplog.text
    del values["mask"]
    assert read_config(values).mask.excerpts > 0
    assert read_config(values | {"workers": ["chroma"]}).mask.excerpts == 0


def test_settings_without_a_name_keep_the_default_kind(toy_config: PretrainConfig) -> None:
    values = write_config(toy_config)
    assert read_config(values | {"encoder": {"dim": 64}}).encoder == DilatedConfig(dim=64)
    plain = {key: value for key, value in values.items() if key not in ("encoder", "weighting")}
    assert read_config(plain | {"encoder": {}, "weighting": {}}) == read_config(plain)
    with pytest.raises(ConfigError, match="must be a mapping with a 'name'"):
        read_config(values | {"encoder": "dilated"})


@pytest.mark.usefixtures("few_batches")
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
    about.write_text(
        'summary = "A toy."\ndata_licences = "CC0"\nlicence = "cc0-1.0"\nlayer = [2, -1]\n'
    )
    capsys.readouterr()
    assert main(["release", str(run), str(out), "--about", str(about)]) == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"{run}: making a model of it\n")
    assert said.err.endswith(f"{out}: written, with its model card\n")
    assert not said.out  # an address alone, if it is uploaded
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


def test_a_release_shows_that_it_lives_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None; from musicssl_training.cli.main import main; "
        f"main(['release', {str(tmp_path / 'run')!r}, 'out', '--about', 'about.toml'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith(f"{tmp_path / 'run'}: making a model of it\n")
    assert "import of torch halted" in done.stderr  # nothing but torch stood in its way


def test_a_released_model_gives_what_was_trained(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    pretrain(toy_config, tmp_path / "run")
    sampler = make_sampler(toy_config, 22_050)
    config = ReleaseConfig(
        summary="A toy.", data_licences="CC0", licence="cc0-1.0", pooling="meanstd"
    )
    batches: list[int] = []
    out = release(tmp_path / "run", tmp_path / "model", config, show=lambda: batches.append(1))
    assert len(batches) == STATISTICS_BATCHES
    model = load_model(out, device="cpu")
    audio = torch.cat([excerpts(sampler, toy_config, step) for step in range(5)])
    values = model(audio, layer="all")[:, 25:-25].flatten(0, 1)
    assert values.mean().abs() < 0.3
    assert 0.7 < values.std() < 1.3
    assert model.clip_dim == 64


@pytest.mark.usefixtures("few_batches")
def test_a_release_of_short_excerpts_tells_which_layers_nobody_read(
    toy_config: PretrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = replace(toy_config.data, seconds=1.0)
    pretrain(replace(toy_config, data=data, workers=("chroma:layer=1",), steps=2), tmp_path / "run")
    config = ReleaseConfig(summary="A toy.", data_licences="CC0", licence="cc0-1.0", layer=(1,))
    model = load_model(release(tmp_path / "run", tmp_path / "model", config), device="cpu")
    assert model.centre.isfinite().all()
    assert (model.spread > 1e-3).any()
    assert "not trained" not in caplog.text
    release(tmp_path / "run", tmp_path / "last", replace(config, layer=(0, -1)))
    assert "layer -1 is not trained by this run, whose workers read layers up to 1" in caplog.text


@pytest.mark.usefixtures("few_batches")
def test_a_release_averages_runs_of_one_line(toy_config: PretrainConfig, tmp_path: Path) -> None:
    config = ReleaseConfig(
        summary="A toy.", data_licences="CC0", licence="cc0-1.0", pooling="meanstd"
    )
    pretrain(toy_config, tmp_path / "one")
    first = release(tmp_path / "one", tmp_path / "first", config)
    undistorted = replace(
        toy_config, start_from=str(first), augment_spectrogram=SpectrogramAugmentConfig(clean=1.0)
    )
    pretrain(undistorted, tmp_path / "two")
    second = release(tmp_path / "two", tmp_path / "second", config)
    both = replace(config, average_with=(str(first),))
    mean = release(tmp_path / "two", tmp_path / "mean", both)
    weights = [
        load_model(path, device="cpu").encoder.state_dict() for path in (first, second, mean)
    ]
    leaning = replace(both, average_shares=(0.2,))
    fifth = release(tmp_path / "two", tmp_path / "fifth", leaning)
    weights.append(load_model(fifth, device="cpu").encoder.state_dict())
    assert json.loads((fifth / "training.json").read_text())["averaged_shares"] == [0.2]
    card = " ".join((fifth / "README.md").read_text().split())
    assert "The weights are the mean of this run's (80%) and those of first (20%)." in card
    for name, values in weights[2].items():
        one, two = weights[0][name], weights[1][name]
        torch.testing.assert_close(values, (one + two) / 2, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(weights[3][name], 0.2 * one + 0.8 * two, atol=1e-3, rtol=1e-3)
    assert any(not torch.equal(weights[0][name], values) for name, values in weights[2].items())
    facts = json.loads((mean / "training.json").read_text())
    assert facts["began_with"]["model"] == facts["settings"]["start_from"] == "first"
    assert [told["model"] for told in facts["averaged_with"]] == ["first"]
    assert facts["averaged_with"][0]["steps"] == toy_config.steps
    assert len(facts["data"]) == 1  # all of them heard the same
    assert str(tmp_path) not in json.dumps(facts)
    told = " ".join((first / "README.md").read_text().split())
    assert "the targets stayed clean." in told
    card = " ".join((mean / "README.md").read_text().split())
    assert "The encoder heard them as they are." in card
    assert "It began with the encoder of first (" in card
    assert "The weights are the mean of this run's and those of first." in card


def test_a_release_tells_what_the_others_alone_have_heard(tmp_path: Path) -> None:
    much = {"recordings": 1, "hours": 0.5}
    own = {"pack": "own", "sources": [{"source": "a", "licence": "CC0"} | much]}
    other = {"pack": "other", "sources": [{"source": "b", "licence": "CC BY 4.0"} | much]}
    effort = {"steps": 3, "hours_heard": 0.1, "hours_of_computing": 0.1}
    folder = load_model("musicssl-small", device="cpu").save_pretrained(tmp_path / "before")
    (folder / "training.json").write_text(json.dumps(effort | {"data": [own, other]}))
    facts = ancestry({"data": [own]}, facts_of(str(folder)), ())
    assert facts["data"] == [own, other]
    assert facts["began_with"]["steps"] == 3
    assert "data" not in facts["began_with"]
    (folder / "training.json").unlink()
    facts = ancestry({"data": [own]}, None, [facts_of(str(folder))])
    assert facts["averaged_with"][0].keys() == {"model", "weights_sha256"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"data": 5}',
        '{"data": [{"pack": "a"}]}',
        '{"data": [{"pack": "a", "sources": [{"source": "b", "licence": "c", "hours": "1"}]}]}',
        '{"data": [{"pack": "a", "sources": [], "instruments": [{"name": "b"}]}]}',
        '{"data": [{"pack": "a", "sources": [], "fonts": 3}]}',
        '{"teachers": [{"name": "a"}]}',
        '{"steps": 3}',
        '{"settings": 3}',
        '{"began_with": {"model": "a", "data": 5}}',
        '{"averaged_with": {"model": "a"}}',
        "[" * 100_000,
        "\xe9",
    ],
)
def test_of_a_model_with_damaged_provenance_nothing_is_known(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = MusicEncoder(
        ModelConfig(encoder=DilatedConfig(dim=8, inner=8, dilations=(1,)), layer=(0,))
    ).save_pretrained(tmp_path / "before")
    (folder / "training.json").write_bytes(text.encode("latin-1"))
    assert facts_of(str(folder)).keys() == {"model", "weights_sha256"}
    assert "training.json" in caplog.text
    assert "how the model was trained is taken as unknown" in caplog.text


def test_a_card_tells_the_line_that_a_model_comes_from() -> None:
    first = {"model": "one", "steps": 9200, "hours_heard": 359.8, "hours_of_computing": 1.5}
    second = first | {"model": "two", "steps": 10, "began_with": first}
    assert tell(second) == (
        "two (10 steps, 359.8 hours heard, 1.5 hours of computing), "
        "which began with one (9,200 steps, 359.8 hours heard, 1.5 hours of computing)"
    )
    assert tell({"model": "three", "began_with": first}).startswith("three, of which nothing")


def test_only_encoders_of_one_shape_are_averaged(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    pretrain(replace(toy_config, steps=1), tmp_path / "run")
    config = ReleaseConfig(
        summary="A toy.", data_licences="CC0", licence="cc0-1.0", average_with=("musicssl-small",)
    )
    with pytest.raises(ConfigError, match="average_with 'musicssl-small': its encoder is"):
        release(tmp_path / "run", tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ((0.5, 0.1), "average_shares has 2 numbers, average_with 1 models"),
        ((0.0,), r"average_shares is \[0.0\]: each must be above 0"),
        ((1.0,), r"average_shares is \[1.0\]: each must be above 0, and their sum below 1"),
        ((float("nan"),), r"average_shares is \[nan\]"),
    ],
)
def test_shares_leave_something_to_the_run(shares: tuple[float, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ReleaseConfig(
            summary="A toy.",
            data_licences="CC0",
            licence="cc0-1.0",
            average_with=("musicssl-small",),
            average_shares=shares,
        )


@pytest.mark.parametrize("command", ["pretrain", "pack", "plot", "exercises"])
def test_a_folder_that_cannot_be_made_is_named(
    command: str,
    tmp_path: Path,
    toy_pack: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"of the user")
    out = str(file / "out")
    index = tmp_path / "index.csv"
    index.write_text("path,source,licence\nabsent.wav,mine,CC0\n")
    run = tmp_path / "run"
    run.mkdir()
    (run / "plots").symlink_to(file)
    (run / "log.jsonl").write_text('{"step": 1, "hours": 1.0, "loss/log_mel": 0.5}\n')
    toml = tmp_path / "run.toml"
    toml.write_text(
        f'workers = ["log_mel"]\nsteps = 1\n[data]\nsources = ["{toy_pack}"]\nshares = [1.0]\n'
    )
    calls = {
        "pretrain": ["pretrain", str(toml), out],
        "pack": ["pack", str(index), out],
        "plot": ["plot", str(run)],
        "exercises": ["exercises", out],
    }
    assert main(calls[command]) == 2
    named = run / "plots" if command == "plot" else file
    assert str(named) in capsys.readouterr().err.splitlines()[-1]
    assert file.read_bytes() == b"of the user"
