import json
import shutil
import signal
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from musicssl.config import from_dict, to_dict
from musicssl.errors import AudioError, ConfigError, DependencyError
from musicssl.model import load_model
from musicssl_training import pretrain as pretrain_module
from musicssl_training.cli import main
from musicssl_training.corpus import Pack, Sampler, write_pack
from musicssl_training.pretrain import PretrainConfig, pretrain, rate, read_config
from musicssl_training.release import ReleaseConfig, release

ROOT = Path(__file__).parent.parent


def test_killed_and_resumed_is_the_same_run(toy_config: PretrainConfig, tmp_path: Path) -> None:
    whole = pretrain(toy_config, tmp_path / "whole")
    half = replace(toy_config, steps=6)

    class Killed(Exception):
        pass

    steps = 0
    real = pretrain_module.train_step

    def until_four(run):  # type: ignore[no-untyped-def]
        nonlocal steps
        steps += 1
        if steps == 5:
            raise Killed
        return real(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain_module, "train_step", until_four)
        with pytest.raises(Killed):
            pretrain(half, tmp_path / "cut")
    resumed = pretrain(half, tmp_path / "cut")  # from step 3, the last that was saved
    assert resumed.step == whole.step == 6
    assert resumed.hours == whole.hours
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name])


def test_learning_rate_ramps_and_falls(toy_config: PretrainConfig) -> None:
    config = replace(toy_config, steps=100, warm_up=10, cool_down=0.2, learning_rate=1.0)
    assert rate(0, config) == pytest.approx(0.1)
    assert rate(50, config) == 1.0
    assert rate(90, config) == pytest.approx(0.5)
    assert rate(100, config) == 0.0


def test_settings_survive_json_and_refuse_unknown_keys(toy_config: PretrainConfig) -> None:
    values = json.loads(json.dumps(to_dict(toy_config)))
    assert read_config(values) == toy_config
    with pytest.raises(ConfigError, match="Did you mean 'steps'"):
        read_config(values | {"step": 3})
    with pytest.raises(ConfigError, match="1 packs but 2 shares"):
        read_config(values | {"shares": [0.5, 0.5]})


def test_shipped_settings_can_be_read() -> None:
    for file in (ROOT / "configs").glob("*.toml"):
        values = tomllib.loads(file.read_text())
        if file.stem.endswith(".about"):
            from_dict(ReleaseConfig, values, "about")
        else:
            read_config(values)


