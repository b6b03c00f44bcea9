"""Labels of one's own: folders and tables, hostile ones too, and what is measured on them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
import soundfile as sf
import torch

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig
from musicssl.errors import ConfigError
from musicssl.model import MusicEncoder
from musicssl_training.cli.main import main
from musicssl_training.evaluation.datasets.labeled import read_labeled
from musicssl_training.evaluation.embedders.adapters import FunctionEmbedder, ModelEmbedder
from musicssl_training.evaluation.errors import DataError, LeakError
from musicssl_training.evaluation.leakage.encodings import find_copies
from musicssl_training.evaluation.own import OwnTask, guess_kind, read_own
from musicssl_training.evaluation.protocol.finetune import FINE_TUNED, FineTuneConfig
from musicssl_training.evaluation.protocol.labels import Multiclass, Multilabel, Regression
from musicssl_training.evaluation.protocol.regimes import FULL
from musicssl_training.evaluation.protocol.scoring import make_instance, measure
from musicssl_training.evaluation.report.html import render_page
from musicssl_training.evaluation.report.tables import tables
from musicssl_training.evaluation.suite import EvaluateConfig, evaluate

RATE = 8000


def sound(file: Path, seed: int, hertz: float = 0.0) -> Path:
    """Write a short sound: noise of its own, and a tone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(800) / RATE
    noise = 0.02 * np.random.default_rng(seed).standard_normal(len(t))
    sf.write(file, noise + 0.5 * np.sin(2 * np.pi * hertz * t), RATE)
    return file


def table(folder: Path, labels: list[str], groups: list[str] | None = None) -> Path:
    """Write sounds, each 100 Hz above the one before, and their table."""
    lines = ["path,label" + (",group" if groups else "")]
    for i, label in enumerate(labels):
        sound(folder / f"{i}.wav", i, 100.0 * i)
        lines.append(f"{i}.wav,{label}" + (f",{groups[i]}" if groups else ""))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def labels_of(own: OwnTask) -> Any:
    return own.task.kind.read(own.data, own.task.labels)


def spectrum(audio: np.ndarray, sr: int) -> np.ndarray:
    return np.log1p(np.abs(np.fft.rfft(audio, 64))[:32])


def told(own: OwnTask) -> str:
    return "\n".join(own.notes)


def test_a_folder_per_class_is_measured_and_its_artists_stay_together(tmp_path: Path) -> None:
    for seed in range(36):
        name, artist = ("low", "mid", "high")[seed % 3], seed // 6
        sound(tmp_path / f"{name}/artist {artist}/{seed}.WAV", seed, 500.0 * (1 + seed % 3))
    sound(tmp_path / "loose.wav", 99)
    sound(tmp_path / "low/.hidden.wav", 98)
    (tmp_path / "low/notes.txt").write_text("no music")
    own = read_own("mine", tmp_path)
    assert labels_of(own).names == ("high", "low", "mid")
    assert len(own.data.clips) == 36
    assert len({*own.data.groups(("group",))}) == 6
    assert "left out: 1 files that are in no class's folder" in told(own)
    config = EvaluateConfig(
        tasks=("mine",), probes=("linear", "knn"), regimes=("100%",), seeds=2, own=(own,)
    )
    embedder = FunctionEmbedder(spectrum, "spectrum")
    report = evaluate([embedder], {}, tmp_path / "cache", config)
    first = report.results[0]
    assert (first.task, first.metric, first.chance) == ("mine", "accuracy", pytest.approx(1 / 3))
    assert (first.n_items, first.n_groups) == (36, 6)
    assert {r.probe for r in report.results} == {"linear", "knn"}
    assert first.low <= first.score == 1
    assert report.missing == []
    text = tables(report)
    assert text.startswith("## mine: 36 recordings in 6 groups\n\n| accuracy | spectrum |")
    assert "| chance | 33.3 |\n| linear | 100.0 [" in text
    assert "left out: 1 files" in render_page(report)
    assert "artist" not in {*report.partitions["mine"].values()}
    assert report.partitions["mine"]["separated"] == "group"


