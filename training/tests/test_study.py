"""Studies: the design, the shared folder, and the same results however often they are stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fake_teachers import Loudness

from musicssl.checkpoint import ModelConfig
from musicssl.errors import ConfigError
from musicssl.model import MusicEncoder
from musicssl_training.cli.main import main
from musicssl_training.data import Pack
from musicssl_training.data.places import files
from musicssl_training.locks import Lock, is_stale
from musicssl_training.study import cell as cell_module
from musicssl_training.study import run as run_module
from musicssl_training.study.cell import check_cell, train_cell
from musicssl_training.study.config import Study, read_study
from musicssl_training.study.folder import FACTS, StudyFolder
from musicssl_training.study.music import check_music, hash_labels, music_of, read_collections
from musicssl_training.study.plan import LIKE, MEASURED, TIMED, make_plan
from musicssl_training.study.run import check_study, retry_failed, run_study
from musicssl_training.study.summary import summarize
from musicssl_training.teachers.teach import teach

CONFIGS = Path(__file__).parents[1] / "configs"
STUDY = """
[report]
title = "Toy <study>"

[settings]
hidden = 8
measure_batches = 1
compare_every = 0
save_every = 2
log_every = 1

[settings.data]
sources = ["{pack}"]
shares = [1.0]
seconds = 1.76
recordings = 2
workers = 0

[settings.encoder]
name = "dilated"
dim = 16
inner = 16
pitch_channels = [2, 2]
mel_channels = 8
dilations = [1]

[settings.optim]
warm_up = 2

[budget]
hours = 0.0118 # 6 steps

[evaluate]
collections = ["drum_machines={data}"]
part = "all"
seeds = 1

