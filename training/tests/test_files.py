"""Folders of any audio: excerpts equal those of the whole files, a manifest says what there is."""

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicssl.errors import AudioError, ConfigError, OutputError
from musicssl_training.cli.main import main
from musicssl_training.data import decode, open_sources
from musicssl_training.data import folder as files_module
from musicssl_training.data.folder import Files, leave_out, write_manifest

RATE = 22_050


def music(rate: int, seconds: float, seed: int = 0) -> np.ndarray:
    t = np.arange(round(rate * seconds)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return 0.3 * np.sin(2 * np.pi * 440 * t) * np.sin(2 * np.pi * t) + 0.01 * noise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("music")
    (root / "rock").mkdir()
    soundfile.write(root / "rock" / "a.flac", music(44_100, 6), 44_100)
    soundfile.write(root / "rock" / "b.ogg", music(48_000, 6, 1), 48_000)
    soundfile.write(root / "c.wav", music(RATE, 6, 2), RATE)
    soundfile.write(root / "d.mp3", np.stack([music(32_000, 6, 3)] * 2, 1), 32_000)
    (root / "copy.wav").write_bytes((root / "c.wav").read_bytes())
    (root / "notes.txt").write_text("no music")
    (root / "broken.flac").write_bytes(b"fLaC and no more")
    (root / ".hidden.wav").write_bytes((root / "c.wav").read_bytes())
    write_manifest(root)
    return root


def test_a_manifest_says_what_there_is(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = write_manifest(folder, jobs=3)
    assert (found.files, found.broken, found.duplicates) == (4, 1, 1)
    assert found.hours == pytest.approx(24 / 3600, rel=0.02)
    assert "broken.flac" in caplog.text
    assert "copy.wav is c.wav once more" in caplog.text
    items = {item["path"]: item for item in Files.open(folder, RATE).items}
    assert list(items) == ["c.wav", "d.mp3", "rock/a.flac", "rock/b.ogg"]
    assert items["rock/a.flac"]["source"] == items["rock/a.flac"]["group"] == "rock"
    assert items["rock/b.ogg"]["samples"] == 6 * RATE
    assert items["d.mp3"]["channels"] == 2


def same_everywhere(files: Files, item: int) -> None:
    whole = decode(files.root / files.items[item]["path"], RATE)
    for start in (0, 1, 30_001, len(whole) - 20_000):
        part = files.excerpt(item, start, 20_000)
        np.testing.assert_allclose(part, whole[start : start + 20_000], atol=1e-4)


@pytest.mark.parametrize("path", ["rock/a.flac", "rock/b.ogg", "c.wav", "d.mp3"])
def test_excerpts_are_those_of_the_whole_file(folder: Path, path: str) -> None:
    files = Files.open(folder, RATE)
    same_everywhere(files, [row["path"] for row in files.items].index(path))


@pytest.mark.parametrize(
    ("name", "rate", "subtype"),
    [("a.opus", 48_000, "OPUS"), ("a.wav", 44_101, "PCM_16"), ("a.flac", 8_000, "PCM_16")],
)
def test_excerpts_of_other_codecs_and_rates(
    tmp_path: Path, name: str, rate: int, subtype: str
) -> None:
    container = {"a.opus": "OGG", "a.wav": "WAV", "a.flac": "FLAC"}[name]
    audio = music(rate, 4)
    soundfile.write(tmp_path / name, audio, rate, format=container, subtype=subtype)
    write_manifest(tmp_path)
    same_everywhere(Files.open(tmp_path, RATE), 0)


def test_excerpts_that_libsndfile_cannot_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise soundfile.LibsndfileError(1)

    monkeypatch.setattr(files_module, "_stretch", refuse)
    same_everywhere(Files.open(folder, RATE), 2)


def test_threads_read_the_same_excerpts(folder: Path) -> None:
    files = Files.open(folder, RATE)
    places = [(item, start) for item in range(4) for start in (0, 700, 50_000)] * 3
    alone = [files.excerpt(*place, 9_000) for place in places]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda place: files.excerpt(*place, 9_000), places))
    np.testing.assert_array_equal(alone, together)


def test_excerpts_are_finite_and_in_range(tmp_path: Path) -> None:
    audio = 5 * music(RATE, 3)
    audio[40_000] = np.nan
    soundfile.write(tmp_path / "a.wav", audio, RATE, subtype="FLOAT")
    write_manifest(tmp_path)
    files = Files.open(tmp_path, RATE)
    assert np.abs(files.excerpt(0, 0, 30_000)).max() == 1
    with pytest.raises(AudioError, match=r"a\.wav: NaN or infinite"):
        files.excerpt(0, 30_000, 20_000)


