"""Screening designs: many parts, each in half of a few cells."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from study_settings import HEAD

from musicssl.errors import ConfigError
from musicssl_training.study.config import read_study
from musicssl_training.study.main_effects import Design
from musicssl_training.study.report.page import render_page
from musicssl_training.study.report.tables import tables
from musicssl_training.study.report.words import describe
from musicssl_training.study.screening import OFF, ON, screening_runs
from musicssl_training.study.summary import summarize

STUDY = f"""{HEAD}
[settings.weighting]
name = "static"

[screen]
notes = {{ workers = ["notes"] }}

[screen."chroma, twice"]
workers = ["chroma"]
"weighting.workers" = ["chroma"]
"weighting.weights" = [2.0]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def test_a_cell_is_named_by_the_parts_that_it_has(file: Path) -> None:
    assert {cell.name for cell in read_study(file).cells} == {
        "seed=0, with notes + chroma, twice",
        "seed=0, with notes",
        "seed=0, with chroma, twice",
        "seed=0",
    }


def rows_of(runs: NDArray[np.bool_]) -> list[dict[str, str]]:
    return [
        {f"p{i}": ON if on else OFF for i, on in enumerate(run)} | {"seed": "0"} for run in runs
    ]


def design_of(runs: NDArray[np.bool_]) -> Design:
    return Design({f"p{i}": [ON, OFF] for i in range(runs.shape[1])}, rows_of(runs))


@pytest.mark.parametrize("count", range(1, 44))
def test_each_part_is_in_half_of_the_cells_and_so_is_each_pair_in_a_quarter(count: int) -> None:
    signs = np.where(screening_runs(count), 1, -1)
    n = len(signs)
    np.testing.assert_array_equal(signs.T @ signs, n * np.eye(count))
    np.testing.assert_array_equal(signs.sum(0), 0)
    # of which three is any product: what two parts do together looks like no third part
    for i, j in itertools.combinations(range(count), 2):
        others = np.delete(signs, (i, j), axis=1)
        np.testing.assert_array_equal((signs[:, i] * signs[:, j]) @ others, 0)
    assert len({tuple(row) for row in signs}) == n


@pytest.mark.parametrize(
    ("count", "cells"), [(1, 2), (2, 4), (3, 8), (5, 16), (7, 16), (8, 24), (11, 24), (19, 40)]
)
def test_few_cells_are_enough(count: int, cells: int) -> None:
    runs = screening_runs(count)
    assert len(runs) == cells
    assert count < 5 or 0 < runs.sum(1).min() <= runs.sum(1).max() < count


def test_effects_are_found_whatever_two_parts_do_together() -> None:
    runs = screening_runs(11)
    adds = np.arange(11) - 5.0
    scores = 50 + runs @ adds + 7 * (runs[:, 0] & runs[:, 3]) - 4 * (runs[:, 1] ^ runs[:, 8])
    design = design_of(runs)
    found = [fit[ON, OFF].value for fit in design.fit(scores).differences.values()]
    # a pair that does something together adds its half to each of the two
    expected = adds + np.isin(np.arange(11), (0, 3)) * 3.5
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert not design.pairs
    assert set(design.left_out.values()) == {"it cannot be told from other terms"}


def test_three_parts_are_a_whole_design_with_interactions() -> None:
    runs = np.vstack([screening_runs(3)] * 2)
    rows = rows_of(runs)
    for row in rows[8:]:
        row["seed"] = "1"
    design = Design({f"p{i}": [ON, OFF] for i in range(3)}, rows)
    assert design.pairs == [("p0", "p1"), ("p0", "p2"), ("p1", "p2")]


def test_of_parts_that_do_nothing_one_in_twenty_seems_to_do_something() -> None:
    design, rng = design_of(screening_runs(11)), np.random.default_rng(0)
    wrong = [
        one[ON, OFF].excludes_zero
        for _ in range(100)
        for one in design.fit(rng.normal(size=24)).differences.values()
    ]
    assert 0.03 < np.mean(wrong) < 0.07


def test_cells_have_what_the_parts_add(file: Path) -> None:
    study = read_study(file)
    assert study.parts == ("notes", "chroma, twice")
    found = {describe(cell.levels, study.parts): cell.config for cell in study.cells}
    assert {name: config.workers for name, config in found.items()} == {
        "0, notes": ("log_mel", "notes"),
        "0, chroma, twice": ("log_mel", "chroma"),
        "0, notes + chroma, twice": ("log_mel", "notes", "chroma"),
        "0, none of the parts": ("log_mel",),
    }
    weights = [getattr(config.weighting, "weights", None) for config in found.values()]
    assert sorted(weights) == [(), (), (2.0,), (2.0,)]