[grid]
workers = [
  {{ name = "spectral", value = ["mfcc", "log_mel"] }},
  {{ name = "musical", value = ["chroma", "onsets"] }},
]
weighting.name = ["equal", "rlw"]
seed = [0, 1]
"""


TWO_TASKS = """
seed = [0]
music = [
  { name = "drums", set = {} },
  { name = "notes", set = { hidden = 4, "evaluate.collections" = ["orchestra_notes=x"] } },
]
"""


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen sounds of two classes, from four machines."""
    root = tmp_path_factory.mktemp("labeled")
    rng, t = np.random.default_rng(0), np.arange(11_025) / 22_050
    lines = ["path,class,machine"]
    for i in range(16):
        tone = np.sin(2 * np.pi * rng.uniform(200, 2000) * t) * np.exp(-8 * t)
        noise = rng.standard_normal(len(t)) * np.exp(-20 * t)
        soundfile.write(root / f"{i}.wav", 0.3 * (tone if i % 2 else noise), 22_050)
        lines.append(f"{i}.wav,{('snare', 'tom')[i % 2]},m{i // 4}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def file(toy_pack: Path, labeled: Path, tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(pack=toy_pack.as_posix(), data=labeled.as_posix()))
    return path


@pytest.fixture
def study(file: Path) -> Study:
    return read_study(file)


def change(file: Path, *pairs: tuple[str, str]) -> Path:
    """Write a study with some text replaced."""
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return file


def fake(study: Study, folder: StudyFolder, cells: slice = slice(None)) -> None:
    """Write results as if cells had been run; musical workers are 5 points better."""
    rng = np.random.default_rng(0)
    for cell in study.cells[cells]:
        scores = {
            task: {"metric": "accuracy", "chance": 0.2, "n_items": 100, "n_groups": 9}
            | {"score": base + 0.05 * (cell.levels["workers"] == "musical") + 0.004 * rng.normal()}
            for task, base in (("drum class", 0.5), ("key", 0.3))
        }
        facts: dict[str, Any] = {"cpu_seconds": 60.0, "wall_seconds": 90.0, "steps": 6}
        facts |= {"hours_heard": 0.0118, "parameters": 1000, "evaluate_wall_seconds": 30.0}
        folder.write_result(cell, {"scores": scores} | facts)


def compared(folder: Path) -> dict[str, Any]:
    """Return what must not depend on how a study was run: scores and weights, to the bit."""
    cells = {p.name: json.loads(p.read_text()) for p in sorted((folder / "cells").iterdir())}
    weights = {
        p.parent.name: p.read_bytes() for p in sorted(folder.glob("models/*/model.safetensors"))
    }
    return {"scores": {name: cell["scores"] for name, cell in cells.items()}, "weights": weights}


def study_command(file: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "musicssl_training.cli", "study", str(file), str(out), *more]


# --- the design


def test_cells_are_the_product_one_whole_design_a_seed(study: Study) -> None:
    assert [tuple(cell.levels.values()) for cell in study.cells[:5]] == [
        ("spectral", "equal", "0"),
        ("spectral", "rlw", "0"),
        ("musical", "equal", "0"),
        ("musical", "rlw", "0"),
        ("spectral", "equal", "1"),
    ]
    cell = study.cells[3]
    assert cell.config.workers == ("chroma", "onsets") and cell.config.weighting.name == "rlw"
    assert {cell.config.steps for cell in study.cells} == {6}  # 42.5 s in batches of 7.04 s
    assert len({cell.id for cell in study.cells}) == 8


def test_blocks_are_joined_and_what_they_share_runs_once(file: Path) -> None:
    file.write_text(
        file.read_text() + '[[block]]\nseed = 0\n[[block]]\nworkers = ["musical"]\nseed = [0, 1]\n'
    )
    assert len(read_study(file).cells) == 4 + 2


def test_a_level_can_set_anything_also_how_it_is_measured(file: Path) -> None:
    levels = (
        'size = [{ name = "small", set = { "encoder.dim" = 16 } },'
        ' { name = "large", set = { "encoder.dim" = 32, "evaluate.layer" = [0], "budget.hours" = '
        '0.03, "data.recordings" = 3 } }]\nseed = [0, 1]'
    )
    cells = read_study(change(file, ("seed = [0, 1]", levels))).cells
    (large,) = {cell.config.encoder.dim for cell in cells if cell.levels["size"] == "large"}
    assert large == 32 and cells[1].evaluate.layer == (0,)
    assert (cells[0].config.steps, cells[1].config.steps) == (6, 10)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weighting.name", "weightin.name", "Did you mean 'weighting'"),
        ('"equal", "rlw"', '"equal", "rlv"', "weighting.name=rlv.*Did you mean 'rlw'"),
        ("[budget]", "[budgets]", "budgets: unknown key. Did you mean 'budget'"),
        ("hours = 0.0118", "hours = 0", "budget.hours must be positive"),
        ("hours = 0.0118", "hour = 1.0", "budget.hour: unknown key"),
        ("seed = [0, 1]", "sed = [0, 1]", r"config.sed: unknown key. Did you mean 'seed'"),
        ("seed = [0, 1]", "seed = [0, 0]", "two levels named '0'"),
        ("seed = [0, 1]", "seed = 1", "must be a list of levels"),
        ("drum_machines=", "drum_machine=", "Did you mean 'drum_machines'"),
        ('part = "all"', 'part = "train"', "evaluate.part"),
        ('part = "all"', 'tasks = ["genre"]', "needs the collection 'emotify'"),
        ('value = ["chroma", "onsets"]', 'value = ["mfcc", "log_mel"]', "are the same run"),
        ("dim = 16", "dim = 16\ndimm = 3", "dimm"),
        ("[grid]", "[[grid]]", "study.grid must be a table"),
        ("[budget]", "[[budget]]", "study.budget must be a table"),
        ("[report]", "base = 3\n[report]", "study.base must be the path of a file"),
        ("[report]", "block = []\n[report]", "study.block must be a list of tables"),
        ("seed = [0, 1]", "seed = [0]\n[[block]]\nseed = []", "leaves seed no level"),
        ("seed = [0, 1]", "seed = [0]\nsteps = [5, 6]", "vary 'budget.hours'"),
        ("collections = [", 'collections = ["drum_machines=x", ', "names a collection twice"),
        ("seed = [0, 1]", TWO_TASKS, "no task is measured in every cell: .* has instrument"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_cell(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    change(file, (old, new))
    with pytest.raises(ConfigError, match=message):
        read_study(file)
    assert main(["study", str(file), str(tmp_path / "out")]) == 2
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sources = [", 'sources = ["nowhere"]#', "nowhere does not exist"),
        ("drum_machines=", "drum_machines=nowhere/", "is no folder"),
        ("seeds = 1", "seeds = 1\nlayer = [9]", "layer 9 does not exist"),
        ("seeds = 1", 'seeds = 1\npooling = "none"', "pooling must be mean, max or meanstd"),
        ('"onsets"', '"onsets:layer=2"', "layer of 'onsets:layer=2' must be -2 to 1"),
        (
            'name = ["equal", "rlw"]',
            'name = ["static"]\nweighting.workers = [["notes"]]\nweighting.weights = [[1.0]]',
            "the run has no worker 'notes'",
        ),
    ],
)
def test_data_layers_and_weightings_are_looked_for_too(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    assert main(["study", str(change(file, (old, new))), str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("study-*.toml")), ids=lambda path: path.stem)
def test_shipped_studies_are_accepted(path: Path) -> None:
    study = read_study(path)
    assert len(study.cells) > 4 and study.treatments
    for cell in study.cells:
        check_cell(cell)


# --- the shared folder


def test_a_lock_is_held_by_one_and_free_again(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    lock = Lock.take(path)
    assert lock is not None and Lock.take(path) is None
    lock.release()
    with Lock.take(path) as again:  # type: ignore[union-attr]
        assert again is not None
    assert not list(path.parent.iterdir())


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = (
        "import sys; from pathlib import Path; from musicssl_training.locks import Lock;"
        "lock = Lock.take(Path(sys.argv[1])); print(lock is not None); sys.stdout.flush();"
        "import os; os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.strip() == "True" and path.exists()
    assert is_stale(path)
    lock = Lock.take(path)
    assert lock is not None and Lock.take(path) is None
    lock.release()


def test_a_number_of_process_that_was_given_again_is_not_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = Lock.take(path)
    assert lock is not None
    held = json.loads(path.read_text())
    if held["started"] is None:
        pytest.skip("when a process began is not known here")
    path.write_text(json.dumps(held | {"started": "1"}))
    assert is_stale(path)
    path.write_text(json.dumps(held))
    assert not is_stale(path)
    lock.release()


def test_another_machine_keeps_its_lock_until_it_was_silent_for_long(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text(json.dumps({"token": "x", "host": "elsewhere", "pid": os.getpid()}))
    assert Lock.take(path, timeout=60) is None
    before = time.time() - 120
    os.utime(path, (before, before))
    assert Lock.take(path, timeout=600) is None
    taken = Lock.take(path, timeout=60)
    assert taken is not None and json.loads(path.read_text())["pid"] == os.getpid()
    taken.release()


def test_of_many_that_find_a_dead_lock_one_takes_it(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"{attempt}.lock"
        path.write_text(json.dumps({"token": "x", "host": "elsewhere", "pid": 1}))
        os.utime(path, (0, 0))
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(lambda _, path=path: Lock.take(path), range(8)))
        held = [lock for lock in taken if lock is not None]
        assert len(held) == 1
        held[0].release()
    assert not list(tmp_path.iterdir())


def test_who_was_taken_over_from_notices_and_leaves_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musicssl_training.locks.BEAT", 0.01)
    path = tmp_path / "a.lock"
    lock = Lock.take(path)
    assert lock is not None and not lock.lost
    path.write_text(json.dumps({"token": "another"}))
    lock._thread.join(timeout=30)
    assert lock.lost
    lock.release()
    assert path.exists()


# --- files that are damaged


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "must hold a table") for text in ("[]", "null", '"x"', "3")),
        ('{"format": 1', "is no JSON"),
        ("{}", "format must be 1, got None"),
        ('{"a": 1}', "format must be 1, got None"),
    ],
)
def test_a_result_that_is_none_is_named(
    study: Study, tmp_path: Path, text: str, message: str
) -> None:
    folder = StudyFolder(tmp_path)
    fake(study, folder, slice(1))
    file = folder.result_file(study.cells[0])
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"{file.name} cannot be used: .*{message}.*Remove it"):
        summarize(study, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format must be 1, got 99"),
        ({"id": "abc"}, "id must be '.*', got 'abc'"),
        ({"measured": 3}, "measured must be text"),
        ({"data": []}, "data must be a table"),
        ({"steps": None}, "steps must be a positive number"),
        ({"cpu_seconds": -1.0}, "cpu_seconds must be a positive number"),
        ({"scores": {}}, "scores must be a table of tasks"),
        ({"scores": {"key": 3}}, "scores.key must be a table, got 3"),
        *(
            ({"scores": {"key": {"metric": "mirex", "score": score}}}, "scores.key.score must be a")
            for score in ("high", None, float("nan"), True)
        ),
    ],
)
def test_a_result_that_lacks_something_is_named(
    study: Study, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = StudyFolder(tmp_path)
    fake(study, folder, slice(1))
    file = folder.result_file(study.cells[0])
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ConfigError, match=f"{file.name} cannot be used: {message}"):
        folder.result(study.cells[0])


