"""The picture of a study for the research notes: what it shows, and what it refuses."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from study_settings import HEAD

from musicssl import MusicSSLError
from musicssl_training.study.config import Study, read_study
from musicssl_training.study.folder import StudyFolder

FIGURE = Path(__file__).parents[2] / "experiments" / "study_figure.py"
pytestmark = pytest.mark.skipif(
    not FIGURE.is_file(), reason="the experiments are not in this distribution"
)
SCREEN = """
[screen]
notes = { workers = ["notes"] }
chroma = { workers = ["chroma"] }
onsets = { workers = ["onsets"] }
lps = { workers = ["lps"] }
"""
GRID = """
[grid]
workers = [["notes"], ["chroma"]]
seed = [0, 1]
"""


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("study_figure", FIGURE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(HEAD + SCREEN)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "out")


def fake(study: Study, folder: StudyFolder, tasks: list[str], cells: slice = slice(None)) -> None:
    """Write results as if cells had been run: every worker adds a point, more or less."""
    rng = np.random.default_rng(0)
    for cell in study.cells[cells]:
        scores = {
            task: {"metric": "accuracy", "chance": 0.1, "n_items": 10}
            | {"score": len(cell.config.workers) / 100 + 0.001 * rng.normal()}
            for task in tasks
        }
        facts = {"hours_heard": 1.0, "steps": 3, "parameters": 5, "cpu_seconds": 60.0}
        facts |= {"wall_seconds": 60.0, "evaluate_wall_seconds": 9.0}
        folder.write_result(cell, {"scores": scores} | facts)


def test_parts_are_shown_with_what_they_add(
    picture: ModuleType, file: Path, folder: StudyFolder, tmp_path: Path
) -> None:
    study = read_study(file)
    fake(study, folder, list(picture.TASKS))
    rows, sure = picture.read_parts(study, folder)
    assert list(rows) == ["notes", "chroma", "onsets", "lps"]
    np.testing.assert_allclose([x[""] for x in rows.values()], 1.0, atol=0.4)
    assert all(map(all, sure.values()))
    out = tmp_path / "parts.png"
    assert picture.main([str(file), str(folder.root), "--parts", "-o", str(out)]) == 0
    assert out.stat().st_size


def test_what_cannot_be_shown_is_said(
    picture: ModuleType, file: Path, folder: StudyFolder, tmp_path: Path
) -> None:
    study, tasks = read_study(file), list(picture.TASKS)
    with pytest.raises(MusicSSLError, match="has no finished cells of this study"):
        picture.read_parts(study, folder)
    fake(study, folder, tasks, slice(1))
    with pytest.raises(MusicSSLError, match="too few finished cells to tell what notes adds"):
        picture.read_parts(study, folder)
    for others, strange in (
        ([*tasks, "extra"], "extra"),
        (tasks[1:], tasks[0]),
        (tasks[:1], "key"),
    ):
        fake(study, folder, others)
        with pytest.raises(MusicSSLError, match=f"13 tasks; lacking, or more: .*{strange}"):
            picture.read_parts(study, folder)
    file.write_text(HEAD + GRID)
    with pytest.raises(MusicSSLError, match="screens no parts"):
        picture.read_parts(read_study(file), folder)


def test_rows_without_a_common_seed_are_not_compared(
    picture: ModuleType, file: Path, folder: StudyFolder
) -> None:
    file.write_text(HEAD + GRID)
    study = read_study(file)
    fake(study, folder, list(picture.TASKS), slice(1, 3))  # chroma of seed 0, notes of seed 1
    rows = picture.read_cells(study, folder, ["workers"], {})
    assert {name: list(seeds) for name, seeds in rows.items()} == {"chroma": ["0"], "notes": ["1"]}
    with pytest.raises(MusicSSLError, match="no other finished cell has a seed of 'notes'"):
        picture.compare(rows, "notes")


def test_pictures_that_cannot_be_written_are_refused(
    picture: ModuleType,
    file: Path,
    folder: StudyFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake(read_study(file), folder, list(picture.TASKS))
    command = [str(file), str(folder.root), "--parts", "-o"]
    with pytest.raises(SystemExit):
        picture.main([*command, str(tmp_path / "parts.xyz")])
    assert "'xyz' is no kind of picture" in capsys.readouterr().err
    with pytest.raises(MusicSSLError, match=r"cannot write to .*parts\.png"):
        picture.main([*command, str(tmp_path / "missing" / "parts.png")])