def test_a_grid_is_screened_at_every_combination(file: Path) -> None:
    file.write_text(f"{STUDY}\n[grid]\n'encoder.dim' = [128, 256]\nseed = [0, 1]\n")
    study = read_study(file)
    assert len(study.cells) == 16
    assert [cell.levels["seed"] for cell in study.cells] == ["0"] * 8 + ["1"] * 8


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[screen]\nnotes = ['notes']", "study.screen.notes must say what it adds"),
        ("[screen]\nnotes = {}", "study.screen.notes must say what it adds"),
        ("[screen]\nnotes = { workers = 'notes' }", "workers must be a list"),
        ("[screen]\nnotes.encoder.dim = [1]", 'dotted key stands in quotes: "a.b"'),
        ("[screen]\nnotes = { seed = [1] }", "'seed' is no list that could be added to"),
        ("[screen]\nnotes = { 'steps.x' = [1] }", "'steps' is not a group of settings"),
        ("[screen]\nnotes = { workers = ['nots'] }", "nots"),
        (
            "[grid]\nnotes = [{name = 'x', set = {}}]\n[screen]\nnotes = { workers = ['notes'] }",
            "both",
        ),
        ("[screen]\n' ' = { workers = ['notes'] }", "a part needs a name"),
        ("[screen]\nx = { 'evaluate.tasks' = ['key'] }", "evaluate.tasks is no setting of a run"),
        ("[screen]\nx = { hidden = [8] }", "'hidden' is no list that could be added to, but 256"),
        ("[screen]\nx = { 'encoder.dilations' = [16] }", "the settings lack 'encoder.dilations'"),
        ("[screen]\nx = { workers = ['log_mel'] }", "are the same run"),
        ("", "lacks [grid], or [screen]"),
        ("screen = 3", "must be a table"),
    ],
)
def test_what_cannot_be_screened_is_refused(file: Path, more: str, message: str) -> None:
    head = STUDY[: STUDY.index("[screen]")].replace("[settings]", "[settings]\nseed = 1\nsteps = 5")
    file.write_text(more + head if more.startswith("screen") else head + more)
    with pytest.raises(ConfigError) as error:
        read_study(file)
    assert message in str(error.value)


def test_what_is_added_to_a_default_is_refused(file: Path) -> None:
    # or cells without any part would have all musical workers, and only those
    screen = STUDY.replace('workers = ["log_mel"]\n', "", 1)
    file.write_text(screen)
    with pytest.raises(ConfigError, match=r"lack 'workers'.*would be \['music'\].*workers = \[\]"):
        read_study(file)
    file.write_text(screen.replace("[settings]", "[settings]\nworkers = []", 1))
    with pytest.raises(ConfigError, match="leave none to learn from"):
        read_study(file)


@pytest.mark.parametrize("workers", ['["log_mel", "chroma"]', '["music"]'])
def test_a_part_that_is_there_anyway_is_refused(file: Path, workers: str) -> None:
    names = (
        "chroma",
        "lps",
        "mfcc",
        "waveform",
        "prosody",
    )  # five: no two cells differ in one alone
    parts = "".join(f'{name} = {{ workers = ["{name}"] }}\n' for name in names)
    head = STUDY[: STUDY.index("[screen]")].replace('["log_mel"]', workers)
    file.write_text(f"{head}[screen]\n{parts}")
    with pytest.raises(ConfigError, match=r"study\.screen\.chroma changes no run"):
        read_study(file)


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ('"mfcc"', '"mfcc"', "first changes no run that has last"),
        ('"mfcc"', '"mfcc", "notes"', "first changes no run that has last"),
        ('"mfcc", "notes"', '"mfcc"', "last changes no run that has first"),
        ('"mfcc"', '"mfcc:context=1"', "first and last add the same"),
    ],
)
def test_a_part_that_is_part_of_another_is_refused(
    file: Path, first: str, last: str, message: str
) -> None:
    names = ("chroma", "lps", "waveform", "prosody", "onsets", "tempogram", "salience")
    parts = "".join(f'{name} = {{ workers = ["{name}"] }}\n' for name in names)
    head = STUDY[: STUDY.index("[screen]")]
    ends = f"first = {{ workers = [{first}] }}\n", f"last = {{ workers = [{last}] }}\n"
    file.write_text(f"{head}[screen]\n{parts.join(ends)}")
    with pytest.raises(ConfigError, match=message):
        read_study(file)


@pytest.mark.parametrize(
    "levels", ['["mfcc"], ["mfcc:context=1"]', '["mfcc", "notes"], ["notes", "mfcc"]']
)
def test_workers_spelled_or_ordered_otherwise_are_one_run(file: Path, levels: str) -> None:
    head = STUDY[: STUDY.index("[screen]")]
    file.write_text(f"{head}[grid]\nworkers = [{levels}]\n")
    with pytest.raises(ConfigError, match="are the same run"):
        read_study(file)