def test_what_is_damaged_stops_a_run_and_a_report_in_one_line(
    file: Path, study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = StudyFolder(tmp_path / "out")
    fake(study, folder)
    first, second = study.cells[:2]
    folder.result_file(first).write_text(folder.result_file(second).read_text())
    for more in ([], ["--report"], ["--dry-run"]):
        assert main(["study", str(file), str(folder.root), *more]) == 2
        assert f"{first.id}.json cannot be used: id must be" in capsys.readouterr().err
    folder.result_file(first).unlink()
    folder.failure_file(first).parent.mkdir()
    folder.failure_file(first).write_text('{"x": 1}')
    assert main(["study", str(file), str(folder.root), "--report"]) == 2
    assert "error must be text, got None. Remove it" in capsys.readouterr().err


def test_a_run_that_is_damaged_begins_anew_when_it_is_tried_again(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, (cell, *_) = StudyFolder(tmp_path), study.cells
    only = Study(study.factors, (cell,), study.report)
    monkeypatch.setattr(run_module, "train_cell", None)
    running = folder.running(cell)
    running.mkdir(parents=True)
    (running / "state.pt").write_text("x")
    assert run_study(only, folder, lambda: False).failed == [cell]
    said = (folder.failure(cell) or {})["error"]
    assert f"{running} is damaged; --retry removes it" in said and "\n" not in said
    retry_failed(only, folder)
    assert not running.exists() and folder.state(cell) == "to do"


@pytest.mark.parametrize("damage", ["facts", "weights", "cost", None])
def test_an_encoder_that_is_damaged_is_trained_anew_when_it_is_tried_again(
    study: Study, tmp_path: Path, damage: str | None
) -> None:
    folder, (cell, *_) = StudyFolder(tmp_path), study.cells
    only = Study(study.factors, (cell,), study.report)
    model = folder.model(cell)
    MusicEncoder(ModelConfig(encoder=cell.config.encoder)).save_pretrained(model)
    facts = {"steps": 6, "hours_heard": 1.0, "parameters": 9, "cpu_seconds": 1.0}
    if damage != "facts":
        facts |= {} if damage == "cost" else {"wall_seconds": 1.0}
        (model / FACTS).write_text(json.dumps(facts))
    if damage == "weights":
        weights = model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    if damage:
        assert run_study(only, folder, lambda: False).failed == [cell]
        assert f"{model} is damaged; --retry" in (folder.failure(cell) or {})["error"]
    else:
        folder.write_failure(cell, ValueError("of another kind"))
    retry_failed(only, folder)
    assert model.exists() == (damage is None) and folder.failure(cell) is None


# --- other music of the same name


@pytest.fixture
def music(toy_pack: Path, labeled: Path, tmp_path: Path) -> Path:
    """Pack and labeled sounds of the study, in another place."""
    shutil.copytree(toy_pack, tmp_path / "music" / toy_pack.name)
    shutil.copytree(labeled, tmp_path / "music" / "labeled")
    return tmp_path / "music"


@pytest.fixture
def moved(file: Path, toy_pack: Path, labeled: Path, music: Path) -> Study:
    """The same study with its music there."""
    change(file, (toy_pack.as_posix(), (music / toy_pack.name).as_posix()))
    return read_study(change(file, (labeled.as_posix(), (music / "labeled").as_posix())))


@pytest.fixture
def finished(study: Study, toy_pack: Path, tmp_path: Path) -> StudyFolder:
    """Results that say what they were made with."""
    folder = StudyFolder(tmp_path / "out")
    fake(study, folder)
    (labeled,) = read_collections(study.cells[0].evaluate)
    made_with = {
        "made_by": {"sources": {toy_pack.name: Pack.open(toy_pack).digest()}},
        "data": {labeled.name: labeled.hash},
        "labels": {labeled.name: hash_labels(labeled)},
    }
    for cell in study.cells:
        folder.write_result(cell, (folder.result(cell) or {}) | made_with)
    return folder


def test_folders_may_move(moved: Study, finished: StudyFolder) -> None:
    check_music(moved, finished)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("toy/index.jsonl", "CC0", "PD", "source toy"),
        ("labeled/items.csv", "15.wav,tom,m3\n", "", "collection drum_machines"),
        ("labeled/items.csv", "15.wav,tom", "15.wav,snare", "labels of drum_machines"),
    ],
)
def test_other_music_of_the_same_name_is_refused(
    file: Path,
    music: Path,
    moved: Study,
    finished: StudyFolder,
    capsys: pytest.CaptureFixture[str],
    name: str,
    old: str,
    new: str,
    message: str,
) -> None:
    change(music / name, (old, new))
    with pytest.raises(
        ConfigError, match=rf"other music of the same name: {message} \(of 8 cells, such"
    ):
        check_music(moved, finished)
    assert main(["study", str(file), str(finished.root)]) == 2
    assert main(["study", str(file), str(finished.root), "--dry-run"]) == 2
    assert "Give another OUT" in capsys.readouterr().err
    assert main(["study", str(file), str(finished.root), "--report"]) == 0


