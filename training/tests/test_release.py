"""A release tells of what its run was trained on, and takes the place of nothing but another."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_teachers import Loudness

from musicssl.checkpoint.files import hash_weights_file
from musicssl.errors import ConfigError, ModelError, OutputError
from musicssl.model import load_model
from musicssl_training.data.places import files
from musicssl_training.release import export
from musicssl_training.release.export import ReleaseConfig, release
from musicssl_training.release.lineage import check_averaged
from musicssl_training.release.place import check_place
from musicssl_training.teachers.teach import teach
from musicssl_training.train import PretrainConfig, pretrain
from musicssl_training.train.record import ORIGINS, RUNS, read_starts

pytestmark = pytest.mark.usefixtures("few_batches")
ABOUT = ReleaseConfig(summary="A toy.", data_licences="CC0", licence="cc0-1.0")


@pytest.fixture
def pack(toy_pack: Path, tmp_path: Path) -> Path:
    """A pack that may change."""
    return shutil.copytree(toy_pack, tmp_path / "mine")


@pytest.fixture
def config(toy_config: PretrainConfig, pack: Path) -> PretrainConfig:
    """Settings of two steps on it."""
    data = replace(toy_config.data, sources=(str(pack),))
    return replace(toy_config, data=data, workers=("chroma",), steps=2, measure_batches=1)


def training(model: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((model / "training.json").read_text())
    return told


def grow(pack: Path, licence: str = "CC0", source: str = "toy") -> None:
    """Add a recording: the last one once more."""
    lines = (pack / "index.jsonl").read_text().splitlines()
    last = json.loads(lines[-1]) | {"path": "more.wav", "licence": licence, "source": source}
    (pack / "index.jsonl").write_text("\n".join([*lines, json.dumps(last)]) + "\n")


def forget(run: Path) -> None:
    """Leave of a run's record what older versions wrote."""
    rows = [json.loads(line) for line in (run / RUNS).read_text().splitlines()]
    for row in rows:
        del row[ORIGINS]
    (run / RUNS).write_text("".join(json.dumps(row) + "\n" for row in rows))


def forget_teacher(pack: Path) -> None:
    for file in files(pack, "loudness"):
        file.unlink()


