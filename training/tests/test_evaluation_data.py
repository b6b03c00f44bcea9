"""Readers on miniature copies of the published layouts, embedders, and the whole command."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from musicssl.errors import ConfigError
from musicssl_training.cli import main
from musicssl_training.corpus.score import Score
from musicssl_training.evaluation import packs
from musicssl_training.evaluation.baselines import BASELINES, TEMPI, handcrafted
from musicssl_training.evaluation.collection import Clip, Collection
from musicssl_training.evaluation.embedders import ArrayEmbedder, FunctionEmbedder, make_embedder
from musicssl_training.evaluation.errors import DataError
from musicssl_training.evaluation.framewise import FRAMEWISE, beats, onsets, pitch_classes
from musicssl_training.evaluation.labels import KINDS, read_labels
from musicssl_training.evaluation.measure import make_splits
from musicssl_training.evaluation.metrics import METRICS
from musicssl_training.evaluation.suite import EvaluateConfig, evaluate
from musicssl_training.evaluation.tasks import COLLECTIONS, TASKS

RATE = 8000


def tone(path: Path, hertz: float = 440.0, seconds: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * RATE)) / RATE
    sf.write(path, 0.3 * np.sin(2 * np.pi * hertz * t), RATE)
    return path


def lines(path: Path, rows: Sequence[Sequence[object]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)


def index(root: Path, tracks: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a small index in the place of the one that mirdata downloads."""
    file = root / "index.json"
    named = {n: {k: [v, ""] for k, v in t.items()} for n, t in tracks.items()}
    file.write_text(json.dumps({"version": "1.0", "tracks": named}))
    import mirdata.core

    monkeypatch.setattr(mirdata.core.Index, "get_path", lambda self: str(file))