def test_another_teaching_of_the_same_name_is_refused(
    file: Path, toy_pack: Path, music: Path, tmp_path: Path
) -> None:
    pack = music / toy_pack.name
    change(file, (toy_pack.as_posix(), pack.as_posix()), ("seed = [0, 1]", "seed = [0]"))
    change(file, ('["chroma", "onsets"]', '["chroma", "teacher:loudness"]'))
    study, folder = read_study(file), StudyFolder(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"cell .*no source has values of that teacher"):
        check_study(study)
    teach(pack, Loudness("patches"))
    check_study(study)
    plain, taught = study.cells[0], study.cells[2]
    assert "teacher:loudness" in taught.config.workers
    for cell in (plain, taught):
        train_cell(cell, folder.running(cell), folder.model(cell), lambda: False)
    facts = json.loads((folder.model(taught) / FACTS).read_text())
    assert music_of(facts).keys() == {"source toy", "teacher loudness on toy"}
    check_music(study, folder)
    values, _ = files(pack, "loudness")
    stored = np.fromfile(values, np.float16)
    (stored + np.float16(1)).tofile(values)
    with pytest.raises(ConfigError, match=r"name: teacher loudness on toy \(of 1 cells, such"):
        check_music(study, folder)
    del facts["made_by"]["taught"]  # as of an older version
    (folder.model(taught) / FACTS).write_text(json.dumps(facts))
    check_music(study, folder)