PLAIN = "path,label,group\na b.wav,x,one\nsub/c.wav,y,two\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace("sub/", "sub\\"),
        PLAIN.replace("path,label", " Path ,LABEL"),
        PLAIN.replace(",x,", ", x ,").replace(",y,", ',"y",'),
        PLAIN + ",,\n\n",
        "label,n,path,group\nx,1,a b.wav,one\ny,2,sub/c.wav,two\n",
    ],
)
def test_tables_are_read_as_spreadsheets_write_them(text: str, tmp_path: Path) -> None:
    lines = [f"{i}.wav" for i in range(12)]
    for i, name in enumerate(["a b.wav", "sub/c.wav", *lines]):
        sound(tmp_path / name, i)
    delimiter = next(x for x in ";\t," if x in text)
    end = "\r\n" if "\r" in text else "\n"
    columns = [
        name.strip().lower() for name in text.lstrip("\ufeff").split(end)[0].split(delimiter)
    ]
    for i, line in enumerate(lines):
        row = {"path": line, "label": "xy"[i % 2], "group": f"g{i}", "n": "0"}
        text += delimiter.join(row[name] for name in columns) + end
    (tmp_path / "my table.csv").write_bytes(text.encode())
    own = read_own("mine", tmp_path / "my table.csv")
    assert [clip.id for clip in own.data.clips][:3] == ["a b.wav", "sub/c.wav", "0.wav"]
    assert [labels_of(own).describe(i) for i in range(4)] == ["x", "y", "x", "y"]
    assert list(own.data.groups(("group",)))[:2] == ["group one", "group two"]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["rock", "jazz"], "classes"),
        (["1", "2", "3", "4", "5"], "classes"),
        (["1.0", "2.0"], "classes"),
        (["0.1", "2", "3"], "numbers"),
        ([str(n) for n in range(60, 180)], "numbers"),
        (["3", "4", "unknown"], "classes"),
        (["a|b", "a"], "tags"),
        (["1|2", "1"], "tags"),
    ],
)
def test_the_kind_of_labels_shows_in_them(labels: list[str], kind: str) -> None:
    assert guess_kind(labels)[0] == kind


def test_one_number_in_two_spellings_is_one_class(tmp_path: Path) -> None:
    own = read_own("mine", table(tmp_path, ["1", "1.0", "2", "2", "+1", "2.00"] * 2))
    assert {*own.data.columns["label"]} == {"1", "2"} and own.task.kind is Multiclass
    assert "labels that are the same number are one: +1 as 1, 1.0 as 1, 2.00 as 2." in own.notes
    folder = tmp_path / "folders"
    for i in range(12):
        sound(folder / ("1", "1.0", "10")[i % 3] / f"{i}.wav", i, 100.0 * i)
    assert {*read_own("mine", folder).data.columns["label"]} == {"1", "10"}


@pytest.mark.parametrize("labels", [["1.5", "2", "3.25"], ["1", "2", "3"]])
def test_labels_that_are_no_finite_numbers_are_left_out_of_numbers(
    labels: list[str], tmp_path: Path
) -> None:
    place = table(tmp_path, [*labels * 5, "nan", "-inf"])
    own = read_own("mine", place)
    assert len(own.data.clips) == 15
    assert "left out: 2 files have no finite number for a label: 15.wav (nan), 16.wav (-inf)." in (
        own.notes
    )
    assert len(read_own("mine", place, "numbers").data.clips) == 15
    text = read_own("mine", table(tmp_path / "text", ["nan", "inf", "rock"] * 5))
    assert {*text.data.columns["label"]} == {"nan", "inf", "rock"}  # of artists, say


@pytest.mark.parametrize("more", ["", "|live"])
def test_labels_that_differ_in_case_are_told(more: str, tmp_path: Path) -> None:
    labels = [f"{name}{more}" for name in ("rock", "Rock", "ROCK", "jazz")]
    own = read_own("mine", table(tmp_path, [*labels * 6, *["pop"] * 6]))
    assert "told apart, but for case the same: 'ROCK' and 'Rock' and 'rock'." in own.notes
    assert {"rock", "Rock", "ROCK"} < {*labels_of(own).names}
    other = read_own("mine", table(tmp_path / "other", [*labels[2:] * 6, *["pop"] * 6]))
    assert "for case" not in told(other)


