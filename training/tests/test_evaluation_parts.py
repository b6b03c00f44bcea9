"""Development and test parts of collections: one split for all tasks; quick scores on a part."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from musicssl.errors import ConfigError
from musicssl_training.evaluation.datasets import COLLECTIONS, Collection
from musicssl_training.evaluation.datasets.collection import Clip
from musicssl_training.evaluation.datasets.folders import EMOTIONS
from musicssl_training.evaluation.embedders.cache import CollectionEmbeddings, embed_collection
from musicssl_training.evaluation.embedders.spec import make_embedder
from musicssl_training.evaluation.instances import partition, prepare
from musicssl_training.evaluation.protocol.frame_labels import common_times, frames_at
from musicssl_training.evaluation.protocol.parts import connect, select_part, split_collection
from musicssl_training.evaluation.protocol.regimes import FULL
from musicssl_training.evaluation.protocol.scoring import measure
from musicssl_training.evaluation.protocol.splits import PARTS
from musicssl_training.evaluation.quick_score import score_encoder
from musicssl_training.evaluation.suite import EvaluateConfig, evaluate, read_collection
from musicssl_training.evaluation.tasks import TASKS
from musicssl_training.midi.score import Score

CLIPS = 160
PUBLISHED = ("gtzan", "magnatagatune", "nsynth", "jamendo", "fma_small")
PATTERNS = {"felt:*": "felt:power", "family:*": "family:drums", "tag:*": "tag:loud"}


def make_collection(name: str) -> Collection:
    """Every column that a task on the collection wants, each label unknown for some clips."""
    rng = np.random.default_rng(list(name.encode()))
    tasks = [task for task in TASKS.values() if task.collection == name]
    columns: dict[str, Any] = {}
    for task in tasks:
        for column in [] if task.level == "frame" else task.labels:
            numbers = column in (*PATTERNS, *EMOTIONS, "valence", "arousal")
            known = rng.integers(1, 8, CLIPS)
            texts = np.where(rng.random(CLIPS) < 0.2, "", known.astype(str))
            values = {"tempo": 40.0 * (known - 1), "key": texts}.get(column, texts)
            columns[PATTERNS.get(column, column)] = known * 1.0 if numbers else values
    for column in {column for task in tasks for column in task.groups}:
        columns[column] = np.char.add("g", rng.integers(1, 25, CLIPS).astype(str))
    if name == "orchestra_notes":
        columns["instrument"] = np.char.add("i", (np.arange(CLIPS) % 9).astype(str))
    if name in PUBLISHED:
        groups = columns.get("artist", columns.get("instrument", np.arange(CLIPS).astype(str)))
        sides = np.array(["train", "train", "valid", "test", ""])
        columns["part"] = sides[[sum(g.encode()) % 5 for g in groups.tolist()]]
    score = Score(np.array([[0, 1, 60, 0, 90]], np.float32), np.array([[0.0, 1]], np.float32))
    clips = tuple(Clip(f"{i}.wav", Path()) for i in range(CLIPS))
    return Collection(name, clips, columns, (score,) * CLIPS)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_no_recording_or_group_is_in_development_for_one_task_and_in_test_for_another(
    name: str,
) -> None:
    data = make_collection(name)
    tasks = {key: task for key, task in TASKS.items() if task.collection == name}
    clips = CollectionEmbeddings(np.ones((CLIPS, 3), np.float32), 0.0)
    times = np.tile(np.arange(4) * 0.04, CLIPS)
    lengths = np.full(CLIPS, 4)
    frames = CollectionEmbeddings(np.ones((4 * CLIPS, 3), np.float32), 0.0, lengths, times)
    embedded = {"clip": {"x": clips}, "frame": {"x": frames}}
    found: dict[tuple[str, str], set[int]] = {}
    for (key, task), part in itertools.product(tasks.items(), PARTS[1:]):
        made = prepare(key, task, data, embedded[task.level], part=part, seeds=range(1)).instance
        used = range(len(made.ids)) if part == "development" else made.tested.tolist()
        found[key, part] = {int(made.ids[i].partition(".")[0]) for i in used}
        assert found[key, part]
    halves = partition(data)
    groupings = [data.groups(columns.split("/")) for columns in halves.separated]
    for one, two in itertools.product(tasks, repeat=2):
        development, test = found[one, "development"], found[two, "test"]
        assert not development & test
        for groups in groupings:
            assert not {groups[i] for i in development} & {groups[i] for i in test}
    assert halves.shared == (("instrument",) if name == "orchestra_notes" else ())


def make_notes(root: Path) -> Path:
    """Notes of four instruments, named so that each note is played by all."""
    rng = np.random.default_rng(0)
    lines = ["path,instrument,pitch_class,octave"]
    (root / "orchestra_notes").mkdir(parents=True)
    for i, (player, pitch, octave) in enumerate(itertools.product("abcd", "CDEFGA", "345")):
        sf.write(root / "orchestra_notes" / f"{i}.wav", rng.uniform(-0.5, 0.5, 3000), 22_050)
        lines.append(f"{i}.wav,{player},{pitch},{octave}")
    (root / "orchestra_notes" / "items.csv").write_text("\n".join(lines) + "\n")
    return root


def test_reports_of_two_parts_map_different_recordings_whatever_the_task(tmp_path: Path) -> None:
    roots = {"orchestra_notes": make_notes(tmp_path) / "orchestra_notes"}
    config = EvaluateConfig(
        tasks=("instrument", "pitch class", "octave"), probes=("knn",), regimes=("100%",), seeds=1
    )
    mapped = {}
    for part in PARTS:
        chosen = replace(config, part=part)
        report = evaluate([make_embedder("mfcc")], roots, tmp_path / "cache", chosen)
        assert not report.missing
        mapped[part] = [set(each.items) for each in report.maps]
    assert len(mapped["test"]) == 3
    for development, test in itertools.product(mapped["development"], mapped["test"]):
        assert not development & test
        assert development | test == mapped["all"][0]


def test_a_part_is_scored_alike_without_the_embeddings_of_the_other(tmp_path: Path) -> None:
    roots = {"orchestra_notes": make_notes(tmp_path) / "orchestra_notes"}
    config = EvaluateConfig(
        tasks=("instrument", "octave"), probes=("linear",), regimes=("100%",), seeds=1
    )
    embedder = make_embedder("mfcc")
    heard: dict[str, set[str]] = {}
    for part in ("development", "test"):
        cache = tmp_path / part
        report = evaluate([embedder], roots, cache, replace(config, part=part))
        assert not report.missing
        files = list(cache.rglob("*.npz"))
        rows = sum(len(np.load(file)["values"]) for file in files)
        heard[part] = set(report.maps[0].items)
        assert rows == len(heard[part])
        data = read_collection("orchestra_notes", roots)
        all_of_it = embed_collection(data, [embedder], tmp_path / "all")
        whole = {k: v for k, v in all_of_it.items() if isinstance(v, CollectionEmbeddings)}
        for name in config.tasks:
            seeds = range(1)
            found = prepare(name, TASKS[name], data, whole, part=part, seeds=seeds)
            (accuracy, _), *_ = measure(
                found.values["mfcc"], found.instance, "mfcc", "linear", FULL
            )
            assert [accuracy.score] == [
                r.score for r in report.results if (r.task, r.metric) == (name, "accuracy")
            ]
    assert sum(map(len, heard.values())) == 72


def test_embeddings_of_some_clips_lie_where_they_lay_among_all() -> None:
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    frames = CollectionEmbeddings(values, 1.0, np.array([2, 4]), np.array([0, 1, 0, 1, 2, 3.0]))
    spread = frames.spread(np.array([1, 3]), 5)
    assert spread.lengths is not None
    assert spread.lengths.tolist() == [1, 2, 1, 4, 1]
    times = common_times([spread])
    known = np.flatnonzero(~np.isnan(frames_at(spread, times)[:, 0]))
    np.testing.assert_array_equal(
        frames_at(spread, times)[known], frames_at(frames, common_times([frames]))
    )
    clips = CollectionEmbeddings(values[:2], 1.0).spread(np.array([0, 2]), 3)
    np.testing.assert_array_equal(clips.values, [[0, 1], [np.nan] * 2, [2, 3]])


def test_items_with_a_group_in_common_are_connected() -> None:
    artists = np.array(["a", "a", "b", "c", "d"])
    works = np.array(["1", "2", "2", "3", "4"])
    first, second, third, *others = connect([artists, works]).tolist()
    assert first == second == third
    assert len({first, *others}) == 3
    ids = [str(i) for i in range(5)]
    halves = split_collection(ids, {"artist": artists, "work": works})
    assert (halves.separated, halves.shared) == (("artist", "work"), ())
    assert len(set(halves.is_test[:3].tolist())) == 1
    again = split_collection(ids[::-1], {"artist": artists[::-1], "work": works[::-1]})
    assert again.is_test.tolist() == halves.is_test[::-1].tolist()
    assert again.hash == halves.hash


def test_a_grouping_that_connects_everything_is_shared_and_the_finer_one_separated() -> None:
    notes, players = np.repeat(np.arange(20), 4).astype(str), np.tile(np.arange(4), 20).astype(str)
    halves = split_collection([str(i) for i in range(80)], {"player": players, "note": notes})
    assert (halves.separated, halves.shared) == (("note",), ("player",))
    assert not set(notes[halves.is_test]) & set(notes[~halves.is_test])
    assert halves.is_test.mean() == 0.5
    alone = split_collection([str(i) for i in range(80)], {"all": np.zeros(80)})
    assert alone.shared == ("all",)
    assert alone.is_test.mean() == 0.5


def test_parts_of_a_published_split() -> None:
    halves = split_collection(list("abcdef"), {})
    sides = np.array(["train", "test", "valid", "", "test", "valid"])
    index, found = select_part("development", halves, sides)
    assert found is not None
    assert (index.tolist(), found.tolist()) == ([0, 2, 5], ["train", "test", "test"])
    two = np.where(sides == "valid", "train", sides)
    index, found = select_part("development", halves, two)
    assert (index.tolist(), found) == ([0, 2, 5], None)
    for part in ("test", "all"):
        index, found = select_part(part, halves, sides)
        assert index.tolist() == [0, 1, 2, 4, 5]
        assert found is not None
        assert found.tolist() == sides[index].tolist()


def test_a_quick_score_is_that_of_the_suite(tmp_path: Path) -> None:
    roots = {"orchestra_notes": make_notes(tmp_path) / "orchestra_notes"}
    quick = EvaluateConfig(
        tasks=("pitch class", "octave"),
        probes=("linear",),
        regimes=("100%",),
        seeds=2,
        part="development",
        map_method="",
    )
    report = evaluate([make_embedder("mfcc")], roots, tmp_path / "cache", quick)
    leading = {r.task: r.seeds for r in report.results if r.metric == "accuracy"}
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.npz")}
    for seed in (0, 1):
        found = score_encoder(
            make_embedder("mfcc"), roots, quick.tasks, seed=seed, cache=tmp_path / "cache"
        )
        assert found == {task: leading[task][seed] for task in quick.tasks}
    again = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.npz")}
    assert kept == again  # nothing was embedded but what the suite had
    assert list(score_encoder("mfcc", roots, part="test")) == [
        *("instrument", "pitch class", "octave")
    ]


def test_quick_scores_leave_out_what_cannot_be_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_notes(tmp_path) / "orchestra_notes"
    roots = {"orchestra_notes": root, "emotify": tmp_path}
    text = (root / "items.csv").read_text().replace("octave", "height")
    (root / "items.csv").write_text(text)
    assert list(score_encoder("mfcc", roots, ("genre", "octave", "pitch class"))) == ["pitch class"]
    assert "genre is not measured" in caplog.text
    assert "orchestra_notes, development part: there is no column 'octave'" in caplog.text
    with pytest.raises(ConfigError, match="Did you mean 'test'"):
        score_encoder("mfcc", roots, ("octave",), part="tset")
    with pytest.raises(ConfigError, match="layer and pooling are a model's"):
        score_encoder("mfcc", roots, layer=2)