def test_what_is_begun_goes_on_with_its_music_alone(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "out")
    other = {"sources": {"toy": "another"}}
    (running := folder.running(study.cells[0])).mkdir(parents=True)
    check_music(study, folder)
    (running / "runs.jsonl").write_text(json.dumps(other) + "\n")
    with pytest.raises(ConfigError, match=r"source toy \(of 1 "):
        check_music(study, folder)
    (model := folder.model(study.cells[1])).mkdir(parents=True)
    (model / FACTS).write_text(json.dumps({"made_by": other}))
    with pytest.raises(ConfigError, match=r"source toy \(of 2 "):
        check_music(study, folder)


def test_the_report_says_where_music_differs(study: Study, finished: StudyFolder) -> None:
    said = "Music of one name was not the same for all cells: "
    assert not any(said in note for note in summarize(study, finished)["notes"])
    cell = study.cells[3]
    other = {"data": {"drum_machines": "another"}}
    finished.write_result(cell, (finished.result(cell) or {}) | other)
    notes = summarize(study, finished)["notes"]
    assert any(f"{said}collection drum_machines." in note for note in notes)
    assert not any("for each seed" in note for note in notes)
    for cell in study.cells:
        if cell.levels["seed"] == study.cells[3].levels["seed"]:
            finished.write_result(cell, (finished.result(cell) or {}) | other)
    notes = summarize(study, finished)["notes"]
    assert not any(said in note for note in notes)
    assert any("is another for each seed: collection drum_machines." in note for note in notes)