def test_excerpts_come_in_pairs_and_repeat(toy_pack: Path) -> None:
    pack = Pack.open(toy_pack)
    first, second = (Sampler([pack], [1.0], 5_000, seed=3).excerpts(8) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == (16, 5_000)
    assert np.abs(first).max() <= 1
    starts = {item["start"]: item for item in pack.items}
    whole = np.asarray(pack.audio).astype(np.float32) / 32768
    for a, b in first.reshape(8, 2, -1):
        homes = []
        for excerpt in (a, b):
            places = np.flatnonzero(whole == excerpt[0])
            place = next(p for p in places if np.array_equal(whole[p : p + 5_000], excerpt))
            homes.append(max(start for start in starts if start <= place))
        assert homes[0] == homes[1]


def test_recordings_shorter_than_an_excerpt_are_an_error(toy_pack: Path) -> None:
    with pytest.raises(ConfigError, match="no recording is longer"):
        Sampler([Pack.open(toy_pack)], [1.0], 10**9, seed=0)


def test_pack_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    rows = [{"path": f"{i}", "source": "s", "licence": "CC0"} for i in range(4)]

    def read(row):  # type: ignore[no-untyped-def]
        if row["path"] == "2":
            raise AudioError("a bad file")
        return np.full(10, 0.1 * (1 + int(row["path"])), np.float32), {"more": 1}

    assert write_pack(rows[:2], tmp_path, read) == 2
    with (
        (tmp_path / "audio.i16").open("ab") as audio,
        (tmp_path / "index.jsonl").open("a") as index,
    ):
        audio.write(b"half")  # as a kill leaves it
        index.write('{"path": "3", "st')
    assert write_pack(rows, tmp_path, read) == 3
    pack = Pack.open(tmp_path)
    assert [item["path"] for item in pack.items] == ["0", "1", "3"]
    for item, level in zip(pack.items, (0.1, 0.2, 0.4), strict=True):
        stretch = pack.audio[item["start"] : item["start"] + item["samples"]]
        np.testing.assert_allclose(stretch / 32767, level, atol=1e-4)
    with pytest.raises(ConfigError, match="not a pack"):
        Pack.open(tmp_path / "elsewhere")


def test_a_pack_is_the_same_for_any_number_of_jobs(tmp_path: Path) -> None:
    rows = [{"path": f"{i}", "source": "s", "licence": "CC0"} for i in range(30)]

    def read(row):  # type: ignore[no-untyped-def]
        time.sleep(0.001 * (int(row["path"]) % 3))
        if row["path"] == "7":
            raise AudioError("a bad file")
        return np.full(5 + int(row["path"]), 2.0, np.float32), {}

    for jobs in (1, 4):
        assert write_pack(rows, tmp_path / str(jobs), read, jobs) == 29
    for name in ("audio.i16", "index.jsonl"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "4" / name).read_bytes()
    assert (Pack.open(tmp_path / "1").audio == 32767).all()  # clipped, not wrapped round


def test_what_concerns_all_recordings_ends_the_packing(tmp_path: Path) -> None:
    def read(row):  # type: ignore[no-untyped-def]
        raise DependencyError("no fluidsynth")

    rows = [{"path": f"{i}", "source": "s", "licence": "CC0"} for i in range(9)]
    for jobs in (1, 3):
        with pytest.raises(DependencyError):
            write_pack(rows, tmp_path, read, jobs)


def test_a_pack_that_was_copied_in_part_is_refused(toy_pack: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_pack, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "audio.i16").open("r+b") as audio:
        audio.truncate(1000)
    with pytest.raises(ConfigError, match="copied in part"):
        Pack.open(tmp_path)
    with pytest.raises(ConfigError, match="copied in part"):
        write_pack([], tmp_path, lambda row: (np.zeros(1, np.float32), {}))


def test_a_pack_at_another_rate_is_refused(
    toy_config: PretrainConfig, toy_pack: Path, tmp_path: Path
) -> None:
    shutil.copytree(toy_pack, tmp_path / "pack")
    index = tmp_path / "pack" / "index.jsonl"
    items = [json.loads(line) | {"sample_rate": 16_000} for line in index.open()]
    index.write_text("".join(json.dumps(item) + "\n" for item in items))
    with pytest.raises(ConfigError, match="is at 16000 Hz, the encoder at 22050 Hz"):
        pretrain(replace(toy_config, packs=(str(tmp_path / "pack"),)), tmp_path / "run")


def test_stopping_saves_and_the_log_has_every_step_once(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    config = replace(toy_config, steps=30, save_every=20, workers=("chroma",))
    steps: list[int] = []

    def show(run, losses):  # type: ignore[no-untyped-def]
        steps.append(run.step)

    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path, show=show, stop=lambda: len(steps) == 4)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 10, "chroma": 1.0}\n{"step": 2')  # lost when a later run was killed
    pretrain(config, tmp_path, show=show)
    assert steps == list(range(1, 31))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert "norm" in lines[0]


def test_another_runs_folder_is_left_as_it_is(toy_config: PretrainConfig, tmp_path: Path) -> None:
    config = replace(toy_config, steps=1, workers=("chroma",))
    pretrain(config, tmp_path)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(ConfigError, match="another encoder or other workers"):
        pretrain(replace(config, workers=("notes",)), tmp_path)
    assert (tmp_path / "config.json").read_text() == before


def test_index_is_read_as_spreadsheets_write_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = 22_050
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(rate, 0.1), rate)
    text = "path,source,licence\na.wav,s,CC0\nb.wav,s,CC BY-NC\nc.wav,s,CC0 and more\nd.wav,s\n"
    (tmp_path / "index.csv").write_text(text, encoding="utf-8-sig")
    command = ["pack", str(tmp_path / "index.csv"), str(tmp_path / "pack")]
    assert main([*command, "--leave-out", "licence=*N[CD]*", "--jobs", "2"]) == 0
    items = Pack.open(tmp_path / "pack").items
    assert [item["path"] for item in items] == ["a.wav", "c.wav"]
    assert {item["sample_rate"] for item in items} == {rate}
    assert "2 of 3 recordings" in capsys.readouterr().err
    assert main([*command, "--leave-out", "genre=x"]) == 2
    assert "has no column 'genre'" in capsys.readouterr().err
    (tmp_path / "index.csv").write_bytes(b"\xff\xfe\x00")
    assert main(command) == 2