def test_one_run_spelled_twice_is_refused(file: Path) -> None:
    head = STUDY[: STUDY.index("[screen]")]
    file.write_text(f'{head}[grid]\nworkers = [["music"], ["music", "notes"]]\n')
    with pytest.raises(ConfigError, match=r"same run: workers=music, .*; workers=music \+ notes"):
        read_study(file)


def test_scores_that_are_all_equal_show_no_effects() -> None:
    runs = screening_runs(19)
    rows = [row | {"seed": seed} for seed in "01" for row in rows_of(runs)]
    design = Design({f"p{i}": [ON, OFF] for i in range(19)}, rows)
    for score in (10.1, 53.7, 99.9):
        fit = design.fit(np.full(80, score))
        found = [one[ON, OFF] for one in fit.differences.values()]
        assert {(one.value, one.low, one.high) for one in found} == {(0.0, 0.0, 0.0)}
        assert set(fit.p.values()) == {None}


class Folder:
    """Every cell's score is its number of workers; of some cells there is an error instead."""

    def __init__(self, fails: Callable[[dict[str, str]], bool] = lambda levels: False) -> None:
        self.fails = fails

    def result(self, cell):
        if self.fails(cell.levels):
            return None
        score = {"score": len(cell.config.workers) / 100, "metric": "accuracy"}
        scores = {"drum class": score | {"chance": 0.1, "n_items": 10}}
        return {"levels": cell.levels, "scores": scores, "hours_heard": 1.0, "steps": 3} | {
            "cpu_seconds": 60.0, "wall_seconds": 60.0, "parameters": 5,
        }  # fmt: skip

    def failure(self, cell):
        return {"error": "ValueError: first\n| second"} if self.fails(cell.levels) else None


def test_the_report_says_what_each_part_adds(file: Path) -> None:
    study = read_study(file)

    report = summarize(study, Folder())  # type: ignore[arg-type]
    assert {k: v["value"] for k, v in report["effects"]["drum class"]["added"].items()} == (
        pytest.approx({"notes": 1.0, "chroma, twice": 1.0})
    )
    text, page = tables(report), render_page(report)
    assert "### What each part adds" in text
    assert "| notes | **+1.0 [+1.0, +1.0]** |" in text
    assert "### notes" not in text
    assert "What each part adds" in page
    assert "notes + chroma, twice" in page
    assert text.count("Not estimated") == 1


def test_parts_that_all_finished_cells_agree_on_are_named_and_cannot_be_told(file: Path) -> None:
    study = read_study(file)
    report = summarize(study, Folder(lambda levels: levels["notes"] == OFF))  # type: ignore[arg-type]
    text, page = tables(report), render_page(report)
    assert "| notes | – |" in text and "notes: cannot be told" in page
    assert "<td>notes + chroma, twice" in page and "on, chroma" not in page
    assert "- 0, chroma, twice: ValueError: first | second\n" in text


def test_names_that_mean_something_in_markdown_stay_in_their_place(file: Path) -> None:
    file.write_text(
        STUDY.replace("chroma, twice", "a | b\\nc")
        + "\n[grid]\n'x | y' = [{ name = 'd | e', set = {} }]"
    )
    report = summarize(read_study(file), Folder())  # type: ignore[arg-type]
    lines = [row for row in tables(report).splitlines() if row.startswith("|")]
    assert any(row.startswith(r"| a \| b c | **+1.0") for row in lines)
    header = next(row for row in lines if row.startswith(r"| x \| y |"))
    assert {row.replace(r"\|", "").count("|") for row in lines[lines.index(header) :]} == {
        header.replace(r"\|", "").count("|")
    }


def test_the_page_explains_only_what_it_shows(file: Path) -> None:
    explained = ("p: of the test", "parallel lines")
    page = render_page(summarize(read_study(file), Folder()))  # type: ignore[arg-type]
    assert not any(words in page for words in explained)
    grid = "[grid]\n'encoder.dim' = [128, 256]\nseed = [0, 1]\n"
    file.write_text(f"{STUDY}\n{grid}")
    page = render_page(summarize(read_study(file), Folder()))  # type: ignore[arg-type]
    assert all(words in page for words in explained)


def test_names_are_no_html(file: Path) -> None:
    evil = '"><script>alert(1)</script>'
    levels = "[{ name = 'a', set = { hidden = 8 } }, { name = 'b', set = { hidden = 16 } }]"
    report = f"[report]\ntitle = '{evil}'\nabout = 'a < b <img src=x>'\n"
    grid = f"[grid]\n'x{evil}' = {levels}\n'encoder.dim' = [128, 256]\nseed = [0, 1]\n"
    file.write_text(f"{report}{STUDY}\n{grid}")
    found = summarize(read_study(file), Folder())  # type: ignore[arg-type]
    assert any(f"x{evil}" in one["factors"] for one in found["interactions"])
    page, text = render_page(found), tables(found)
    assert "<script" not in page and "<img" not in page
    assert "<script" not in text and "a < b &lt;img src=x>" in text