@pytest.mark.parametrize("disk", ["NFC", "NFD"])
def test_names_and_labels_in_either_unicode_form(disk: Any, tmp_path: Path) -> None:
    file = sound(tmp_path / normalize(disk, "Dvořák") / normalize(disk, "é.wav"), 1)
    for form in ("NFC", "NFD"):
        lines = normalize(form, "path,label\nDvořák/é.wav,größe\n")
        (tmp_path / "labels.csv").write_text(lines, encoding="utf-8")
        (item,), _ = read_labeled(tmp_path)
        assert item.path == file and item.label == normalize("NFC", "größe")
    lines = "path,label\nDvořák/é.wav,a\n" + normalize("NFD", "Dvořák/../Dvořák/é.wav,b\n")
    (tmp_path / "labels.csv").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match="is on line 2 and on line 3"):
        read_labeled(tmp_path)
    classes = tmp_path / "classes"
    for i, form in enumerate(("NFC", "NFD")):
        sound(classes / normalize(form, "größe") / normalize(form, "é") / f"{i}.wav", i)
    items, _ = read_labeled(classes)
    assert {(item.label, item.group) for item in items} == {
        (normalize("NFC", "größe"), normalize("NFC", "é"))
    }


def test_home_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    file = sound(tmp_path / "music" / "a.wav", 1)
    (tmp_path / "t.csv").write_text("path,label\n~/music/a.wav,x\n~nobody-/b.wav,y\n")
    (item,), notes = read_labeled(Path("~/t.csv"))
    assert item.path == file and "~nobody-/b.wav (no such file)" in notes[0]


def test_numbers_can_be_classes_or_numbers_as_one_says(tmp_path: Path) -> None:
    table(tmp_path, [str(1 + i % 5) for i in range(20)])
    own = read_own("mine", tmp_path)
    assert own.task.kind is Multiclass
    assert "read as 5 classes, which happen to be called by numbers; --labels mine=KIND" in told(
        own
    )
    own = read_own("mine", tmp_path, "numbers")
    assert own.task.kind is Regression
    assert labels_of(own).y[:3, 0].tolist() == [1, 2, 3]