def test_ctrl_c_saves_and_leaves_with_130(
    toy_config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = tmp_path / "toy.toml", tmp_path / "run"
    config.write_text(
        f"packs = {json.dumps(list(toy_config.packs))}\nshares = [1.0]\nworkers = ['chroma']\n"
        "steps = 500\npairs = 2\nmeasure_batches = 2\n[encoder]\ndim = 16\ninner = 24\n"
    )
    real = pretrain_module.train_step

    def step(run):  # type: ignore[no-untyped-def]
        if run.step == 2:
            signal.raise_signal(signal.SIGINT)
        return real(run)

    monkeypatch.setattr(pretrain_module, "train_step", step)
    assert main(["pretrain", str(config), str(run)]) == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert torch.load(run / "state.pt", weights_only=True)["progress"][0] == 3


def test_from_settings_to_a_model_by_command(
    toy_config: PretrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, about = tmp_path / "toy.toml", tmp_path / "about.toml"
    config.write_text(
        f"packs = {json.dumps(list(toy_config.packs))}\nshares = [1.0]\n"
        'workers = ["chroma", "contrast"]\nsteps = 9\npairs = 2\nmeasure_batches = 2\n'
        "[encoder]\ndim = 16\ninner = 24\nmel_channels = 8\npitch_channels = [2, 3]\n"
    )
    run, out = tmp_path / "run", tmp_path / "toy-model"
    assert main(["pretrain", str(config), str(run), "--set", "steps=2", "--threads", "1"]) == 0
    about.write_text('summary = "A toy."\ndata_licences = "CC0"\nlayer = [2, -1]\n')
    assert main(["release", str(run), str(out), "--about", str(about)]) == 0
    model = load_model(out, device="cpu")
    assert model.dim == 32
    assert "A toy." in (out / "README.md").read_text()
    facts = json.loads((out / "training.json").read_text())
    assert facts["steps"] == 2
    assert facts["data"][0]["sources"][0]["recordings"] == 6
    assert main(["pretrain", str(config), str(run), "--set", "stepps=2"]) == 2
    assert "Did you mean 'steps'" in capsys.readouterr().err
    assert main(["release", str(tmp_path), str(out), "--about", str(about)]) == 2


def test_a_released_model_gives_what_was_trained(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    run = pretrain(toy_config, tmp_path / "run")
    config = ReleaseConfig(summary="A toy.", data_licences="CC0", pooling="meanstd")
    model = load_model(release(tmp_path / "run", tmp_path / "model", config), device="cpu")
    audio = torch.cat([run.batch() for _ in range(5)])
    values = model(audio, layer="all")[:, 25:-25].flatten(0, 1)
    assert values.mean().abs() < 0.3
    assert 0.7 < values.std() < 1.3
    assert model.clip_dim == 64
