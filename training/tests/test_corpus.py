"""A corpus from its recipe: the whole way, resumable, whatever its sources are made of."""

import csv
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from corpus_sources import RATE, deb, repository, song, tar, tiny_deb, tiny_repository, zipped

from musicssl_training.cli.main import main
from musicssl_training.corpus import check, extraction
from musicssl_training.data import Pack
from musicssl_training.locks import claimed

TRAINING = Path(__file__).resolve().parents[1]  # of a checkout, or of this distribution alone
RECIPES = TRAINING / "corpora"
MUSIC = TRAINING.parent / "examples" / "music"
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
needs_other_names = pytest.mark.skipif(
    sys.platform in ("darwin", "win32"), reason="names are Unicode there"
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that say where the sources of the tiny recipe are."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "debs").mkdir()
    tiny_deb(folder / "debs")
    tiny_repository(folder / "mirror")
    return ["--offline", f"--debs={folder / 'debs'}", f"--mirror={folder / 'mirror'}"]


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def labelled(folder: Path, audio: np.ndarray, rate: int) -> Path:
    """A collection of one clip, like Emotify's, in the folder `emotify`."""
    root = folder / "emotify"
    root.mkdir(parents=True)
    soundfile.write(root / "1.wav", audio, rate)
    emotions = (
        "amazement,solemnity,tenderness,nostalgia,calmness,power,joyful_activation,tension,sadness"
    )
    shares = ",".join("0.5" for _ in emotions.split(","))
    (root / "items.csv").write_text(f"path,genre,artist,{emotions}\n1.wav,rock,x,{shares}\n")
    return folder


@needs_git
@pytest.mark.skipif(not MUSIC.is_dir(), reason="the examples are not here")
def test_the_tiny_recipe_goes_the_whole_way(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio, rate = soundfile.read(MUSIC / "piano-minuet-in-g.ogg")
    data = labelled(tmp_path / "data", 0.5 * audio[5 * rate : 17 * rate], rate)
    recipe, out = RECIPES / "tiny.toml", tmp_path / "corpus"
    command = ["corpus", str(recipe), str(out), *places, "--data", str(data)]
    assert main(command) == 0
    index = rows(out / "index.csv")
    licences = {row["path"]: row["licence"] for row in index}
    assert licences == {
        "music/tiny-deb/usr/share/tiny/band/mix.flac": "CC0-1.0",
        "music/tiny-deb/usr/share/tiny/copy-of-one.wav": "CC0-1.0",
        "music/tiny-deb/usr/share/tiny/more.pk3!/music/two.wav": "CC0-1.0",
        "music/tiny-git/music/old/four.wav": "CC-BY-4.0",
        "music/tiny-git/music/three.wav": "CC-BY-4.0",
    } | {
        f"music/examples/{file.name}": "CC0-1.0"
        for file in MUSIC.glob("*.ogg")
        if file.name != "piano-minuet-in-g.ogg"
    }
    for row in index:
        assert all((out / each).is_file() for each in row["evidence"].split()), row["evidence"]
        assert (out / row["path"]).is_file()
    reasons = {(row["source"], row["path"]): row["reason"] for row in rows(out / "left-out.csv")}
    same = "the same content as tiny-deb/usr/share/tiny/copy-of-one.wav"
    leak = reasons.pop(("examples", "piano-minuet-in-g.ogg"))
    assert leak.startswith("holds ")
    assert leak.endswith("of the fingerprint of emotify/1.wav, from 5.0 s")
    assert reasons == {
        ("tiny-deb", "usr/share/tiny/linked.wav"): "a link or a device",
        ("tiny-deb", "usr/share/tiny/one.wav"): same,
        ("tiny-git", "drafts/five.wav"): "no licence is stated for it",
        ("tiny-git", "music/broken.wav"): "made to be unreadable",
    }
    pack = Pack.open(out / "pack")
    assert [item["path"] for item in pack.items] == [row["path"] for row in index]
    assert [item["licence"] for item in pack.items] == list(licences.values())
    lengths = [item["samples"] / item["sample_rate"] for item in pack.items]
    np.testing.assert_allclose(lengths, [float(row["duration_s"]) for row in index], atol=0.01)
    assert sum(lengths) > 300
    shown = capsys.readouterr().out
    assert "CC-BY-4.0   0.01" in shown
    assert main(["overlap", str(out / "pack"), "--data", str(data)]) == 0
    before = {file: file.read_bytes() for file in (out / "pack").iterdir()}
    assert main(command) == 0  # goes on: nothing is left to do
    assert {file: file.read_bytes() for file in (out / "pack").iterdir()} == before


@needs_git
@pytest.mark.skipif(not MUSIC.is_dir(), reason="the examples are not here")
def test_the_lock_file_of_the_tiny_recipe_is_of_its_sources(
    places: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["corpus", str(RECIPES / "tiny.toml"), str(tmp_path / "x"), "--dry-run", *places]) == 0
    )
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert lines["tiny-deb"][0] == "0.01"
    assert lines["tiny-deb"][3] == "tiny-songs_1%3a1.0-1_all.deb,"
    assert lines["tiny-git"][3:] == ["in", "the", "mirror"]
    assert lines["examples"][0] == "0.09"
    assert not (tmp_path / "x").exists()
    main(["corpus", str(RECIPES / "tiny.toml"), str(tmp_path / "x"), "--dry-run", "--offline"])
    said = capsys.readouterr().out
    assert said.count("NOT to be had") == 2


def recipe(folder: Path, *sources: str, lock: list[dict[str, object]] | None = None) -> Path:
    """A recipe of folder sources, each called like its folder, all under CC0."""
    folder.mkdir(exist_ok=True)
    text = "".join(
        f'[[source]]\nname = "{name}"\nkind = "folder"\npath = "{name}"\nwhat = "songs"\n'
        'include = ["**"]\nlicence = "CC0-1.0"\nnote = "mine"\n'
        for name in sources
    )
    (folder / "mine.toml").write_text(text)
    if lock is not None:
        lines = "".join(json.dumps(row) + "\n" for row in lock)
        (folder / "mine.lock.jsonl").write_text(lines)
    return folder / "mine.toml"


def songs(folder: Path, **seeds: int) -> Path:
    folder.mkdir(parents=True)
    for name, seed in seeds.items():
        (folder / f"{name}.wav").write_bytes(song(seed))
    return folder


def test_other_encodings_of_a_recording_are_left_out_and_other_music_is_not(tmp_path: Path) -> None:
    songs(tmp_path / "one", a=1, b=2)
    audio, rate = soundfile.read(tmp_path / "one" / "a.wav")
    later = np.concatenate([np.zeros(rate // 2), 0.3 * audio])
    (tmp_path / "two").mkdir()
    soundfile.write(tmp_path / "two" / "a.ogg", later, rate, format="OGG", subtype="VORBIS")
    soundfile.write(tmp_path / "two" / "part.wav", audio[: 6 * rate], rate)
    (tmp_path / "two" / "c.wav").write_bytes(song(3))
    assert main(["corpus", str(recipe(tmp_path, "one", "two")), str(tmp_path / "out")]) == 0
    kept = [row["path"] for row in rows(tmp_path / "out" / "index.csv")]
    assert kept == [
        f"music/{path}" for path in ("one/a.wav", "one/b.wav", "two/c.wav", "two/part.wav")
    ]
    (left,) = rows(tmp_path / "out" / "left-out.csv")
    assert left["path"] == "a.ogg"
    assert left["reason"].startswith("the same recording as one/a.wav (")


def test_what_cannot_be_had_or_used_is_named_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = songs(tmp_path / "one", a=1)
    (folder / "bad.wav").write_bytes(b"RIFF")
    (folder / "text.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (folder / "cut.wav").write_bytes(song(2)[:100_000])
    command = ["corpus", str(recipe(tmp_path, "one", "gone")), str(tmp_path / "out")]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert f"not had: gone: {tmp_path / 'gone'} is not a folder" in said
    assert "not had: one: bad.wav: it cannot be read" in said
    assert "not had: one: text.wav: it is a pointer of Git LFS" in said
    assert "not had: one: cut.wav: it is cut short: 4.5 of 12.0 s can be heard" in said
    assert [row["path"] for row in rows(tmp_path / "out" / "index.csv")] == ["music/one/a.wav"]
    assert len(Pack.open(tmp_path / "out" / "pack").items) == 1
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "out")
    assert main(command) == 2
    assert "nothing is left" in capsys.readouterr().err


def test_a_second_builder_is_refused_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    songs(tmp_path / "one", a=1, b=2)
    file, out = recipe(tmp_path, "one"), tmp_path / "out"
    command = ["corpus", str(file), str(out), "--no-pack"]
    with claimed(out / ".corpus" / "build.lock"):
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        assert main(command) == 2
        assert "another process is writing there" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert main(command) == 0
    assert not (out / ".corpus" / "build.lock").exists()


def locked_songs(tmp_path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Make a corpus of three recordings with a lock file; return its command and the lines."""
    songs(tmp_path / "one", a=1, b=2, c=3)
    file = recipe(tmp_path, "one")
    command = ["corpus", str(file), str(tmp_path / "out"), "--no-pack"]
    assert main([*command, "--write-lock"]) == 0
    return command, [json.loads(line) for line in (tmp_path / "mine.lock.jsonl").open()]


def test_recordings_are_compared_with_the_lock_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, lock = locked_songs(tmp_path)
    assert [row["path"] for row in lock] == ["a.wav", "b.wav", "c.wav"]
    assert [row["seconds"] for row in lock] == pytest.approx([12.0] * 3, abs=0.001)
    whole = (tmp_path / "mine.lock.jsonl").read_bytes()
    lock[0]["sha256"] = 64 * "0"
    lock[1]["seconds"] = 13.0
    lock.append(lock[2] | {"path": "d.wav"})
    recipe(tmp_path, "one", lock=lock)
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "one: a.wav: its content is another than the lock file says" in said
    assert "one: b.wav: 12.00 s can be heard, the lock file says 13.00 s" in said
    assert "one: d.wav: not in the source" in said
    assert [row["path"] for row in rows(tmp_path / "out" / "index.csv")] == ["music/one/c.wav"]
    lock.pop()
    recipe(tmp_path, "one", lock=lock)
    assert main([*command, "--write-lock"]) == 0  # what it said is not asked then
    assert (tmp_path / "mine.lock.jsonl").read_bytes() == whole


def test_the_index_of_a_folder_says_what_its_files_are(tmp_path: Path) -> None:
    folder = songs(tmp_path / "one", a=1, b=2, c=3, d=4, e=5, f=6)
    (folder / "about.csv").write_text(
        "path,source,licence,evidence,artist,duration_s\n"
        "a.wav,band,CC0-1.0,their page,The Band,12\n"
        "b.wav,band,CC-BY-NC-4.0,their page,The Band,12\n"
        "c.wav,band,,,The Band,12\n"
        "f.wav,band,CC-BY-NC-4.0 in part,their page,The Band,12\n"
        "d.wav,band,CC0-1.0,their page,The Band,14\n"
    )
    file = recipe(tmp_path, "one")
    text = file.read_text().replace('licence = "CC0-1.0"\nnote = "mine"', 'index = "about.csv"')
    rule = '[[source.licences]]\nlicence = "CC-BY-4.0"\npaths = ["f.wav"]\n'
    file.write_text(text.replace('"**"', '"*.wav"') + rule)
    command = ["corpus", str(file), str(tmp_path / "out"), "--leave-out", "licence=*NC*"]
    assert main(command) == 1
    row, other = rows(tmp_path / "out" / "index.csv")
    assert (row["path"], row["source"], row["artist"]) == ("music/one/a.wav", "band", "The Band")
    assert (other["path"], other["licence"]) == ("music/one/f.wav", "CC-BY-4.0")
    assert row["evidence"] == "evidence/one/about.csv; their page"
    assert main([*command, "--write-lock"]) == 1
    lock = [json.loads(line) for line in (tmp_path / "mine.lock.jsonl").open()]
    assert [(row["source"], row["path"]) for row in lock] == [("one", "a.wav"), ("one", "f.wav")]
    reasons = {row["path"]: row["reason"] for row in rows(tmp_path / "out" / "left-out.csv")}
    assert reasons == {
        "b.wav": "by licence=*NC*",
        "c.wav": "no licence is stated for it",
        "d.wav": "12.00 s can be heard, the source's index says 14.00 s",
        "e.wav": "the source's index does not name it",
    }


def test_limits_of_hours_and_seconds(tmp_path: Path) -> None:
    songs(tmp_path / "one", a=1, b=2, c=3, d=4)
    (tmp_path / "one" / "short.wav").write_bytes(song(5, 3))
    file = recipe(tmp_path, "one")
    file.write_text(file.read_text() + f"max_hours = {20 / 3600}\nmin_seconds = 5\n")
    assert main(["corpus", str(file), str(tmp_path / "out"), "--no-pack"]) == 0
    kept = [row["path"] for row in rows(tmp_path / "out" / "index.csv")]
    assert len(kept) == 2
    songs(tmp_path / "two" / "one", **{name: i for i, name in enumerate("xyzw")})
    for name, seed in {"a": 1, "b": 2, "c": 3, "d": 4}.items():
        (tmp_path / "two" / "one" / f"{name}.wav").write_bytes(song(seed))
    shutil.copy(file, tmp_path / "two")
    assert (
        main(["corpus", str(tmp_path / "two" / "mine.toml"), str(tmp_path / "o"), "--no-pack"]) == 0
    )
    reasons = {row["reason"] for row in rows(tmp_path / "o" / "left-out.csv")}
    assert reasons == {"more than 0.00555556 h of one"}


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [(extraction, "_copy", 2), (extraction, "_duplicate", 2), (check, "_measure", 3)],
)
def test_a_run_that_is_stopped_anywhere_is_gone_on_with(
    module: object,
    name: str,
    calls: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    songs(tmp_path / "one", a=1, b=2)
    songs(tmp_path / "two", c=3, d=4)
    packed = deb(tar({"./e.wav": song(5), "./f.wav": song(6), "./LICENSE": b"CC0"}))
    (tmp_path / "debs").mkdir()
    (tmp_path / "debs" / "pp_1_all.deb").write_bytes(packed)
    file = recipe(tmp_path, "one", "two")
    file.write_text(
        file.read_text() + '[[source]]\nname = "three"\nkind = "debian"\npackage = "pp"\n'
        f'version = "1"\nsha256 = "{hashlib.sha256(packed).hexdigest()}"\nwhat = "songs"\n'
        'include = ["*.wav"]\nlicence = "CC0-1.0"\nevidence = ["LICENSE"]\n'
    )
    command = ["corpus", str(file), "--debs", str(tmp_path / "debs"), "--offline"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    real: Callable[..., object] = getattr(module, name)
    left = [calls]

    def counted(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        return stopped() if left[0] < 0 else real(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    assert main([*command, str(tmp_path / "out")]) == 130
    monkeypatch.undo()
    for folder in (tmp_path / "out" / "music").glob("*"):  # whole, or not at all
        assert len(list(folder.iterdir())) == 2
    state = tmp_path / "out" / ".corpus"
    (state / "one.part" / "music").mkdir(parents=True, exist_ok=True)  # as a kill leaves it
    (state / "one.part" / "music" / "a.wav").write_bytes(b"half")
    with (state / "checked.jsonl").open("a") as lines:
        lines.write('{"sha256": "12')
    assert main([*command, str(tmp_path / "out")]) == 0
    for name in ("index.csv", "left-out.csv", "pack/index.jsonl", "pack/audio.i16"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_pack_of_other_recordings_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    songs(tmp_path / "one", a=1, b=2)
    command = ["corpus", str(recipe(tmp_path, "one")), str(tmp_path / "out")]
    assert main(command) == 0
    (tmp_path / "one" / "b.wav").unlink()
    (tmp_path / "one" / "c.wav").write_bytes(song(3))
    assert main(command) == 2
    assert "1 recordings that are not (or no longer) of this corpus, such as music/one/b.wav" in (
        capsys.readouterr().err
    )
    shutil.rmtree(tmp_path / "out" / "pack")
    assert main(command) == 0
    assert len(Pack.open(tmp_path / "out" / "pack").items) == 2


def test_a_pack_that_says_otherwise_than_the_recipe_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    songs(tmp_path / "one", a=1, b=2)
    file, out = recipe(tmp_path, "one"), tmp_path / "out"
    command = ["corpus", str(file), str(out)]
    assert main(command) == 0
    index, text = (out / "index.csv").read_bytes(), file.read_text()
    for old, new, said in (
        ("CC0-1.0", "GPL-2.0", "(licence 'CC0-1.0', now 'GPL-2.0'): delete the pack"),
        ('"mine"', '"bought"', "(evidence 'mine', now 'bought'): delete the pack"),
    ):
        file.write_text(text.replace(old, new))
        assert main(command) == 2
        error = capsys.readouterr().err
        assert f"{out / 'pack'} differs from the recipe in what it says of 2 recordings" in error
        assert f"such as music/one/a.wav {said}" in error
        assert (out / "index.csv").read_bytes() == index
    shutil.rmtree(out / "pack")
    assert main(command) == 0
    assert {item["evidence"] for item in Pack.open(out / "pack").items} == {"bought"}


def test_the_index_of_a_source_is_no_music_whatever_is_included(tmp_path: Path) -> None:
    folder = songs(tmp_path / "one", a=1, b=2)
    (folder / "about.csv").write_text("path,licence\na.wav,CC0-1.0\nb.wav,CC-BY-4.0\n")
    (folder / "LICENSE").write_text("as about.csv says")
    file = recipe(tmp_path, "one")
    more = 'index = "about.csv"\nevidence = ["LICENSE"]\n'
    file.write_text(file.read_text().replace('licence = "CC0-1.0"\n', more))
    assert main(["corpus", str(file), str(tmp_path / "out"), "--no-pack"]) == 0
    licences = [row["licence"] for row in rows(tmp_path / "out" / "index.csv")]
    assert licences == ["CC0-1.0", "CC-BY-4.0"]
    kept = {file.name for file in (tmp_path / "out" / "evidence" / "one").iterdir()}
    assert kept == {"about.csv", "LICENSE"}


def test_what_is_no_audio_under_a_wildcard_is_left_out_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = songs(tmp_path / "one", a=1)
    (folder / "a.wav").rename(folder / "without-a-name")
    (folder / "notes.txt").write_text("no music")
    (folder / "cover.webp").write_bytes(b"RIFF\x1a\0\0\0WEBPVP8L" + bytes(20))
    (folder / "list.m3u").write_text("a.wav\n")
    file, out = recipe(tmp_path, "one"), tmp_path / "out"
    command = ["corpus", str(file), str(out), "--no-pack"]
    with caplog.at_level(logging.WARNING):
        assert main(command) == 0
    (told,) = (message for message in caplog.messages if "no audio" in message)
    assert told == "one: 3 files (cover.webp, list.m3u, notes.txt) are no audio: left out"
    assert [row["path"] for row in rows(out / "index.csv")] == ["music/one/without-a-name"]
    assert {row["reason"] for row in rows(out / "left-out.csv")} == {
        "no audio, by name and content"
    }
    (folder / "broken").write_bytes(song(2)[:40])  # begins as audio does
    (folder / "empty.ogg").write_bytes(b"")  # is called as audio is
    assert main(command) == 1
    failed = [r["path"] for r in rows(out / "left-out.csv") if not r["reason"].startswith("no ")]
    assert failed == ["broken", "empty.ogg"]
    for name in ("broken", "empty.ogg"):
        (folder / name).unlink()
    file.write_text(file.read_text().replace('["**"]', '["**", "{notes,list}.{txt,m3u}"]'))
    assert main(command) == 1  # two are asked for by name


@needs_other_names
def test_a_name_that_is_not_unicode_is_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = songs(tmp_path / "one", a=1)
    bad = os.fsdecode(b"\xff\xfe.wav")
    (folder / bad).write_bytes(song(2))
    packed = deb(tar({"./e.wav": song(5), f"./{bad}": song(6), "./LICENSE": b"CC0"}))
    (tmp_path / "pp_1_all.deb").write_bytes(packed)
    file = recipe(tmp_path, "one")
    file.write_text(
        file.read_text() + '[[source]]\nname = "three"\nkind = "debian"\npackage = "pp"\n'
        f'version = "1"\nsha256 = "{hashlib.sha256(packed).hexdigest()}"\nwhat = "songs"\n'
        'include = ["*.wav"]\nlicence = "CC0-1.0"\nevidence = ["LICENSE"]\n'
    )
    command = ["corpus", str(file), str(tmp_path / "out"), "--debs", str(tmp_path), "--offline"]
    for _ in ("built", "gone on with"):
        assert main(command) == 0
        kept = [row["path"] for row in rows(tmp_path / "out" / "index.csv")]
        assert kept == ["music/one/a.wav", "music/three/e.wav"]
        left = [tuple(row.values()) for row in rows(tmp_path / "out" / "left-out.csv")]
        reason = (r"\udcff\udcfe.wav", "its name is not safe")
        assert left == [("one", *reason), ("three", *reason)]
    assert len(Pack.open(tmp_path / "out" / "pack").items) == 2


def test_a_zip_with_a_broken_name_stops_only_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    songs(tmp_path / "one", a=1)
    songs(tmp_path / "two", b=2)
    content = zipped({"ü.wav": song(3)}).replace("ü".encode(), b"\xff\xff")
    (tmp_path / "two" / "c.zip").write_bytes(content)
    file = recipe(tmp_path, "one", "two")
    file.write_text(file.read_text().replace('["**"]', '["*.wav", "c.zip!/*.wav"]'))
    assert main(["corpus", str(file), str(tmp_path / "out"), "--no-pack"]) == 1
    assert "not had: two: c.zip is damaged" in capsys.readouterr().err
    assert [row["path"] for row in rows(tmp_path / "out" / "index.csv")] == ["music/one/a.wav"]


def test_recordings_without_a_line_in_the_lock_file_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    command, lock = locked_songs(tmp_path)
    lock[0]["size"] += 1
    recipe(tmp_path, "one", lock=lock[:1])
    with caplog.at_level(logging.WARNING):
        assert main(command) == 1
    told = "one: 2 recordings (b.wav, c.wav) are not in the lock file, which has others of it"
    assert caplog.messages.count(told) == 1
    size = lock[0]["size"]
    assert (
        f"a.wav: it has {size - 1:,} bytes, the lock file says {size:,}" in capsys.readouterr().err
    )


@pytest.mark.parametrize("link", [False, True])
def test_files_of_a_folder_are_copied_unless_links_are_asked_for(
    link: bool, tmp_path: Path
) -> None:
    folder = songs(tmp_path / "one", a=1)
    before = (folder / "a.wav").read_bytes()
    command = ["corpus", str(recipe(tmp_path, "one")), str(tmp_path / "out"), "--no-pack"]
    assert main([*command, *(["--link"] if link else [])]) == 0
    with (tmp_path / "out" / "music" / "one" / "a.wav").open("ab") as file:
        file.write(b"a tag")  # as an editor of tags in the corpus would
    assert ((folder / "a.wav").read_bytes() == before) is not link


@needs_git
def test_files_that_a_mirror_lacks_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = repository(
        tmp_path / "mirror" / "a+b", {"a.wav": song(1), "b.wav": song(2), "L": b"CC0"}
    )
    (tmp_path / "r.toml").write_text(
        f'[[source]]\nname = "ab"\nkind = "git"\nrepository = "a/b"\ncommit = "{commit}"\n'
        'what = "songs"\ninclude = ["*.wav"]\nlicence = "CC0-1.0"\nevidence = ["L"]\n'
    )
    objects = tmp_path / "mirror" / "a+b" / ".git" / "objects"
    sizes = {file: file.stat().st_size for file in objects.glob("??/*")}
    file = max(sizes, key=lambda file: sizes[file])
    content = file.read_bytes()
    file.unlink()
    command = ["corpus", str(tmp_path / "r.toml"), str(tmp_path / "out"), "--offline", "--no-pack"]
    command += ["--mirror", str(tmp_path / "mirror")]
    with caplog.at_level(logging.WARNING):
        assert main(command) == 1
    assert "the repository at hand lacks this file" in capsys.readouterr().err
    assert len(rows(tmp_path / "out" / "index.csv")) == 1
    file.write_bytes(content)  # the next run finds it
    assert main(command) == 0
    assert len(rows(tmp_path / "out" / "index.csv")) == 2
    wrong = (tmp_path / "r.toml").read_text().replace(commit, 40 * "a")
    (tmp_path / "r.toml").write_text(wrong)
    assert main([*command[:2], str(tmp_path / "new"), *command[3:]]) == 2
    assert "does not hold the commit" in caplog.text


def test_songs_are_what_they_should_be() -> None:
    assert len(song(1, 2)) == 44 + 2 * 2 * RATE