def make_gtzan(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = {}
    for genre in ("blues", "metal"):
        for i in range(4):
            name = f"{genre}.0000{i}"
            tone(root / f"genres/{genre}/{name}.wav")
            tracks[name] = {"audio": f"genres/{genre}/{name}.wav", "beats": "b", "tempo": "t"}
    index(root, tracks, monkeypatch)
    for part, i in (("train", 0), ("valid", 1), ("test", 2)):
        listed = [[f"{genre}/{genre}.0000{i}.wav"] for genre in ("blues", "metal")]
        lines(root / f"{part}_filtered.txt", listed)


def make_giantsteps(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = {}
    for i, key in enumerate(("Eb minor", "C major", "D major | A minor", "-")):
        tone(root / f"audio/{i}.wav")
        lines(root / f"keys/{i}.txt", [[key]])
        (root / f"meta/{i}.json").parent.mkdir(exist_ok=True)
        (root / f"meta/{i}.json").write_text("{}")
        tracks[str(i)] = {
            "audio": f"audio/{i}.wav",
            "key": f"keys/{i}.txt",
            "meta": f"meta/{i}.json",
        }
    index(root, tracks, monkeypatch)


def make_ballroom(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = {}
    for i, dance in enumerate(("Jive", "Tango", "Tango")):
        tone(root / f"audio/{dance}/{i}.wav")
        (root / f"{i}.bpm").write_text(f"{100 + 20 * i}\n")
        tracks[str(i)] = {
            "audio": f"audio/{dance}/{i}.wav",
            "beats": f"{i}.beats",
            "tempo": f"{i}.bpm",
        }
    index(root, tracks, monkeypatch)


def make_magnatagatune(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[list[object]] = [["clip_id", "guitar", "flute", "mp3_path"]]
    for i, folder in enumerate("0bcdf0"):
        rows.append([i, int(i % 2 == 0), int(i == 3), f"{folder}/{i}.wav"])
        tone(root / f"{folder}/{i}.wav")
    lines(root / "annotations_final.csv", rows, "\t")


def make_nsynth(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("train", "valid", "test"):
        facts = {}
        for pitch in (20, 60, 61):
            name = f"organ_{part}_000-{pitch:03d}-100"
            tone(root / f"nsynth-{part}/audio/{name}.wav")
            facts[name] = {
                "pitch": pitch,
                "instrument_family_str": "organ" if pitch == 60 else "reed",
                "instrument_str": f"organ_{part}",
            }
        (root / f"nsynth-{part}/examples.json").write_text(json.dumps(facts))


def make_emo(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "annotations"
    lines(folder / "songs_info.csv", [["song_id", " Artist"], ["2", " Ann"], ["3", " Bob"]])
    rows = [["song_id", "mean_arousal", "mean_valence"], [2, 3.1, 5.0], [3, 4.2, 6.0]]
    lines(folder / "static_annotations.csv", rows)
    for i in (2, 3):
        sf.write(tone(root / f"clips_45seconds/{i}.mp3"), np.zeros(9000), 22_050, format="MP3")


def make_jamendo(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, part in enumerate(("train", "validation", "test")):
        head = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
        tags = ["genre---rock", "mood/theme---sad"][: 1 + i % 2]
        row = [f"track_{i}", f"artist_{i}", "album_0", f"0{i}/{i}.mp3", "9.9", *tags]
        file = root / f"data/splits/split-0/autotagging_top50tags-{part}.tsv"
        lines(file, [head, row], "\t")
        sf.write(tone(root / f"audio-low/0{i}/{i}.low.mp3"), np.zeros(9000), 22_050, format="MP3")


def make_fma_small(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[list[object]] = [
        ["", "artist", "set", "set", "track"],
        ["", "id", "split", "subset", "genre_top"],
        ["track_id", "", "", "", ""],
        [2, 7, "training", "small", "Rock"],
        [3, 8, "validation", "small", "Folk"],
        [4, 9, "test", "small", "Folk"],
        [5, 9, "test", "large", "Folk"],
    ]
    lines(root / "fma_metadata/tracks.csv", rows)
    for i in (2, 3, 4):
        path = root / f"fma_small/000/00000{i}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, np.zeros(9000), 22_050, format="MP3")


def make_vocalset(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for singer in ("female1", "male2"):
        for technique in ("belt", "vibrato", "forte"):
            tone(root / f"FULL/{singer}/scales/{technique}/{singer}_{technique}_a.wav")


MINIATURES: dict[str, tuple[Any, dict[str, list[str]]]] = {
    "gtzan": (
        make_gtzan,
        {
            "genre": ["blues", "metal"] * 3,
            "part": [p for p in ("train", "valid", "test") for _ in "ab"],
        },
    ),
    "giantsteps": (make_giantsteps, {"key": ["D# minor", "C major"]}),
    "ballroom": (
        make_ballroom,
        {"genre": ["jive", "tango", "tango"], "tempo": ["98.70", "120.82", "139.58"]},
    ),
    "magnatagatune": (
        make_magnatagatune,
        {"tag:guitar": ["1.0", "1.0", "0.0", "1.0"], "part": ["train", "valid", "test", "test"]},
    ),
    "nsynth": (
        make_nsynth,
        {
            "pitch": ["", "60", "61"] * 3,
            "part": [p for p in ("train", "valid", "test") for _ in "abc"],
        },
    ),
    "emo": (make_emo, {"valence": ["5.0", "6.0"], "group": ["Ann", "Bob"]}),
    "jamendo": (
        make_jamendo,
        {"tag:sad": ["0.0", "1.0", "0.0"], "part": ["train", "valid", "test"]},
    ),
    "fma_small": (
        make_fma_small,
        {"genre": ["Rock", "Folk", "Folk"], "part": ["train", "valid", "test"]},
    ),
    "vocalset": (make_vocalset, {"technique": ["belt", "", "vibrato"] * 2}),
}


@pytest.mark.parametrize("name", MINIATURES)
def test_published_layouts(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, columns = MINIATURES[name]
    make(tmp_path, monkeypatch)
    found = COLLECTIONS[name](tmp_path)
    for column, expected in columns.items():
        values = [str(v) for v in found.columns[column]]
        if name == "gtzan":
            assert sorted(values) == sorted(expected)
        else:
            assert values == expected
    assert all(len(clip.read(22_050)) for clip in found.clips)
    assert len(found.hash) == 12


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_missing_collection_says_what_and_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"Get it|mirdata|cannot be read|musicssl-train|music_dataset"
    ):
        COLLECTIONS[name](tmp_path)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_name_what_there_is(name: str) -> None:
    task = TASKS[name]
    assert task.collection in COLLECTIONS
    assert task.kind in (*KINDS, "frames")
    assert set(task.metrics) <= set(METRICS)
    if task.kind == "frames":
        assert task.labels[0] in FRAMEWISE


def test_frame_truth() -> None:
    notes = np.array([[0.0, 1.0, 60, 0, 90], [0.5, 1.5, 64, 40, 90], [0.5, 0.6, 38, 128, 90]])
    score = Score(notes.astype(np.float32), np.array([[0, 1], [0.5, 2]], np.float32), 120.0, 0)
    times = np.array([0.0, 0.2, 0.46, 0.54, 1.2, 2.0])
    assert onsets(score, times)[:, 0].tolist() == [1, 0, 1, 1, 0, 0]
    assert beats(score, times)[:, 0].tolist() == [1, 0, 1, 1, 0, 0]
    sounding = [np.flatnonzero(row).tolist() for row in pitch_classes(score, times)]
    assert sounding == [[0], [0], [0], [0, 4], [4], []]


def make_root(root: Path, items: int = 60) -> Path:
    """A root with one collection of tones: low and high, by six players."""
    rows: list[list[object]] = [["path", "class", "machine"]]
    for i in range(items):
        path = f"p{i % 6}/{i}.wav"
        tone(root / "drum_machines" / path, [300.0, 900.0][i // 6 % 2] * (1 + 0.001 * i), 0.2)
        rows.append([path, ["low", "high"][i // 6 % 2], f"p{i % 6}"])
    lines(root / "drum_machines/items.csv", rows)
    return root


def centroid(audio: np.ndarray, sr: int) -> np.ndarray:
    """Mean and spread of the spectrum of every 0.1 s, (frames, 2)."""
    assert sr == centroid.sample_rate
    frames = audio[: len(audio) // 800 * 800].reshape(-1, 800)
    power = np.abs(np.fft.rfft(frames)) ** 2
    middle = power @ np.arange(401) / power.sum(axis=1)
    return np.stack([middle, power.argmax(axis=1)], axis=1)


centroid.sample_rate = 8000


def test_functions_arrays_and_baselines_are_measured_alike(tmp_path: Path) -> None:
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
        probes=("linear", "knn"), seeds=2, regimes=("100%", "5-shot"), map_method="tsne"
    )
    roots = {"drum_machines": root / "drum_machines"}
    report = evaluate(models, roots, tmp_path / "cache", config)
    assert {r.score for r in report.results if r.metric == "accuracy" and r.probe == "linear"} == {
        1
    }
    ours, theirs = ([r.seeds for r in report.results if r.model == m.name] for m in models[:2])
    assert ours == theirs
    assert all(r.n_groups == 6 and r.n_items == 60 and len(r.split) == 12 for r in report.results)
    assert len(report.differences) == 3 * 2 * 3  # pairs, metrics, probes and regimes
    assert len(report.maps) == 3
    again = evaluate(models, roots, tmp_path / "cache", config)
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
    assert (
        main(["evaluate", "mfcc", "log-mel", "-o", str(out), "--data", str(root), "--quick"]) == 0
    )
    found = json.loads((out / "results.json").read_text())
    assert found["format"] == 1
    assert {"task", "score", "low", "high", "seeds", "chance", "split"} <= set(found["results"][0])
    assert {gap["task"] for gap in found["missing"]} == set(TASKS) - {"drum class"}
    assert "| drum class | accuracy |" in capsys.readouterr().out
    assert "| task | metric | chance | mfcc | log-mel |" in (out / "results.md").read_text()


def test_a_broken_sound_is_named_and_the_other_tasks_run(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data", 36)
    make_vocalset(root / "vocalset", pytest.MonkeyPatch())
    (root / "drum_machines/p3/3.wav").write_bytes(b"nothing that sounds")
    roots = {name: root / name for name in ("drum_machines", "vocalset")}
    config = EvaluateConfig(
        tasks=("drum class", "VocalSet singer"), probes=("knn",), regimes=("100%",), seeds=1
    )
    report = evaluate([make_embedder("mfcc")], roots, tmp_path / "cache", config)
    assert {r.task for r in report.results} == {"VocalSet singer"}
    ((gap),) = report.missing
    assert gap["task"] == "drum class"
    assert "item 'p3/3.wav' cannot be used" in gap["reason"]


def test_packs_with_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(packs.truth, "read_scores", lambda root, rows: scores, raising=False)
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


def test_collections_refuse_nonsense(tmp_path: Path) -> None:
    clip = Clip("a", tmp_path / "a.wav")
    with pytest.raises(DataError, match="'a' is listed twice"):
        Collection("toy", (clip, clip), {})
    toy = Collection("toy", (clip,), {"genre": np.array([""])}, advice="Ask a librarian.")
    with pytest.raises(DataError, match=r"item 'a': .*Ask a librarian"):
        _ = toy.hash
    with pytest.raises(DataError, match="Did you mean 'genre'"):
        toy.pick("gnre")
    with pytest.raises(DataError, match="item 'a' has no label 'genre'"):
        read_labels(toy, "classes", ("genre",))
    assert len(make_splits(np.arange(20).astype(str), None, 3)) == 3


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_finite_and_of_one_size(name: str) -> None:
    rng = np.random.default_rng(0)
    sounds = [np.zeros(10, np.float32), rng.standard_normal(44_100).astype(np.float32) / 9]
    vectors = [BASELINES[name](sound, 22_050) for sound in sounds]
    assert {v.shape for v in vectors} == {({"log-mel": 256, "mfcc": 80, "handcrafted": 174}[name],)}
    assert all(np.isfinite(v).all() for v in vectors)


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