def test_unchanged_files_are_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "manifest.jsonl").read_text()
    read: list[Path] = []
    real = Path.open

    def spy(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        read.append(self)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", spy)
    write_manifest(folder)
    assert not [path for path in read if path.name in ("a.flac", "b.ogg", "c.wav")]
    assert (folder / "manifest.jsonl").read_text() == before


def test_an_index_chooses_and_describes(folder: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    index.write_text("path,licence,group\nrock/a.flac,CC0,band\n")
    found = write_manifest(folder, tmp_path / "some.jsonl", index)
    assert found.files == 1
    files = Files.open(tmp_path / "some.jsonl", RATE)
    row = files.items[0]
    assert (row["source"], row["licence"], row["group"]) == ("rock", "CC0", "band")
    assert files.excerpt(0, 0, 100).shape == (100,)
    (tmp_path / "bad.csv").write_text("name\nx\n")
    with pytest.raises(ConfigError, match="no column 'path'"):
        write_manifest(folder, tmp_path / "x.jsonl", tmp_path / "bad.csv")


def test_files_that_changed_are_audio_errors(folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", music(RATE, 3), RATE)
    write_manifest(tmp_path)
    files = Files.open(tmp_path, RATE)
    soundfile.write(tmp_path / "a.wav", music(RATE, 1), RATE)
    with pytest.raises(AudioError, match="ends before what its manifest says"):
        files.excerpt(0, 2 * RATE, 1000)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(AudioError):
        files.excerpt(0, 0, 1000)


def test_digests_follow_the_bytes_and_nothing_else(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there):
        place.mkdir()
        soundfile.write(place / "a.wav", music(RATE, 1), RATE)
        write_manifest(place)
    first = Files.open(here, RATE).digest()
    os.utime(there / "a.wav", (1, 1))
    write_manifest(there, tmp_path / "new" / "there.jsonl")
    assert Files.open(tmp_path / "new" / "there.jsonl", RATE).digest() == first
    soundfile.write(here / "a.wav", music(RATE, 1, 5), RATE)
    write_manifest(here)
    assert Files.open(here, RATE).digest() != first


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_manifest_goes_on_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    for number in range(6):
        soundfile.write(tmp_path / f"{number}.wav", music(RATE, 0.5, number), RATE)
    real, read = files_module.open_source, []

    def stops(file: Path, **rate: int):  # type: ignore[no-untyped-def]
        if file.name == "4.wav":
            raise KeyboardInterrupt
        read.append(file.name)
        return real(file, **rate)

    monkeypatch.setattr(files_module, "open_source", stops)
    with pytest.raises(KeyboardInterrupt):
        write_manifest(tmp_path, jobs=jobs)
    assert not (tmp_path / "manifest.jsonl").exists()
    assert {"0.wav", "3.wav"} <= set(read)

    def goes(file: Path, **rate: int):  # type: ignore[no-untyped-def]
        read.append(file.name)
        return real(file, **rate)

    read.clear()
    monkeypatch.setattr(files_module, "open_source", goes)
    assert write_manifest(tmp_path, jobs=jobs).files == 6
    assert sorted(read) == ["4.wav", "5.wav"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".wav") == [
        "manifest.jsonl"
    ]


def test_files_that_vanish_meanwhile_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", music(RATE, 1), RATE)
    monkeypatch.setattr(files_module, "_files", lambda root: iter(["a.wav", "gone.wav"]))
    found = write_manifest(tmp_path)
    assert (found.files, found.broken) == (1, 1)


def test_rows_are_left_out_by_any_column(folder: Path, tmp_path: Path) -> None:
    rows = [{"path": "a", "licence": "GPL-2.0"}, {"path": "b", "licence": "CC0"}]
    assert leave_out(rows, []) == rows
    assert leave_out(rows, ["licence=*GPL*"]) == rows[1:]
    assert leave_out(rows, ["licence=*gpl*"]) == rows
    assert leave_out(rows, ["licence=*GPL*", "path=b"]) == []
    with pytest.raises(ConfigError, match="is not COLUMN=PATTERN"):
        leave_out(rows, ["licence"])
    with pytest.raises(ConfigError, match="no column 'genre'"):
        leave_out(rows, ["genre=x"])
    index = tmp_path / "index.csv"
    index.write_text("path,genre\nrock/a.flac,rock\nc.wav,noise\n")
    found = write_manifest(folder, tmp_path / "some.jsonl", index, without=["genre=noise"])
    assert found.files == 1
    found = write_manifest(folder, tmp_path / "some.jsonl", without=["source=rock"])
    assert [row["path"] for row in Files.open(tmp_path / "some.jsonl", RATE).items] == [
        "c.wav",
        "d.mp3",
    ]


def test_an_index_that_names_absent_files(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "index.csv").write_text("path\nrock/a.flac\nrock/z.flac\n")
    with caplog.at_level(logging.WARNING):
        write_manifest(folder, tmp_path / "some.jsonl", tmp_path / "index.csv")
    assert "1 files of" in caplog.text
    assert "rock/z.flac" in caplog.text


def test_manifests_that_cannot_be_written_or_are_damaged(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write to .*\.jsonl: .*; choose another --out"):
        write_manifest(folder, tmp_path / "file" / "manifest.jsonl")
    lines = (folder / "manifest.jsonl").read_text()
    (tmp_path / "cut.jsonl").write_text(lines[:-20])
    with pytest.raises(ConfigError, match="is no manifest"):
        Files.open(tmp_path / "cut.jsonl", RATE)
    (tmp_path / "bare.jsonl").write_text('{"root": "."}\n{"path": "a.wav"}\n')
    with pytest.raises(ConfigError, match="a line has no 'sha256'"):
        Files.open(tmp_path / "bare.jsonl", RATE)


def test_folders_without_audio_or_manifest(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="run `musicssl-train manifest"):
        open_sources([str(tmp_path)], RATE)
    with pytest.raises(ConfigError, match="holds no audio that can be read; 0 files"):
        write_manifest(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        write_manifest(tmp_path / "nowhere")
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"x": 1}))
    with pytest.raises(ConfigError, match="is no manifest"):
        open_sources([str(tmp_path)], RATE)
    assert main(["manifest", str(folder)]) == 0
    assert "4 files" in capsys.readouterr().err
    assert main(["exercises", str(tmp_path / "ex"), "--count", "3"]) == 0
    assert len(list((tmp_path / "ex" / "exercises").glob("*.mid"))) == 3
