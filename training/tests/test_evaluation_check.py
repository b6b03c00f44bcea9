"""What cannot be measured is named before anything is trained or embedded: where it is, and why."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from musicssl.errors import ConfigError
from musicssl_training.evaluation.datasets import COLLECTIONS, Clip, Collection, public, read_items
from musicssl_training.evaluation.datasets.folders import EMOTIONS
from musicssl_training.evaluation.embedders.adapters import FunctionEmbedder
from musicssl_training.evaluation.errors import DataError, LeakError
from musicssl_training.evaluation.protocol.labels import Regression
from musicssl_training.evaluation.suite import EvaluateConfig, check_tasks, evaluate

HEADER = "path,class,machine"
GOOD = [f"{i}.wav,{['low', 'high'][i % 2]},m{i // 4}" for i in range(16)]


def folder(root: Path, lines: Sequence[str] = GOOD, header: str = HEADER) -> Path:
    for i in range(16):
        sf.write(root / f"{i}.wav", np.full(40, 0.1), 8000)
    (root / "items.csv").write_text("\n".join([header, *lines, ""]))
    return root


def refusal(root: Path, part: str = "all", task: str = "drum class") -> str:
    collection = {"drum class": "drum_machines"}.get(task, "emotify")
    with pytest.raises(ConfigError) as caught:
        check_tasks({collection: root}, EvaluateConfig.linear((task,), 1, part))
    return str(caught.value)


def broken(path: Path) -> None:
    path.write_bytes(b"nothing that sounds")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: (path.unlink(), path.mkdir()), "a folder, not a file"),
        (lambda path: path.write_bytes(b""), "is empty: 0 bytes"),
        (lambda path: sf.write(path, np.zeros(0), 8000), "no samples"),
        (broken, "cannot be decoded"),
    ],
)
def test_recordings_that_do_not_open_are_named(
    damage: Callable[[Path], Any], reason: str, tmp_path: Path
) -> None:
    damage(folder(tmp_path) / "7.wav")
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path}: drum class: drum_machines: 1 of 16 items cannot be used")
    assert "items.csv, line 9: item '7.wav' (" in said
    assert reason in said
    assert "whose column 'path' starts there" in said


def test_of_the_other_part_recordings_need_only_be_there(tmp_path: Path) -> None:
    lines = [f"{row},{['train', 'test'][i // 8]}" for i, row in enumerate(GOOD)]
    broken(folder(tmp_path, lines, HEADER + ",part") / "15.wav")
    config = EvaluateConfig.linear(("drum class",), 1, "development")
    check_tasks({"drum_machines": tmp_path}, config)
    (tmp_path / "15.wav").unlink()
    assert "items.csv, line 17: item '15.wav'" in refusal(tmp_path, "development")


def test_many_recordings_that_do_not_open_are_counted(tmp_path: Path) -> None:
    folder(tmp_path, [f"music/{row}" for row in GOOD])
    said = refusal(tmp_path)
    assert "16 of 16 items cannot be used" in said
    assert "; and 13 more. Moved, renamed, or copied in part?" in said


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("7.wav,low,m1,m2", "line 9: 4 values for 3 columns"),
        (",low,m1", "line 9: there is no path"),
        (
            '7.wav,"low" one,m1',
            "line 9: ',' expected after '\"'. Cells with quotes stand in quotes",
        ),
        ('"7.wav,low,m1', "line 9: unexpected end of data. Does a quote on this line not end"),
        ("6.wav,low,m1", "line 9: item '6.wav' is listed twice"),
    ],
)
def test_lines_that_make_no_sense_are_named(row: str, reason: str, tmp_path: Path) -> None:
    folder(tmp_path, [*GOOD[:7], row, *GOOD[8:]])
    assert f"items.csv, {reason}" in refusal(tmp_path)


def test_cells_that_spreadsheets_add_are_no_rows_and_no_values(tmp_path: Path) -> None:
    plain = read_items(folder(tmp_path), "drum_machines")
    lines = [f"{row};".replace(",", ";") for row in GOOD]
    text = "\n".join([HEADER.replace(",", ";"), *lines, ";;;", "", ""])
    (tmp_path / "items.csv").write_bytes(text.encode("utf-16"))
    again = read_items(tmp_path, "drum_machines")
    assert again.clips == plain.clips
    assert {k: v.tolist() for k, v in again.columns.items()} == {
        k: v.tolist() for k, v in plain.columns.items()
    }


def test_cells_that_spreadsheets_drop_are_empty(tmp_path: Path) -> None:
    found = read_items(folder(tmp_path, [*GOOD[:7], "7.wav,low", *GOOD[8:]]), "drum_machines")
    assert found.columns["class"][7] == "low"
    assert not found.columns["machine"][7]


@pytest.mark.parametrize("word", ["val", "Dev", "validation"])
def test_usual_words_for_a_published_split_are_read(word: str, tmp_path: Path) -> None:
    lines = [f"{row},{['train', word][i // 8]}" for i, row in enumerate(GOOD)]
    found = read_items(folder(tmp_path, lines, HEADER + ",part"), "drum_machines")
    assert set(found.columns["part"]) == {"train", "valid"}


def test_a_folder_for_a_recording_is_told_as_one(tmp_path: Path) -> None:
    (folder(tmp_path) / "7.wav").unlink()
    (tmp_path / "7.wav").mkdir()
    with pytest.raises(DataError, match=r"line 9: item '7.wav': .* cannot be read \(Is a dir"):
        _ = read_items(tmp_path, "drum_machines").hash


@pytest.mark.parametrize("value", ["much", "", "nan", "0;5"])
@pytest.mark.parametrize("task", ["genre", "emotions", "emotion tags"])
def test_shares_of_listeners_are_numbers(value: str, task: str, tmp_path: Path) -> None:
    lines = [f"{i}.wav,{'ab'[i % 2]},a{i},{','.join(['0.2'] * 8)},0.{i:02d}" for i in range(16)]
    lines[7] = lines[7].replace("0.07", value)
    folder(tmp_path, lines, ",".join(["path", "genre", "artist", *EMOTIONS]))
    said = refusal(tmp_path, task=task)
    assert f"emotify: items.csv, line 9: item '7.wav': sadness is {value!r}, no finite" in said


def test_labels_that_are_no_numbers_are_named() -> None:
    clips = tuple(Clip(f"{i}", Path()) for i in range(3))
    toy = Collection("toy", clips, {"joy": np.array(["1.5", "much", "-"])})
    with pytest.raises(DataError, match=r"toy: item '1': joy is 'much', .* 1 more"):
        Regression.read(toy, ("joy",))
    assert Collection("toy", clips[:1], {"joy": np.array(["1.5"])}).numbers("joy").tolist() == [1.5]


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


EMO = {"annotations/songs_info.csv": "song_id,Artist\n2,Ann\n"}
STATIC, NSYNTH = "annotations/static_annotations.csv", "nsynth-train/examples.json"
FMA = ",artist,set,set,track\n,id,split,subset,genre_top\ntrack_id,,,,\n"
PITCH = json.dumps({"organ": {"pitch": None}})
ROW = '{"path": "a", "start": "much", "samples": 1}\n'


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        (
            "emo",
            EMO | {STATIC: "song_id,mean_arousal,mean_valence\n2,1,-\n"},
            "valence of song '2'",
        ),
        ("emo", EMO | {STATIC: "song_id,mean_arousal,mean_valence\n2\n"}, "mean_valence .* is ''"),
        ("emo", EMO | {STATIC: "song_id,mean_arousal\n2,1\n"}, "no column 'mean_valence'"),
        ("nsynth", {NSYNTH: PITCH}, "the pitch of 'organ' is None"),
        ("nsynth", {NSYNTH: PITCH[:9]}, "examples.json is no JSON"),
        ("fma_small", {"fma_metadata/tracks.csv": FMA + "x,7,training,small,Rock\n"}, "is 'x'"),
        ("fma_small", {"fma_metadata/tracks.csv": FMA + "2,7,left,small,Rock\n"}, "part 'left'"),
        ("rendered", {"index.jsonl": ROW}, r"line 1, holds what no pack does \(start is 'much'\)"),
        ("rendered", {"index.jsonl": ROW[:9] + "\n"}, "line 1, holds what no pack does"),
    ],
)
def test_published_tables_with_something_else_than_numbers(
    name: str, files: dict[str, str], message: str, tmp_path: Path
) -> None:
    for path, text in files.items():
        write(tmp_path, path, text)
    with pytest.raises(DataError, match=f"^{name}: .*{message}"):
        COLLECTIONS[name](tmp_path)


def test_a_tempo_that_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Track:
        audio_path, genre = "1.wav", "tango"

        @property
        def tempo(self) -> float:
            return float("much")

    monkeypatch.setattr(public, "_mirdata", lambda *_: {"1": Track()})
    with pytest.raises(DataError, match=r"ballroom: the tempo of track '1': .*'much'"):
        COLLECTIONS["ballroom"](tmp_path)


@pytest.mark.parametrize(
    ("machine", "part", "reason"),
    [
        (lambda i: "m0", "all", "drum_machines, grouped by machine: all 16 items are in one group"),
        (lambda i: "", "all", "in one group, ''"),
        (lambda i: f"m{i // 8}", "development", "drum_machines, development part, grouped by mach"),
        (lambda i: f"m{i % 2}", "all", "no class that is tested is trained on, such as 'high'"),
    ],
)
def test_groups_that_cannot_be_parted_are_named(
    machine: Callable[[int], str], part: str, reason: str, tmp_path: Path
) -> None:
    folder(tmp_path, [f"{i}.wav,{['low', 'high'][i % 2]},{machine(i)}" for i in range(16)])
    said = refusal(tmp_path, part)
    assert reason in said
    assert said.count("drum class") == 1


@pytest.mark.parametrize(
    ("sides", "part", "reason"),
    [
        (["left", "right"], "all", "line 2: part 'left' is none of train, training, valid"),
        (["train", "train"], "all", "has 16 items in 'train', 0 in 'valid' and 0 in 'test'"),
        (["test", "test"], "development", "none of its 16 items is in the part 'development': the"),
    ],
)
def test_published_sides_that_cannot_be_used_are_told(
    sides: list[str], part: str, reason: str, tmp_path: Path
) -> None:
    lines = [f"{row},{sides[i // 8]}" for i, row in enumerate(GOOD)]
    assert reason in refusal(folder(tmp_path, lines, HEADER + ",part"), part)


def test_published_sides_may_be_spelled_otherwise(tmp_path: Path) -> None:
    lines = [f"{row},{['Train', ' TEST'][i // 8]}" for i, row in enumerate(GOOD)]
    found = read_items(folder(tmp_path, lines, HEADER + ",part"), "drum_machines")
    assert found.columns["part"].tolist() == ["train"] * 8 + ["test"] * 8


def test_a_part_without_labels_is_told_from_one_without_items(tmp_path: Path) -> None:
    folder(tmp_path, [f"{i}.wav,,m{i // 4}" for i in range(16)])
    assert "development part: none of 8 items has a label 'class'" in refusal(
        tmp_path, "development"
    )
    folder(tmp_path, GOOD[:1])
    assert "none of its 1 items is in the part 'test'" in refusal(tmp_path, "test")


def test_a_leak_names_task_collection_and_column(tmp_path: Path) -> None:
    lines = [f"{row},{['train', 'test'][i % 2]}" for i, row in enumerate(GOOD)]
    folder(tmp_path, lines, HEADER + ",part")
    where = "drum class: drum_machines, grouped by machine: group 'm0' is in both training and test"
    assert refusal(tmp_path).startswith(f"{tmp_path}: {where}")
    config = EvaluateConfig.linear(("drum class",), 1, "all")
    embedder = FunctionEmbedder(lambda audio, sr: audio[:4], "first", "1")
    with pytest.raises(LeakError, match=where):
        evaluate([embedder], {"drum_machines": tmp_path}, tmp_path / "cache", config)


def test_a_class_of_one_group_is_named_and_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder(tmp_path, [*GOOD[:15], "15.wav,bell,m3"])
    config = EvaluateConfig.linear(("drum class",), 1, "all")
    check_tasks({"drum_machines": tmp_path}, config)
    assert "drum class: never trained on when tested" in caplog.text
    assert "counts as an error: 'bell'." in caplog.text


def test_what_is_wrong_with_several_tasks_is_said_once_for_each_collection(tmp_path: Path) -> None:
    roots = {"drum_machines": folder(tmp_path), "emotify": tmp_path}
    config = EvaluateConfig.linear(("drum class", "genre", "emotions", "EMO"), 1, "all")
    with pytest.raises(ConfigError) as caught:
        check_tasks(roots, config)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{tmp_path}: genre, emotions: emotify: there is no column")
    assert second.startswith("EMO: no folder 'emo' was given")