# --- running


@pytest.fixture(scope="module")
def whole(
    toy_pack: Path, labeled: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A study that was run in one go: its file and folder."""
    folder = tmp_path_factory.mktemp("study")
    file = folder / "study.toml"
    file.write_text(STUDY.format(pack=toy_pack.as_posix(), data=labeled.as_posix()))
    assert main(["study", str(file), str(folder / "out")]) == 0
    return file, folder / "out"


def test_every_cell_has_a_result_and_a_model(whole: tuple[Path, Path]) -> None:
    file, out = whole
    study, folder = read_study(file), StudyFolder(out)
    for cell in study.cells:
        found = folder.result(cell)
        assert found is not None and found["levels"] == cell.levels
        assert found["steps"] == 6 and found["cpu_seconds"] > 0 and found["threads"] == 1
        assert set(found["scores"]) == {"drum class"}
        heard, measured = {"source toy"}, {"collection drum_machines", "labels of drum_machines"}
        assert music_of(found).keys() == heard | measured
        assert 0 <= found["scores"]["drum class"]["score"] <= 1
        assert (
            MusicEncoder.from_pretrained(folder.model(cell)).config.encoder == cell.config.encoder
        )
    assert not any((out / "running").iterdir()) and not any((out / "locks").iterdir())
    assert len({w for w in compared(out)["weights"].values()}) == 8  # every cell is another run


def test_finished_cells_are_not_run_again(
    whole: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = whole
    monkeypatch.setattr(run_module, "train_cell", None)
    assert main(["study", str(file), str(out)]) == 0
    assert main(["study", str(file), str(out), "--report"]) == 0
    assert "index.html" in capsys.readouterr().out


def test_another_evaluation_keeps_the_training(
    whole: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = whole
    other = tmp_path / "study.toml"
    other.write_text(file.read_text())
    change(other, ("seeds = 1", "seeds = 2"))
    study, folder = read_study(other), StudyFolder(out)
    assert folder.state(study.cells[0]) == "begun"
    monkeypatch.setattr(run_module, "train_cell", None)
    before = folder.result_file(study.cells[0]).read_text()
    only = Study(study.factors, study.cells[:1], study.report)
    assert run_study(only, folder, lambda: False).finished == [study.cells[0]]
    folder.result_file(study.cells[0]).write_text(before)


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_killed_and_resumed_by_several_processes_is_the_same_study(
    whole: tuple[Path, Path], tmp_path: Path
) -> None:
    file, before = whole
    out = tmp_path / "out"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    stops = ((signal.SIGINT, 130, 0), (signal.SIGKILL, -signal.SIGKILL, 2))
    for sent, code, finished in stops:  # once a run has saved its second step, wherever it is then
        with subprocess.Popen(
            study_command(file, out), env=environment, stderr=subprocess.PIPE, text=True
        ) as process:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                cells = len(list((out / "cells").glob("*.json")))
                if cells >= finished and list(out.glob("running/*/state.pt")):
                    break
                time.sleep(0.002)
            process.send_signal(sent)
            _, said = process.communicate(timeout=120)
        assert process.returncode == code, said
        assert ("the same command goes on" in said) == (sent == signal.SIGINT)
        assert bool(list((out / "locks").glob("*.lock"))) == (sent == signal.SIGKILL)
    assert 2 <= len(list((out / "cells").iterdir())) < 8
    done = subprocess.run(
        study_command(file, out, "--jobs", "2"), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert compared(out) == compared(before)
    assert not list((out / "locks").iterdir())


def test_stopped_it_saves_and_goes_on(whole: tuple[Path, Path], file: Path, tmp_path: Path) -> None:
    study, folder = read_study(file), StudyFolder(tmp_path / "out")
    first = Study(study.factors, study.cells[:1], study.report)
    with pytest.raises(KeyboardInterrupt):
        run_study(first, folder, lambda: True)
    assert (folder.running(study.cells[0]) / "state.pt").exists()
    assert folder.state(study.cells[0]) == "begun" and not folder.lock(study.cells[0]).exists()
    run_study(first, folder, lambda: False)
    name = f"{study.cells[0].id}.json"
    expected = compared(whole[1])["scores"]
    assert compared(folder.root)["scores"][name] == expected[name]


def test_a_cell_that_fails_is_recorded_and_the_rest_goes_on(
    study: Study,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = run_module.train_cell

    def failing(cell: Any, *args: Any) -> None:
        if cell.levels["weighting.name"] == "rlw":
            raise RuntimeError("out of luck")
        real(cell, *args)

    monkeypatch.setattr(run_module, "train_cell", failing)
    change(file, ("seed = [0, 1]", "seed = [0]"))
    out = tmp_path / "out"
    assert main(["study", str(file), str(out)]) == 1
    assert "weighting.name=rlw, seed=0: RuntimeError: out of luck" in capsys.readouterr().err
    report = json.loads((out / "report.json").read_text())
    assert report["cells"] == {"planned": 4, "finished": 2, "failed": 2}
    assert "out of luck" in (out / "report.md").read_text()
    assert "failing" in json.loads(next((out / "failed").iterdir()).read_text())["traceback"]
    monkeypatch.setattr(run_module, "train_cell", real)
    assert main(["study", str(file), str(out)]) == 1  # it does not try again by itself
    assert main(["study", str(file), str(out), "--retry"]) == 0
    assert len(compared(out)["scores"]) == 4


# --- the time it takes


def test_the_time_comes_from_finished_cells_or_from_a_timing(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, asked = StudyFolder(tmp_path), []

    def timing(config: Any) -> float:
        asked.append(config)
        return 2.0

    plans = make_plan(study, folder, timing)
    assert len(asked) == 1 and {plan.source for plan in plans} == {TIMED}
    assert [plan.train_seconds for plan in plans] == [12.0] * 8
    assert plans[0].evaluate_seconds is None
    fake(study, folder, slice(0, 1))
    plans = make_plan(study, folder, timing)
    assert (plans[0].state, plans[0].train_seconds) == ("finished", 0.0)
    assert (plans[4].source, plans[4].train_seconds) == (MEASURED, 90.0)
    assert plans[1].source in (LIKE, TIMED) and plans[1].evaluate_seconds == 30.0
    del asked[:]
    folder = StudyFolder(tmp_path / "trained")
    for cell in study.cells:
        folder.model(cell).mkdir(parents=True)
    plans = make_plan(study, folder, timing)  # what is trained takes no time, and is not timed
    assert not asked and {(plan.train_seconds, plan.source) for plan in plans} == {(0.0, "")}


def test_a_dry_run_lists_the_cells_and_runs_none(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(file), str(tmp_path / "out"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("to do") == 9 and "8 cells by: a timing of a few steps" in said
    assert not (tmp_path / "out").exists()


def test_tasks_that_cannot_be_measured_are_named_before_anything_is_trained(
    file: Path, labeled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lonely = shutil.copytree(labeled, tmp_path / "lonely")
    items = lonely / "items.csv"
    items.write_text(re.sub(r"m\d$", "m0", items.read_text(), flags=re.MULTILINE))
    change(file, (f"drum_machines={labeled.as_posix()}", f"drum_machines={lonely.as_posix()}"))
    assert main(["study", str(file), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"{lonely}: drum class: drum_machines, grouped by machine: all 16 items are in" in said
    assert not (tmp_path / "out").exists()


def test_steps_are_timed_by_what_the_cores_did_and_not_by_what_they_waited(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = {"process_time": 0.0, "perf_counter": 0.0}
    for name in clocks:
        monkeypatch.setattr(cell_module.time, name, lambda name=name: clocks[name])

    def slow(config: object, folder: Path, show: Callable[[object, object], None]) -> None:
        state = SimpleNamespace(encoder=torch.nn.Linear(1, 1))
        for _ in range(3):
            clocks["process_time"] += 2.0 * torch.get_num_threads()
            clocks["perf_counter"] += 50.0  # beside others
            show(state, None)

    monkeypatch.setattr(cell_module, "pretrain", slow)
    assert cell_module.time_steps(study.cells[0].config) == 2.0


# --- the report


def test_the_report_finds_what_was_put_in(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    fake(study, folder)
    found = summarize(study, folder)
    workers = found["effects"]["mean"]["factors"]["workers"]
    assert workers["p"] < 0.05
    assert workers["differences"][0]["low"] < -5 < workers["differences"][0]["high"] < 0
    assert found["effects"]["mean"]["factors"]["weighting.name"]["p"] > 0.01
    assert found["lead"] == "mean" and [task["name"] for task in found["tasks"]] == [
        "drum class",
        "key",
    ]
    assert any("2 seeds" in note for note in found["notes"])


def test_cells_of_another_study_are_called_as_in_this_one(
    study: Study, file: Path, tmp_path: Path
) -> None:
    folder = StudyFolder(tmp_path)
    fake(study, folder)
    change(
        file,
        ('name = "musical"', 'name = "of music"'),
        (
            'weighting.name = ["equal", "rlw"]',
            'balance = [{ name = "none", set = { "weighting.name" = "equal" } }]',
        ),
    )
    found = summarize(read_study(file), folder)
    assert found["factors"] == {"workers": ["spectral", "of music"], "balance": ["none"]}
    assert found["cells"] == {"planned": 4, "finished": 4, "failed": 0}
    assert found["effects"]["mean"]["factors"]["workers"]["differences"][0]["value"] < -4


def test_the_page_stands_alone(
    study: Study, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = StudyFolder(tmp_path / "out")
    fake(study, folder, slice(0, 7))
    assert main(["study", str(file), str(folder.root), "--report"]) == 0
    page = (folder.root / "index.html").read_text()
    assert (
        "Toy &lt;study&gt;" in page
        and "<script" not in page
        and "http" not in page.replace("http://www.w3.org", "")
    )
    assert page.count("<svg") >= 5 and "7 of 8 cells are finished" in page
    tables = (folder.root / "report.md").read_text()
    assert "| musical |" in tables and "weighting.name" in tables


def test_without_a_finished_cell_there_is_no_report(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", str(file), str(tmp_path / "out"), "--report"]) == 2
    assert "nothing to report.\n" in capsys.readouterr().err
    fake(read_study(file), StudyFolder(tmp_path / "out"))
    change(file, ("dim = 16", "dim = 24"))
    assert main(["study", str(file), str(tmp_path / "out"), "--report"]) == 2
    assert "It has 8 results of other settings" in capsys.readouterr().err


# --- the command


def test_out_must_be_a_folder(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(file), str(file)]) == 2
    assert "study.toml is a file; OUT is the folder of the study" in capsys.readouterr().err


def test_a_report_tries_nothing_again(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["study", str(file), "out", "--report", "--retry"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_who_joins_while_all_cells_are_with_others_leaves_in_peace(
    file: Path, study: Study, tmp_path: Path
) -> None:
    folder = StudyFolder(tmp_path / "out")
    held = json.dumps({"token": "x", "host": "elsewhere", "pid": 1})
    folder.lock(study.cells[0]).parent.mkdir(parents=True)
    for cell in study.cells:
        folder.lock(cell).write_text(held)
    assert main(["study", str(file), str(folder.root)]) == 0
    assert not (folder.root / "report.json").exists()


def test_where_all_cells_fail_the_code_is_that_of_failures(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_module, "train_cell", None)
    out = str(tmp_path / "out")
    assert main(["study", str(file), out]) == 1
    said = capsys.readouterr().err
    assert said.count("failed: workers=") == 8 and "no cell is finished" in said
    assert main(["study", str(file), out, "--report"]) == 1
