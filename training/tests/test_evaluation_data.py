"""Tasks, collections, embedders, and the whole command."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from musicssl.errors import ConfigError
from musicssl_training.cli.main import main
from musicssl_training.evaluation.datasets import COLLECTIONS, Clip, Collection
from musicssl_training.evaluation.embedders.adapters import (
    ArrayEmbedder,
    BaselineEmbedder,
    FunctionEmbedder,
)
from musicssl_training.evaluation.embedders.baselines import (
    BASELINES,
    FRAME_BASELINES,
    TEMPI,
    handcrafted,
)
from musicssl_training.evaluation.embedders.cache import CollectionEmbeddings
from musicssl_training.evaluation.embedders.spec import make_embedder
from musicssl_training.evaluation.errors import DataError
from musicssl_training.evaluation.protocol.frame_labels import (
    FRAME_LABELS,
    beats,
    common_times,
    frames_at,
    onsets,
    pitch_classes,
)
from musicssl_training.evaluation.protocol.labels import Multiclass
from musicssl_training.evaluation.protocol.metrics import METRICS
from musicssl_training.evaluation.protocol.probes import LINEAR_FAMILIES
from musicssl_training.evaluation.protocol.splits import PARTS, make_splits
from musicssl_training.evaluation.report.html import render_page
from musicssl_training.evaluation.report.results import Report
from musicssl_training.evaluation.report.tables import tables
from musicssl_training.evaluation.suite import EvaluateConfig, evaluate
from musicssl_training.evaluation.tasks import TASKS
from musicssl_training.midi.score import SCORES, Score, to_row

RATE = 8000


@pytest.mark.parametrize("name", TASKS)
def test_tasks_name_what_there_is(name: str) -> None:
    task = TASKS[name]
    assert task.collection in COLLECTIONS
    assert task.kind in LINEAR_FAMILIES
    assert task.level in ("clip", "frame")
    assert set(task.metrics) <= set(METRICS)
    if task.level == "frame":
        assert task.labels[0] in FRAME_LABELS


def test_frame_truth() -> None:
    notes = np.array([[0.0, 1.0, 60, 0, 90], [0.5, 1.5, 64, 40, 90], [0.5, 0.6, 38, 128, 90]])
    score = Score(notes.astype(np.float32), np.array([[0, 1], [0.5, 2]], np.float32), 120.0, 0)
    times = np.array([0.0, 0.2, 0.46, 0.54, 1.2, 2.0])
    assert onsets(score, times)[:, 0].tolist() == [1, 0, 1, 1, 0, 0]
    assert beats(score, times)[:, 0].tolist() == [1, 0, 1, 1, 0, 0]
    sounding = [np.flatnonzero(row).tolist() for row in pitch_classes(score, times)]
    assert sounding == [[0], [0], [0], [0, 4], [4], []]


def test_frames_of_all_models_are_taken_at_the_same_times() -> None:
    def embedded(times: list[list[float]]) -> CollectionEmbeddings:
        values = np.concatenate(times)
        lengths = np.array([len(t) for t in times])
        return CollectionEmbeddings(values[:, None].astype(np.float32), 0.0, lengths, values)

    fast = embedded([list(np.arange(0, 1, 0.01)), list(np.arange(0, 0.5, 0.01))])
    slow = embedded([[0.05, 0.15, 0.25], [0.05, 0.15]])
    times = common_times([fast, slow])
    assert [len(t) for t in times] == [7, 4]  # up to 0.25 s and 0.15 s
    np.testing.assert_allclose(frames_at(fast, times)[:, 0], np.concatenate(times), atol=0.006)
    expected = [0.05, 0.05, 0.05, 0.15, 0.15, 0.15, 0.25, 0.05, 0.05, 0.05, 0.15]
    np.testing.assert_allclose(frames_at(slow, times)[:, 0], expected, atol=1e-6)


def make_root(root: Path, items: int = 60, collection: str = "drum_machines") -> Path:
    """A root with one collection of tones: low and high, by six players."""
    rows = ["path,class,machine,instrument,pitch_class,octave"]
    t = np.arange(round(0.2 * RATE)) / RATE
    for i in range(items):
        path, high = f"p{i % 6}/{i}.wav", i // 6 % 2
        sound = 0.3 * np.sin(2 * np.pi * (900 if high else 300) * (1 + 0.001 * i) * t)
        (root / collection / path).parent.mkdir(parents=True, exist_ok=True)
        sf.write(root / collection / path, sound, RATE)
        rows.append(f"{path},{['low', 'high'][high]},p{i % 6},p{i % 6},{i % 4},{high}")
    (root / collection / "items.csv").write_text("\n".join(rows) + "\n")
    return root


def centroid(audio: np.ndarray, sr: int) -> np.ndarray:
    """Mean and spread of the spectrum of every 0.1 s, (frames, 2)."""
    assert sr == centroid.sample_rate
    frames = audio[: len(audio) // 800 * 800].reshape(-1, 800)
    power = np.abs(np.fft.rfft(frames)) ** 2
    middle = power @ np.arange(401) / power.sum(axis=1)
    return np.stack([middle, power.argmax(axis=1)], axis=1)


centroid.sample_rate = 8000


def power(exponent: float, audio: np.ndarray, sr: int) -> np.ndarray:
    return np.abs(audio) ** exponent


def test_a_partial_is_known_by_its_function_and_arguments() -> None:
    one, same, other = (FunctionEmbedder(partial(power, e), "power").space for e in (1, 1, 2))
    assert one == same
    assert one != other


def test_functions_arrays_and_baselines_are_measured_alike_by_any_number_of_processes(
    tmp_path: Path,
) -> None:
    root = make_root(tmp_path / "data")
    data = COLLECTIONS["drum_machines"](root / "drum_machines")
    function = FunctionEmbedder(centroid, "centroid")
    folder = tmp_path / "arrays"
    for clip in data.clips:
        file = folder / f"drum_machines/{clip.id}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, embedding=function.embed([clip], [clip.read(8000)])[0])
    arrays = make_embedder(str(folder))
    assert isinstance(arrays, ArrayEmbedder)
    models = [function, arrays, make_embedder("mfcc")]
    config = EvaluateConfig(
        probes=("linear", "knn", "mlp"), seeds=2, regimes=("100%", "5-shot"), map_method="tsne"
    )
    roots = {"drum_machines": root / "drum_machines"}
    report = evaluate(models, roots, tmp_path / "cache", config)
    assert {r.score for r in report.results if r.metric == "accuracy" and r.probe == "linear"} == {
        1
    }
    ours, theirs = ([r.seeds for r in report.results if r.model == m.name] for m in models[:2])
    assert ours == theirs
    assert all(r.n_groups == 6 and r.n_items == 60 and len(r.split) == 12 for r in report.results)
    assert len(report.differences) == 3 * 2 * 4  # pairs, metrics, probes and regimes
    assert len(report.maps) == 3
    kept: list[Report] = []
    two = replace(config, jobs=2)
    again = evaluate(models, roots, tmp_path / "cache", two, kept.append)
    assert kept[-1] is again
    for a, b in zip(report.results, again.results, strict=True):
        assert (a.seeds, a.low, a.high, a.split) == (b.seeds, b.low, b.high, b.split)
    assert report.maps == again.maps
    (folder / f"drum_machines/{data.clips[7].id}.npz").unlink()
    partly = evaluate([make_embedder(str(folder)), models[0]], roots, tmp_path / "cache", config)
    assert {r.model for r in partly.results} == {"centroid"}
    assert any(data.clips[7].id in gap["reason"] for gap in partly.missing)


def test_the_command_and_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_root(tmp_path / "data", 36)
    out = tmp_path / "report"
    call = ["evaluate", "mfcc", "-o", str(out), "--data", str(root), "--quick"]
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    assert main([*call, "--card", f"mfcc={tmp_path}/README.md"]) == 0
    found = json.loads((out / "results.json").read_text())
    assert found["format"] == 2
    assert {"task", "score", "low", "high", "seeds", "chance", "split"} <= set(found["results"][0])
    assert {gap["task"] for gap in found["missing"]} == set(TASKS) - {"drum class"}
    assert "| drum class | accuracy |" in capsys.readouterr().out
    names = "| task | metric | chance | log-mel | handcrafted | random | mfcc |"
    assert names in (out / "results.md").read_text()
    assert "<h2>Linear probe, all labels</h2>" in (out / "index.html").read_text()
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\nmodel-index:\n")
    assert card.endswith("---\n# A model\n")
    assert main(["evaluate", "-o", str(out)]) == 2
    assert "no data: give --data" in capsys.readouterr().err
    assert main([*call, "--at", "gtzan"]) == 2
    assert "--at 'gtzan' is not NAME=FOLDER" in capsys.readouterr().err


def test_a_broken_sound_is_named_and_the_other_tasks_run(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data", 36)
    make_root(root, 36, "orchestra_notes")
    (root / "drum_machines/p3/3.wav").write_bytes(b"nothing that sounds")
    roots = {name: root / name for name in ("drum_machines", "orchestra_notes")}
    config = EvaluateConfig(
        tasks=("drum class", "octave"), probes=("knn",), regimes=("100%",), seeds=1
    )
    report = evaluate([make_embedder("mfcc")], roots, tmp_path / "cache", config)
    assert {r.task for r in report.results} == {"octave"}
    ((gap),) = report.missing
    assert gap["task"] == "drum class"
    assert "item 'p3/3.wav' cannot be used" in gap["reason"]


def test_parts_and_means_are_reported(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data")
    make_root(tmp_path / "data", 30, "orchestra_notes")
    roots = {name: root / name for name in ("drum_machines", "orchestra_notes")}
    quick = EvaluateConfig(
        tasks=("drum class", "octave"), probes=("linear",), regimes=("100%",), seeds=2
    )
    models = [make_embedder("mfcc"), make_embedder("log-mel")]
    found = {
        part: evaluate(models, roots, tmp_path / "cache", replace(quick, part=part))
        for part in PARTS
    }
    items = {part: report.results[0].n_items for part, report in found.items()}
    assert items == {"all": 60, "development": 30, "test": 30}
    assert "Only the test part" in render_page(found["test"])
    assert "of the labels, test part" in tables(found["test"])
    with pytest.raises(ConfigError, match="Did you mean 'test'"):
        EvaluateConfig(part="tst")

    (mean, other), each = found["all"].results[-2:], found["all"].results
    assert (mean.task, mean.model, other.model) == ("mean", "mfcc", "log-mel")
    tasks = {r.task: r for r in each if r.model == "mfcc" and r.metric == "accuracy"}
    assert mean.per_class == {name: r.score for name, r in tasks.items()}
    assert mean.score == pytest.approx(np.mean([r.score for r in tasks.values()]))
    assert mean.low <= mean.score <= mean.high
    last = found["all"].differences[-1]
    assert (last.a, last.b, last.task) == ("mfcc", "log-mel", "mean")
    assert last.difference == pytest.approx(mean.score - other.score)
    assert "The mean of 2 tasks, each counting alike: drum class, octave." in render_page(
        found["all"]
    )


def test_packs_with_truth(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows, scores = [], []
    t = np.arange(2 * RATE) / RATE
    with (tmp_path / "audio.i16").open("wb") as audio:
        for i in range(16):
            on = np.sort(rng.uniform(0, 1.8, 3))
            sound = sum(np.sin(2 * np.pi * 440 * t) * ((t >= o) & (t < o + 0.2)) for o in on)
            (8000 * sound).astype("<i2").tofile(audio)
            row = {"path": f"{i}.mid", "start": i * len(t), "samples": len(t), "sample_rate": RATE}
            rows.append(row | {"group": f"work {i % 8}"})
            notes = [[o, o + 0.2, 69, 40 * (i % 2), 90] for o in on]
            beats = np.array([[0.5 * k, 1 + k % 4] for k in range(4)], np.float32)
            scores.append(Score(np.array(notes, np.float32), beats, 60.0 * 2 ** (i % 3 / 2), i % 2))
    (tmp_path / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = [{"path": r["path"]} | to_row(s) for r, s in zip(rows, scores, strict=True)]
    (tmp_path / SCORES).write_text("".join(json.dumps(row) + "\n" for row in said))
    config = EvaluateConfig(
        tasks=("key", "tempo", "instrument families", "onsets", "sounding pitch classes"),
        probes=("linear",),
        regimes=("100%",),
        seeds=1,
        map_method="",
    )

    def level(audio: np.ndarray, sr: int) -> np.ndarray:
        blocks = audio[: len(audio) // 441 * 441].reshape(-1, 441)
        return np.stack([blocks.std(axis=1), np.roll(blocks.std(axis=1), 2)], axis=1)

    embedder = FunctionEmbedder(level, "level", "1")
    report = evaluate([embedder], {"rendered": tmp_path}, tmp_path / "cache", config)
    found = {(r.task, r.metric): r.score for r in report.results}
    assert found["sounding pitch classes", "roc_auc"] > 0.95
    assert found["onsets", "roc_auc"] > 0.7
    assert {"key", "tempo", "instrument families"} <= {task for task, _ in found}


def test_a_pack_of_recordings_says_that_its_notes_are_not_known(tmp_path: Path) -> None:
    row = {"path": "a.wav", "start": 0, "samples": 2}
    (tmp_path / "index.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "audio.i16").write_bytes(bytes(4))
    with pytest.raises(DataError, match=r"rendered: .* holds no scores\.jsonl"):
        COLLECTIONS["rendered"](tmp_path)


def test_collections_refuse_nonsense(tmp_path: Path) -> None:
    clip = Clip("a", tmp_path / "a.wav")
    with pytest.raises(DataError, match="'a' is listed twice"):
        Collection("toy", (clip, clip), {})
    toy = Collection("toy", (clip,), {"genre": np.array([""])}, advice="Ask a librarian.")
    with pytest.raises(DataError, match=r"item 'a': .*Ask a librarian"):
        _ = toy.hash
    with pytest.raises(DataError, match="Did you mean 'genre'"):
        toy.column("gnre")
    with pytest.raises(DataError, match="item 'a' has no label 'genre'"):
        Multiclass.read(toy, ("genre",))
    assert len(make_splits(np.arange(20).astype(str), None, range(3))) == 3


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_finite_and_of_one_size(name: str) -> None:
    rng = np.random.default_rng(0)
    sounds = [np.zeros(10, np.float32), rng.standard_normal(44_100).astype(np.float32) / 9]
    vectors = [BASELINES[name](sound, 22_050) for sound in sounds]
    assert {v.shape for v in vectors} == {({"log-mel": 256, "mfcc": 80, "handcrafted": 174}[name],)}
    assert all(np.isfinite(v).all() for v in vectors)


@pytest.mark.parametrize("name", FRAME_BASELINES)
def test_frames_of_baselines_are_where_they_say(name: str) -> None:
    clicks = np.zeros(22_050, np.float32)
    clicks[8820] = 1  # at 0.4 s
    embedder = BaselineEmbedder(name)
    values, times = embedder.frames(Clip("a", Path("a")), clicks)
    half = values.shape[1] // 2  # the other half is deltas
    change = np.abs(values[:, :half] - values[0, :half]).sum(axis=1)
    assert len(times) == len(values)
    assert np.average(times, weights=change) == pytest.approx(0.4, abs=0.03)
    assert np.isfinite(embedder.frames(Clip("b", Path("b")), np.zeros(10, np.float32))[0]).all()


def test_the_tempogram_peaks_at_the_tempo() -> None:
    clicks = np.zeros(10 * 22_050, np.float32)
    clicks[:: 22_050 // 2] = 1  # 120 BPM
    bands = handcrafted(clicks, 22_050)[-30:]
    slow = TEMPI[:-1] > 80  # without the multiples of the period
    peak = np.flatnonzero(slow)[int(bands[slow].argmax())]
    assert TEMPI[peak] * 0.93 <= 120 <= TEMPI[peak + 1] * 1.07


def test_names_of_models(tmp_path: Path) -> None:
    ours = make_embedder("musicssl-small:layer=1+2,pooling=mean")
    assert "layers=1+2" in ours.space
    assert "/mean/" in ours.space
    first, second = make_embedder("random:seed=1"), make_embedder("random:seed=2")
    assert first.space != second.space
    assert first.space == make_embedder("random:seed=1").space
    for text, words in (
        ("musicssl-small:colour=red", "none of layer, pooling, seed"),
        ("musicssl-small:layer=two", "layer and seed are numbers"),
        ("math:no_such", "module 'math' has no 'no_such'"),
        ("no_such_module:f", "no module 'no_such_module'"),
    ):
        with pytest.raises(ValueError, match=words):
            make_embedder(text)
    with pytest.raises(ConfigError, match="Did you mean 'linear'"):
        EvaluateConfig(probes=("liner",))
    with pytest.raises(ConfigError, match="neither as '10%' nor as '5-shot'"):
        EvaluateConfig(regimes=("some",))
