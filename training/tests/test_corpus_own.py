"""What is in a corpus's folder and not this command's stays as it is."""

import json
import os
import shutil
from pathlib import Path

import pytest
from corpus_sources import song

from musicssl_training.cli.main import main

SOURCE = """
[[source]]
name = "mine"
kind = "folder"
path = "songs"
what = "songs"
include = ["**/*.wav"]
licence = "CC0-1.0"
note = "mine"
"""


def recipe(folder: Path, path: str = "songs") -> Path:
    """A recipe of one folder, in which there is one song."""
    (folder / "songs").mkdir(exist_ok=True)
    (folder / "songs" / "a.wav").write_bytes(song(1, 4))
    (folder / "mine.toml").write_text(SOURCE.replace('"songs"', f'"{path}"', 1))
    return folder / "mine.toml"


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize(
    "name", ["music/mine/precious.wav", "index.csv", "left-out.csv", "pack/index.jsonl", "a.txt"]
)
def test_a_folder_that_is_no_corpus_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_bytes(b"of the user")
    assert main(["corpus", str(recipe(tmp_path)), str(out), "--no-pack"]) == 2
    error = capsys.readouterr().err
    assert f"{out} is neither empty nor a corpus that this command has written: it holds" in error
    assert contents(out) == {name: b"of the user"}


@pytest.mark.parametrize("path", ["out/music/mine", "out", "songs/../out/x"])
def test_a_source_in_the_folder_of_the_corpus_is_refused(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["corpus", str(recipe(tmp_path)), str(out), "--no-pack"]
    assert main(command) == 0  # so that it is a corpus
    (tmp_path / path).mkdir(exist_ok=True)
    (tmp_path / path / "MY_SESSION.als").write_bytes(b"hours of work")
    before = contents(out)
    recipe(tmp_path, path)
    assert main(command) == 2
    assert "is in " in capsys.readouterr().err
    assert contents(out) == before


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ["music/mine/precious.wav", "evidence/mine/letter.txt"])
def test_files_of_the_user_among_those_of_a_source_stay(
    name: str, old: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = recipe(tmp_path), tmp_path / "out"
    command = ["corpus", str(file), str(out), "--no-pack"]
    assert main(command) == 0
    if old:
        (out / ".corpus" / "mine.written").unlink()
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(b"of the user")
    (tmp_path / "songs" / "b.wav").write_bytes(song(2, 4))  # so the source is taken anew
    before = contents(out / "music") | contents(out / "evidence")
    assert main(command) == 2  # it is the only source
    assert contents(out / "music") | contents(out / "evidence") == before
    said = (out / "left-out.csv").read_text()
    assert "1 files in its place were not written by this command, such as" in said
    (out / name).unlink()
    assert main(command) == 0
    assert set(contents(out / "music")) == {"mine/a.wav", "mine/b.wav"}


@pytest.mark.parametrize("table", ["index.csv", "left-out.csv"])
def test_a_table_of_the_user_stays(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["corpus", str(recipe(tmp_path)), str(tmp_path / "out"), "--no-pack"]
    assert main(command) == 0
    (tmp_path / "out" / table).write_text("path,licence\nx.wav,CC0\n")
    before = contents(tmp_path / "out")
    assert main(command) == 2
    assert f"{table} was not written by this command" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


def test_corpora_made_before_files_were_written_down_are_gone_on_with(tmp_path: Path) -> None:
    for stem, seed in {"a": 1, "b": 2, "VOX": 3}.items():
        (tmp_path / "songs" / "x").mkdir(parents=True, exist_ok=True)
        (tmp_path / "songs" / "x" / f"{stem}.wav").write_bytes(song(seed, 4))
    (tmp_path / "songs" / "LICENSE of mine").write_bytes(b"CC0")
    (tmp_path / "songs" / "broken.wav").write_bytes(b"RIFF")
    file = recipe(tmp_path)
    rule = '[[source.stems]]\nnames = ["VOX*"]\nfamily = "voice"\n'
    more = 'evidence = ["LICENSE*"]\nadd = ["{b,VOX}.wav"]\nwithout = ["voice"]\n'
    file.write_text(file.read_text() + more + rule)
    command = ["corpus", str(file), str(tmp_path / "out"), "--no-pack"]
    assert main(command) == 1  # one is broken
    shutil.copytree(tmp_path / "out", tmp_path / "stateless")
    assert main(command) == 1
    for out in (tmp_path / "out", tmp_path / "stateless"):
        (out / ".corpus" / "mine.written").unlink()
    (tmp_path / "stateless" / ".corpus" / "mine.json").unlink()  # as where files were missing
    (tmp_path / "songs" / "a.wav").unlink()
    for out in (tmp_path / "out", tmp_path / "stateless"):
        assert main([*command[:2], str(out), "--no-pack"]) == 1
        mixes = {"mix.flac", "mix.stems.json", "mix-without-voice.flac"}
        mixes |= {"mix-without-voice.stems.json"}
        songs = {"a.wav", "b.wav", "VOX.wav"} | mixes
        assert set(contents(out / "music" / "mine")) == {"broken.wav"} | {f"x/{s}" for s in songs}
        written = json.loads((out / ".corpus" / "mine.written").read_text())
        assert len(written) == 9
        assert "evidence/mine/LICENSE of mine" in written


def test_the_corpus_is_no_part_of_a_source_that_it_lies_in(tmp_path: Path) -> None:
    out = tmp_path / "songs" / "corpus"
    command = ["corpus", str(recipe(tmp_path)), str(out), "--no-pack"]
    for _ in range(2):
        assert main(command) == 0
        (tmp_path / "songs" / "b.wav").write_bytes(song(2, 4))
    assert set(contents(out / "music")) == {"mine/a.wav", "mine/b.wav"}


@pytest.mark.skipif(os.name == "nt", reason="no links there")
def test_a_link_in_place_of_the_state_is_no_corpus(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".corpus").symlink_to(tmp_path / "elsewhere")
    assert main(["corpus", str(recipe(tmp_path)), str(tmp_path / "out"), "--no-pack"]) == 2
    assert not list((tmp_path / "elsewhere").iterdir())
