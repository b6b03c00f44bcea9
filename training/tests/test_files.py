"""Folders of any audio: excerpts equal those of the whole files, a manifest says what there is."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicssl.errors import AudioError, ConfigError
from musicssl_training.cli import main
from musicssl_training.corpus import decode, open_sources
from musicssl_training.corpus.files import Files, write_manifest

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


@pytest.mark.parametrize("path", ["rock/a.flac", "rock/b.ogg", "c.wav", "d.mp3"])
def test_excerpts_are_those_of_the_whole_file(folder: Path, path: str) -> None:
    files = Files.open(folder, RATE)
    item = [row["path"] for row in files.items].index(path)
    whole = decode(folder / path, RATE)
    for start in (0, 1, 30_001, len(whole) - 20_000):
        part = files.excerpt(item, start, 20_000)
        np.testing.assert_allclose(part, whole[start : start + 20_000], atol=2e-3)


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


def test_digests_follow_the_bytes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", music(RATE, 1), RATE)
    write_manifest(tmp_path)
    first = Files.open(tmp_path, RATE).digest()
    soundfile.write(tmp_path / "a.wav", music(RATE, 1, 5), RATE)
    write_manifest(tmp_path)
    assert Files.open(tmp_path, RATE).digest() != first


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