def test_tags_are_joined_and_rare_ones_left_out(tmp_path: Path) -> None:
    rows = ["mood:happy|live", "live | mood:sad", "mood:happy", "|"] * 5
    table(tmp_path, [*rows, "solo"])
    own = read_own("mine", tmp_path)
    assert own.task.kind is Multilabel
    found = labels_of(own)
    assert found.names == ("live", "mood:happy", "mood:sad")
    assert found.y[:4].tolist() == [[1, 1, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert "left out: 'solo': on fewer than 5 recordings" in told(own)


def test_what_cannot_be_used_is_left_out_and_named(tmp_path: Path) -> None:
    table(tmp_path, ["x", "y"] * 8)
    lines = (tmp_path / "labels.csv").read_text()
    (tmp_path / "broken.wav").write_bytes(b"nothing that sounds")
    (tmp_path / "empty.wav").write_bytes(b"")
    sound(tmp_path / "no label.wav", 77)
    lines += "gone.wav,x\nbroken.wav,x\nempty.wav,y\nno label.wav,\n"
    (tmp_path / "labels.csv").write_text(lines)
    own = read_own("mine", tmp_path)
    assert len(own.data.clips) == 16
    assert "left out: 1 file has no label: no label.wav." in told(own)
    assert "left out: 3 files cannot be read: gone.wav (no such file); broken.wav (" in told(own)


def test_a_path_too_long_for_any_file_is_named(tmp_path: Path) -> None:
    folder = table(tmp_path, ["x", "y"] * 6)
    with (folder / "labels.csv").open("a") as file:
        file.write(f"a\\{'b' * 300}.wav,x\n")
    assert re.search(
        "1 file cannot be read: a/b+.wav .no such file", told(read_own("mine", folder))
    )


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    for n in range(12):
        sound(tmp_path / "mine" / "ab"[n % 2] / f"{n}.wav", n)
    sound(tmp_path / "album/c.wav", 12)
    (tmp_path / "mine/a/again").symlink_to("..")
    (tmp_path / "mine/a/other").symlink_to("../b")
    (tmp_path / "mine/b/first").symlink_to("../a")
    for name in "ab":
        (tmp_path / f"mine/{name}/album").symlink_to(tmp_path / "album")
    ids = [item.id for item in read_labeled(tmp_path / "mine")[0]]
    assert len(ids) == 12 + 2 + 2 * 7  # the albums, and what each class links to
    assert {"a/album/c.wav", "b/first/album/c.wav"} <= {*ids}


def test_copies_of_a_file_are_never_on_both_sides(tmp_path: Path) -> None:
    table(tmp_path, ["x", "y"] * 8, [f"g{i}" for i in range(16)])
    for source, copy in (("0.wav", "20.wav"), ("20.wav", "21.wav"), ("5.wav", "22.wav")):
        shutil.copy(tmp_path / source, tmp_path / copy)
    more = "20.wav,x,h0\n21.wav,x,g4\n22.wav,x,h2\n"
    (tmp_path / "labels.csv").write_text((tmp_path / "labels.csv").read_text() + more)
    own = read_own("mine", tmp_path)
    groups = dict(zip([c.id for c in own.data.clips], own.data.groups(("group",)), strict=True))
    assert groups["0.wav"] == groups["20.wav"] == groups["21.wav"] == groups["4.wav"]
    assert groups["5.wav"] == groups["22.wav"]
    assert len({*groups.values()}) == 15
    assert "the same file twice, kept on one side of every split: 0.wav = 20.wav" in told(own)
    assert "the same file with different labels: 5.wav." in told(own)


def piece(seed: int, rate: int = 22_050, seconds: float = 3.0) -> np.ndarray:
    """Return something like music: notes with partials, one after the other, and some noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate / 6)) / rate
    notes = []
    for _ in range(6):
        pitch, phases = 110 * 2 ** (rng.integers(36) / 12), rng.uniform(0, 6, 8)
        partials = [np.sin(2 * np.pi * pitch * (k + 1) * t + phases[k]) / (k + 1) for k in range(8)]
        notes.append(np.sum(partials, axis=0) * np.exp(-3 * t))
    audio = np.concatenate(notes)
    return 0.2 * audio + 0.002 * rng.standard_normal(len(audio))


def encoded(folder: Path, count: int, kinds: list[str]) -> None:
    """Write pieces in several encodings each, and their table with labels that mean nothing."""
    rng, lines = np.random.default_rng(0), ["path,label,group,part"]
    for n in range(count):
        label = "xy"[rng.integers(2)]
        for i, kind in enumerate(kinds):
            name, subtype = kind.split(":")
            sf.write(folder / f"{n}{name}", piece(n), 22_050, subtype=subtype)
            lines.append(f"{n}{name},{label},{n} {i},{'train' if i < 1 else 'test'}")
    (folder / "split.csv").write_text("\n".join(lines))
    (folder / "labels.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))


def test_other_encodings_of_a_recording_are_never_on_both_sides(tmp_path: Path) -> None:
    encoded(tmp_path, 8, ["a.wav:PCM_16", "b.wav:PCM_24", "c.flac:PCM_16", "d.ogg:VORBIS"])
    own = read_own("mine", tmp_path)
    groups = dict(zip([c.id for c in own.data.clips], own.data.groups(("group",)), strict=True))
    assert len({*groups.values()}) == 8
    assert groups["3a.wav"] == groups["3b.wav"] == groups["3c.flac"] == groups["3d.ogg"]
    what = "the same recording in other encodings, kept on one side of every split: 0a.wav = 0b.wav"
    assert what in told(own) and "and 5 more." in told(own)
    with pytest.raises(LeakError, match=r"0a.wav has the part train, and 0b.wav .* a copy of it"):
        read_own("mine", tmp_path / "split.csv")
    (tmp_path / "labels.csv").write_text(
        (tmp_path / "labels.csv")
        .read_text()
        .replace("0b.wav,x", "0b.wav,z")
        .replace("0b.wav,y", "0b.wav,z")
    )
    assert "encodings of one recording with different labels: 0a.wav." in told(
        read_own("mine", tmp_path)
    )


def drum(seed: int) -> np.ndarray:
    """Return a hit of one machine: its settings, and the noise of its beginning, vary."""
    rng, t = np.random.default_rng(seed), np.arange(11_025) / 22_050
    hertz = rng.uniform(48, 56) + rng.uniform(90, 130) * np.exp(-t * rng.uniform(25, 35))
    tone = 0.6 * np.sin(2 * np.pi * np.cumsum(hertz) / 22_050) * np.exp(-t * rng.uniform(7, 9))
    return tone + 0.05 * rng.standard_normal(len(t)) * np.exp(-200 * t)


@pytest.mark.parametrize(
    "sound_of",
    [
        drum,
        lambda seed: 0.3 * np.random.default_rng(seed).standard_normal(4000),
        lambda seed: piece(seed, seconds=6.0)[:22_050],  # single notes, some of one pitch
        lambda seed: 1e-4 * np.random.default_rng(seed).standard_normal(4000),
        lambda seed: np.eye(1, 400, 5).ravel() * (0.3 + seed / 100),
        lambda seed: (0.05 + seed / 60) * piece(1),  # harder and softer
    ],
    ids=["drums", "noise", "notes", "silence", "clicks", "levels"],
)
def test_sounds_that_are_alike_are_no_copies(
    sound_of: Callable[[int], np.ndarray], tmp_path: Path
) -> None:
    files = [tmp_path / f"{n}.wav" for n in range(30)]
    for n, file in enumerate(files):
        sf.write(file, sound_of(n), 22_050)
    assert find_copies(files) == []
    sf.write(tmp_path / "again.flac", sound_of(4), 22_050)
    is_heard = np.abs(sound_of(4)).max() > 1e-3 and len(sound_of(4)) > 400
    assert find_copies([*files, tmp_path / "again.flac"]) == ([[4, 30]] if is_heard else [])


def test_a_split_of_ones_own_is_kept_and_may_not_leak(tmp_path: Path) -> None:
    table(tmp_path, ["x", "y"] * 10)
    rows = (tmp_path / "labels.csv").read_text().splitlines()
    parts = ["part", *["train"] * 12, *["Test"] * 7, ""]
    lines = [f"{row},{part}" for row, part in zip(rows, parts, strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    own = read_own("mine", tmp_path)
    assert "1 file has no part: 19.wav" in told(own)
    config = EvaluateConfig(
        tasks=("mine",), probes=("linear",), regimes=("100%",), seeds=1, own=(own,)
    )
    embedder = FunctionEmbedder(spectrum, "spectrum")
    report = evaluate([embedder], {}, tmp_path / "cache", config)
    assert report.results[0].n_items == 7
    shutil.copy(tmp_path / "0.wav", tmp_path / "15.wav")
    with pytest.raises(LeakError, match=r"0.wav has the part train, and 15.wav .* test: the score"):
        read_own("mine", tmp_path)  # before anything is embedded


def test_groups_of_a_split_of_ones_own_may_not_leak(tmp_path: Path) -> None:
    table(tmp_path, ["x", "y"] * 10, [f"g{i // 2}" for i in range(20)])
    rows = (tmp_path / "labels.csv").read_text().splitlines()
    parts = ["part", *["train"] * 11, *["test"] * 9]
    lines = [f"{row},{part}" for row, part in zip(rows, parts, strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(LeakError, match=r"10.wav has the part train, and 11.wav of the same group"):
        read_own("mine", tmp_path)


def write(text: str) -> Callable[[Path], None]:
    return lambda folder: [table(folder, ["x"] * 12), (folder / "labels.csv").write_text(text)][0]


ROWS = "".join(f"{i}.wav,{{}}\n" for i in range(12))


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda folder: table(folder, ["x"] * 12), "auto", "all 12 recordings have the label 'x'"),
        (lambda folder: table(folder, ["x", "y"]), "auto", "2 labeled recordings in 2 groups"),
        (lambda folder: table(folder, list("ab" * 6), ["g"] * 12), "auto", "12 .* in 1 groups"),
        (lambda folder: table(folder, list("abcdefghijkl")), "auto", "12 different labels in 12"),
        (lambda folder: table(folder, [*"123456789", "3,5"]), "numbers", "line 11: 3 values for 2"),
        (lambda folder: table(folder, ["a", "2"] * 6), "numbers", "6 labels are no finite numbers"),
        (lambda folder: table(folder, ["nan"] * 12), "numbers", "'nan' of 0.wav"),
        (lambda folder: table(folder, ["2"] * 12), "numbers", "all recordings have the number 2"),
        (
            lambda folder: table(folder, ["a|b"] * 12),
            "auto",
            "no tag is on 5 .* there are 'a', 'b'",
        ),
        (
            lambda folder: table(folder, ["a", "b"] * 6),
            "genre",
            "kind of labels 'genre' is unknown",
        ),
        (write("file,label\n" + ROWS), "auto", "no column 'path'"),
        (write("path,genre\n" + ROWS), "auto", "first line is 'path,genre'; .* no column 'label'"),
        (write(ROWS), "auto", "the first line is '0.wav"),
        (write(""), "auto", "the first line is ''"),
        (write("path,label," + "a" * 200_000), "auto", "first line has 200,011 characters"),
        (write("path,label\n"), "auto", "no rows below the first line"),
        (write("path,label,label\n" + ROWS), "auto", "two columns 'label'"),
        (write("path,label\n,x\n"), "auto", "line 2: there is no path"),
        (write("path,label\n0.wav,x\n0.wav,y\n"), "auto", "on line 2 and on line 3. Tags of one"),
        (write("path,label\n0.wav,x,y\n"), "auto", "line 2: 3 values for 2 columns"),
        (write('path,label\n"0.wav,x\n'), "auto", "labels.csv, line 2: unexpected end"),
        (write("path,label,part\n0.wav,x,left\n"), "auto", "part 'left' is none of train"),
        (write("path,label\nC:\\Music\\a.wav,x\n"), "auto", r"C:/Music/a.wav \(no such file\)"),
        (write("path,label\n" + ROWS.format(*[""] * 12)), "auto", "no recording has a label"),
        (lambda folder: (folder / "x").mkdir(), "auto", "no subfolder holds a sound file"),
        (
            lambda folder: sound(folder / "train/a.wav", 0),
            "auto",
            "are train: a split, not classes",
        ),
        (lambda folder: (folder / "data.csv").write_text(""), "auto", "holds data.csv: call it"),
        (lambda folder: folder.rmdir(), "auto", "no such folder or table"),
    ],
)
def test_labels_that_make_no_sense_are_told_apart(
    make: Callable[[Path], object], kind: str, message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    make(folder)
    with pytest.raises((ConfigError, DataError), match=message):
        read_own("mine", folder, kind)


def test_a_table_in_another_encoding_and_names_that_are_taken_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("path,label\nä.wav,x\n".encode("latin-1"))
    with pytest.raises(DataError, match="Save it as CSV in UTF-8"):
        read_own("mine", tmp_path)
    for name in ("genre", "emotify", "mean", "../mine", "", ".cache"):
        with pytest.raises(ConfigError, match="cannot be the name of labels of your own"):
            read_own(name, tmp_path)


def test_a_table_may_be_as_spreadsheets_write_it(tmp_path: Path) -> None:
    place = table(tmp_path, ["a", "b"] * 6)
    text = (tmp_path / "labels.csv").read_text("utf-8")
    plain = read_own("mine", place).data.clips
    (tmp_path / "labels.csv").write_bytes(("sep=;\n" + text.replace(",", ";")).encode("utf-16"))
    assert read_own("mine", place).data.clips == plain


def test_classes_of_one_recording_are_told(tmp_path: Path) -> None:
    own = read_own("mine", table(tmp_path, ["x", "y"] * 8 + ["z"]))
    assert labels_of(own).names == ("x", "y", "z")
    assert "'z': in one group only, so never trained on when it is tested" in told(own)


@pytest.mark.parametrize("kind", ["classes", "numbers", "tags"])
def test_shuffled_labels_are_measured_at_chance(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    groups = [f"g{i // 3}" for i in range(120)]
    labels = {
        "classes": lambda n: f"class {n % 3}",
        "numbers": lambda n: f"{n / 7:.3f}",
        "tags": lambda n: "|".join(["t", *["a"] * (n % 2), *["b"] * (n % 3 == 0)]),
    }[kind]
    own = read_own("mine", table(tmp_path, [labels(n) for n in range(120)], groups))
    whole, ids = labels_of(own), [clip.id for clip in own.data.clips]
    by_group = own.data.groups(("group",))

    def measured(truth: Any, x: np.ndarray) -> Any:
        metrics = own.task.metrics[:1]
        task = make_instance("mine", metrics, ids, truth, by_group, None, range(1))
        ((result, _),) = measure(x.astype(np.float32), task, "model", "linear", FULL)
        return result

    found = [
        measured(whole.take(rng.permutation(120)), rng.standard_normal((120, 12))) for _ in range(6)
    ]
    assert sum(result.low <= result.chance for result in found) >= 5
    if kind != "numbers":  # what is fitted to noise has an R² a little below that of the mean
        assert sum(result.high >= result.chance for result in found) >= 4
    names = whole.targets.shape[1]
    shown = measured(whole, whole.targets @ rng.standard_normal((names, 12)))
    assert shown.low > shown.chance  # the same labels, where the values tell them


def test_an_encoder_is_fine_tuned_on_them(tmp_path: Path) -> None:
    own = read_own("mine", table(tmp_path, [f"{n}.5" for n in range(12)]))
    torch.manual_seed(0)
    config = DilatedConfig(dim=16, inner=16, pitch_channels=(2, 3), mel_channels=8, dilations=(1,))
    model = MusicEncoder(ModelConfig(encoder=config)).eval()
    settings = EvaluateConfig(
        tasks=("mine",),
        probes=("linear",),
        regimes=("100%",),
        seeds=1,
        own=(own,),
        fine_tune=FineTuneConfig(steps=2, batch=4, seconds=0.1, checks=1),
    )
    report = evaluate([ModelEmbedder(model, "tiny")], {}, tmp_path / "cache", settings)
    assert {(r.probe, r.metric) for r in report.results} == {
        (probe, metric) for probe in ("linear", FINE_TUNED) for metric in ("r2", "pearson_r")
    }
    assert f"| {FINE_TUNED} |" in tables(report)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "music", tmp_path / "out"
    table(folder, ["1", "2", "3", "4"] * 5)
    (tmp_path / "arrays").mkdir()
    for n in range(20):
        np.save(tmp_path / f"arrays/{n}.wav.npy", np.random.default_rng(n).standard_normal(8))
    call = ["evaluate", str(tmp_path / "arrays"), "-o", str(out), "--no-baselines"]
    call += ["--map", "none", "--probe", "linear", "--seeds", "2"]
    assert main([*call, "--at", f"mine={folder}", "--labels", "mine=numbers"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("## mine: 20 recordings in 20 groups\n\n| R² | arrays |")
    assert "Not measured" not in printed
    assert "10%" not in (out / "results.md").read_text("utf-8")  # unless it is asked for
    assert main([*call, "--at", f"mine={folder}", "--labels", "min=numbers"]) == 2
    assert "Did you mean 'mine'" in capsys.readouterr().err
    assert main([*call, "--at", f"mine={folder}", "--at", f"mine={out}"]) == 2
    assert "the same name twice" in capsys.readouterr().err
    assert main([*call, "--at", f"mine={tmp_path / 'gone'}"]) == 2
    assert "no such folder or table" in capsys.readouterr().err
    assert main([*call, "--at", f"mine={folder}", "--task", "mint"]) == 2
    assert "Did you mean 'mine'" in capsys.readouterr().err
