"""Readers of the field's data sets, on miniature copies of their layouts."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from musicssl_training.evaluation.datasets import COLLECTIONS
from musicssl_training.evaluation.errors import DataError

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
        {"genre": ["jive", "tango", "tango"], "tempo": ["100.0", "120.0", "140.0"]},
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