def test_a_pack_that_has_grown_is_told_as_it_was(
    config: PretrainConfig, pack: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    pretrain(config, run)
    then = training(release(run, tmp_path / "model", ABOUT))["data"]
    assert "changed" not in caplog.text
    grow(pack)
    assert training(release(run, tmp_path / "model", ABOUT))["data"] == then
    assert "trained on it: mine (6 recordings then, 7 now). The card tells of" in caplog.text
    pretrain(replace(config, steps=3), run)  # which hears the new one as well
    assert "changed since the run was last started: mine (6 recordings" in caplog.text
    (told,) = training(release(run, tmp_path / "model", ABOUT))["data"]
    assert told["sources"][0]["recordings"] == 7
    grow(pack, licence="GPL-2")
    lines = (pack / "index.jsonl").read_text().splitlines()
    (pack / "index.jsonl").write_text("\n".join(lines[1:]) + "\n")
    pretrain(replace(config, steps=4), run)  # on another one of that name
    rows = training(release(run, tmp_path / "model", ABOUT))["data"]
    assert [[row["recordings"] for row in one["sources"]] for one in rows] == [[6, 1], [7]]


def test_a_start_that_left_nothing_in_the_weights_does_not_count(
    config: PretrainConfig, tmp_path: Path
) -> None:
    rows = [{"step": 0, "n": 1}, {"step": 0, "n": 2}, {"step": 4, "n": 3}, {"step": 4, "n": 4}]
    (tmp_path / RUNS).write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"step": 4')
    assert [start["n"] for start in read_starts(tmp_path, 6)] == [2, 4]
    assert [start["n"] for start in read_starts(tmp_path, 4)] == [2]
    assert read_starts(tmp_path / "absent", 4) == []


def test_a_run_of_an_older_version_is_released_if_its_packs_are_there(
    config: PretrainConfig, pack: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = tmp_path / "run"
    pretrain(config, run)
    then = training(release(run, tmp_path / "model", ABOUT))["data"]
    assert "taken to be" not in caplog.text
    forget(run)
    assert training(release(run, tmp_path / "model", ABOUT))["data"] == then
    assert "that lie there now are taken to be those of then" in caplog.text
    grow(pack)
    with pytest.raises(ConfigError, match=r"trained on other packs than .* now \(mine\)"):
        release(run, tmp_path / "model", ABOUT)
    (run / RUNS).unlink()
    (told,) = training(release(run, tmp_path / "model", ABOUT))["data"]
    assert told["sources"][0]["recordings"] == 7


def test_another_teacher_of_the_name_is_neither_told_nor_learnt_from(
    config: PretrainConfig, pack: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, out = tmp_path / "run", tmp_path / "model"
    config = replace(config, workers=("chroma", "teacher:loudness"))
    teach(pack, Loudness("patches"))
    pretrain(config, run)
    then = training(release(run, out, ABOUT))["teachers"]
    forget_teacher(pack)
    teach(pack, Loudness("patches", sha256="cd" * 32))
    assert training(release(run, out, ABOUT))["teachers"] == then
    now = "teacher loudness (a meter, abababababab then, a meter, cdcdcdcdcdcd now)"
    assert f"trained on it: {now}. The card" in caplog.text
    later = replace(config, steps=3)
    with pytest.raises(ConfigError, match="learnt from another teacher of the name loudness"):
        pretrain(later, run)
    older = shutil.copytree(run, tmp_path / "older")
    forget(older)
    with pytest.raises(ConfigError, match=r"\(abababababab\) than .* begin a run in another"):
        pretrain(later, older)
    with pytest.raises(ConfigError, match=r"on other teachers than .* now \(loudness\)"):
        release(older, out, ABOUT)
    forget_teacher(pack)
    assert training(release(run, out, ABOUT))["teachers"] == then
    assert "teacher loudness (no values now)" in caplog.text
    with pytest.raises(ConfigError, match="on other teachers"):
        release(older, out, ABOUT)


def test_a_model_that_was_overwritten_is_told_as_it_was(
    config: PretrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pretrain(config, tmp_path / "one")
    first = release(tmp_path / "one", tmp_path / "first", ABOUT)
    then = hash_weights_file(first)
    wider = replace(config.encoder, dim=64)  # type: ignore[call-arg]
    going_on = replace(config, start_from=str(first), encoder=wider)
    pretrain(going_on, tmp_path / "two")
    pretrain(replace(config, encoder=wider, seed=5), tmp_path / "other")
    release(tmp_path / "other", first, ABOUT)
    told = training(release(tmp_path / "two", tmp_path / "second", ABOUT))
    assert told["began_with"]["weights_sha256"] == then
    assert told["widened_from"] == {"dim": 32}
    assert f"is another model by now; the card tells of the model of then ({then[:12]}" in (
        caplog.text
    )
    shutil.rmtree(first)
    pretrain(replace(going_on, steps=3), tmp_path / "two")  # needs no beginning any more
    told = training(release(tmp_path / "two", tmp_path / "second", ABOUT))
    assert told["began_with"]["weights_sha256"] == then
    assert told["settings"]["start_from"] == "first"
    assert "cannot be found any more; the card tells of" in caplog.text
    forget(tmp_path / "two")
    with pytest.raises(ModelError, match="first"):
        release(tmp_path / "two", tmp_path / "third", ABOUT)
    assert not (tmp_path / "third").exists()


def test_a_release_takes_the_place_of_nothing_but_a_release(
    config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    pretrain(config, run)
    mine = tmp_path / "notes"
    mine.mkdir()
    release(run, mine, ABOUT)  # it is empty
    before = {path.name: path.read_bytes() for path in mine.iterdir()}
    assert before.keys() == {"README.md", "config.json", "model.safetensors", "training.json"}
    with monkeypatch.context() as patch:
        patch.setattr(export, "card", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            release(run, mine, ABOUT)
    assert {path.name: path.read_bytes() for path in mine.iterdir()} == before
    release(run, mine, replace(ABOUT, summary="Another."))
    assert "Another." in (mine / "README.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "run", "notes"}
    with pytest.raises(OutputError, match="is the run itself"):
        release(run, tmp_path / "notes" / ".." / "run", ABOUT)
    (mine / "songs.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes holds songs\.txt; a release takes"):
        release(run, mine, ABOUT)


@pytest.mark.parametrize("name", ["README.md", "model.safetensors", "config.json"])
def test_files_of_a_users_own_are_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(OutputError, match="holds files that no release has written"):
        check_place(tmp_path / "out", tmp_path / "run")
    with pytest.raises(OutputError, match="is no folder"):
        check_place(tmp_path / "out" / name, tmp_path / "run")


def test_a_model_that_no_release_wrote_is_left_alone(tmp_path: Path) -> None:
    model = load_model("musicssl-nano", device="cpu").save_pretrained(tmp_path / "out")
    with pytest.raises(OutputError, match="no release has written"):
        check_place(model, tmp_path / "run")


def test_a_mean_of_independent_weights_is_told(caplog: pytest.LogCaptureFixture) -> None:
    root, aunt = ({"model": name, "weights_sha256": name} for name in ("root", "aunt"))
    mine, cousin = {**aunt, "began_with": root}, root | {"model": "c", "weights_sha256": "c"}
    cousin = {**cousin, "began_with": root}
    check_averaged(mine, [aunt, root, cousin])
    assert caplog.text == ""
    for began, other in ((mine, {"model": "x", "weights_sha256": "x"}), (None, root)):
        check_averaged(began, [other])
        assert f"average_with '{other['model']}': no model is known" in caplog.text
    with pytest.raises(ConfigError, match="the same weights twice, root and copy"):
        check_averaged(mine, [root, root | {"model": "copy"}])
