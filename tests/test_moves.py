"""Moved files, files that are gone, and what of folders is not taken."""

import json
import logging
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from folder_trees import manifest, noise, tree

from musicssl.audio import AUDIO_EXTENSIONS, open_source
from musicssl.cli.similar import moved_note
from musicssl.errors import ConfigError, NoAudioError
from musicssl.folder.api import embed_folder
from musicssl.folder.formats import FORMATS
from musicssl.folder.listing import Listing
from musicssl.folder.moves import content_of
from musicssl.folder.records import json_line
from musicssl.model import MusicEncoder

NAMES = ["a/one.wav", "a/two.wav", "b/three.wav"]
posix = pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> MusicEncoder:
    return MusicEncoder.read_folder(tiny_model_folder)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for i, name in enumerate(NAMES):
        noise(tmp_path / "music" / name, 0.2, i)  # all of one size
    return tmp_path / "music"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def values(format: str, out: Path, key: str, space: str, level: str = "clip") -> Any:
    output = FORMATS[format](out, space, level=level)
    output.scan()
    row = output.read_row(key)
    return None if row is None else row.values.tolist()


# Moved files


@pytest.mark.parametrize("level", ["clip", "frame"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_moved_file_takes_its_result_along(
    format: str, level: str, music: Path, model: MusicEncoder, out: Path
) -> None:
    options: dict[str, Any] = {"model": model, "format": format, "level": level}
    first = embed_folder(music, out, **options)
    vectors = {name: values(format, out, name, first.space, level) for name in NAMES}
    old = manifest(out)
    moves = {"a/one.wav": "new/place/1.wav", "b/three.wav": "a/three renamed.wav"}
    for before, after in moves.items():
        (music / after).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(music / before, music / after)  # with another time of change
        (music / before).unlink()
    seen: list[tuple[str, str]] = []

    def note(record: dict[str, Any]) -> None:
        seen.append((record["source"], record["status"]))

    dry = embed_folder(music, out, **options, dry_run=True)
    assert (dry.done, dry.moved, dry.skipped) == (0, 2, 1)
    summary = embed_folder(music, out, **options, on_file=note)
    assert (summary.done, summary.moved, summary.skipped, summary.found) == (0, 2, 1, 3)
    assert sorted(seen) == sorted(
        [("a/two.wav", "skipped"), *((after, "moved") for after in moves.values())]
    )
    records = manifest(out)
    assert set(records) == {"a/two.wav", *moves.values()}
    for before, after in moves.items():
        assert values(format, out, after, first.space, level) == vectors[before]
        assert values(format, out, before, first.space, level) is None
        assert records[after]["path"] == str(music / after)
        assert records[after]["duration"] == old[before]["duration"]
        assert records[after]["output"].startswith((after, "embeddings"))
    assert embed_folder(music, out, **options).skipped == 3
    whole = out.with_name("whole")
    embed_folder(music, whole, **options)
    assert set(tree(out)) == set(tree(whole))


def test_what_only_looks_like_a_moved_file_is_embedded(
    music: Path, model: MusicEncoder, out: Path
) -> None:
    first = embed_folder(music, out, model=model)
    old = values("npz", out, "a/one.wav", first.space)
    shutil.copy(music / "a/one.wav", music / "copy.wav")  # the first is still there
    (music / "a/two.wav").unlink()
    noise(music / "other.wav", 0.2, 9)  # of the size of the one that is gone
    summary = embed_folder(music, out, model=model)
    assert (summary.done, summary.moved, summary.skipped) == (2, 0, 2)
    assert values("npz", out, "copy.wav", first.space) == pytest.approx(old, abs=1e-5)
    assert values("npz", out, "a/one.wav", first.space) == old
    assert "a/two.wav" in manifest(out)  # what is gone stays unless it is pruned


def test_of_two_copies_of_a_file_that_is_gone_one_was_moved(
    music: Path, model: MusicEncoder, out: Path
) -> None:
    embed_folder(music, out, model=model)
    shutil.copy(music / "a/one.wav", music / "x.wav")
    shutil.move(music / "a/one.wav", music / "y.wav")
    summary = embed_folder(music, out, model=model)
    assert (summary.done, summary.moved, summary.skipped) == (1, 1, 2)


def test_results_of_what_a_file_held_earlier_are_not_given_away(
    music: Path, model: MusicEncoder, out: Path
) -> None:
    """A killed run leaves both lines of a source; the content of the first is not its result."""
    embed_folder(music, out, model=model)
    stale = (out / "manifest.jsonl").read_bytes()
    shutil.copy(music / "a/one.wav", music.with_name("kept.wav"))
    noise(music / "a/one.wav", 0.2, 77)
    embed_folder(music, out, model=model)
    (out / "manifest.jsonl").write_bytes(stale + (out / "manifest.jsonl").read_bytes())
    (music / "a/one.wav").unlink()
    shutil.move(music.with_name("kept.wav"), music / "again.wav")
    assert embed_folder(music, out, model=model).moved == 0


def test_another_root_with_the_same_names_is_no_move(
    music: Path, model: MusicEncoder, out: Path
) -> None:
    """The whole library has moved; results stay where they are, and a copy robs none of them."""
    embed_folder(music, out, model=model)
    library = music.rename(music.with_name("library"))
    shutil.copy(library / "b/three.wav", library / "a copy.wav")
    summary = embed_folder(library, out, model=model)
    assert (summary.done, summary.moved, summary.skipped) == (1, 0, 3)


def test_a_result_that_is_lost_is_not_moved(music: Path, model: MusicEncoder, out: Path) -> None:
    embed_folder(music, out, model=model)
    (out / "a/one.wav.npz").write_bytes(b"damaged")
    (out / "a/two.wav.npz").unlink()
    (music / "a").rename(music / "c")
    assert embed_folder(music, out, model=model).done == 2


def test_content_is_that_of_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = noise(tmp_path / "x.wav")
    status = path.stat()
    content = content_of(path, status.st_size, status.st_mtime_ns)
    assert content == content_of(path, status.st_size, status.st_mtime_ns) is not None
    assert content_of(path, status.st_size, status.st_mtime_ns + 1) is None
    assert content_of(path.with_name("gone"), 1, 1) is None
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content_of(path, status.st_size, path.stat().st_mtime_ns) != content


# Files that are gone


@pytest.mark.parametrize("format", FORMATS)
def test_prune(format: str, music: Path, model: MusicEncoder, out: Path) -> None:
    (music / "bad.mp3").write_text("x")
    options: dict[str, Any] = {"model": model, "format": format}
    first = embed_folder(music, out, **options)
    shutil.rmtree(music / "b")
    (music / "a/one.wav").unlink()
    (music / "bad.mp3").unlink()
    assert embed_folder(music, out, **options).pruned == 0
    assert embed_folder(music, out, **options, prune=True, dry_run=True).pruned == 3
    assert set(manifest(out)) == {*NAMES, "bad.mp3"}
    summary = embed_folder(music, out, **options, prune=True)
    assert (summary.pruned, summary.skipped) == (3, 1)
    assert set(manifest(out)) == {"a/two.wav"}
    for name in NAMES:
        gone = name != "a/two.wav"
        assert (values(format, out, name, first.space) is None) == gone
    assert not (out / "b").exists()
    assert embed_folder(music, out, **options, prune=True).pruned == 0


def test_prune_only_what_the_paths_cover(music: Path, model: MusicEncoder, out: Path) -> None:
    embed_folder([music / "a", music / "b"], out, model=model)
    (music / "b/three.wav").unlink()
    noise(music / "b" / "four.wav", 0.3, 4)
    # one folder alone names its files otherwise, so each name of before might seem to be gone
    assert embed_folder(music / "a", out, model=model, prune=True).pruned == 0
    assert {*NAMES, "one.wav"} <= set(manifest(out))
    (music / "a/one.wav").unlink()
    summary = embed_folder([music / "b", noise(music / "x.wav")], out, model=model, prune=True)
    assert summary.pruned == 1 and "a/one.wav" in manifest(out)
    assert embed_folder(music / "a", out, model=model, prune=True).pruned == 2
    assert {"one.wav", "a/one.wav"}.isdisjoint(manifest(out))


def test_prune_a_library_that_has_moved(music: Path, model: MusicEncoder, out: Path) -> None:
    embed_folder(music, out, model=model)
    library = music.rename(music.with_name("library"))
    (library / "a/one.wav").unlink()  # where it was, nobody knows: its path is not covered
    assert embed_folder(library, out, model=model, prune=True).pruned == 0
    (library / "a/two.wav").unlink()
    noise(library / "a" / "four.wav", 0.3, 4)
    assert embed_folder(library, out, model=model, prune=True).pruned == 1
    assert "a/two.wav" not in manifest(out)


def test_what_is_only_not_asked_for_is_not_pruned(
    music: Path, model: MusicEncoder, out: Path
) -> None:
    embed_folder(music, out, model=model)
    noise(music / "x.flac")
    assert embed_folder(music, out, model=model, extensions={".flac"}, prune=True).pruned == 0
    with pytest.raises(ConfigError, match="shards cannot prune"):
        embed_folder(music, out, model=model, shard=(1, 2), prune=True)


def kept(music: Path, out: Path, model: MusicEncoder, caplog: pytest.LogCaptureFixture) -> str:
    with caplog.at_level(logging.WARNING, "musicssl"):
        summary = embed_folder(music, out, model=model, prune=True)
    assert summary.pruned == 0 and set(NAMES) <= set(manifest(out))
    return caplog.text


def test_a_disk_that_is_not_mounted_is_not_pruned(
    music: Path, model: MusicEncoder, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embed_folder(music, out, model=model)
    shutil.rmtree(music / "b")
    (music / "b").mkdir()
    assert f"1 result is not pruned: {music / 'b'} is empty" in kept(music, out, model, caplog)
    shutil.rmtree(music)
    music.mkdir()
    (music / "not mounted.txt").touch()
    assert embed_folder(music, out, model=model, prune=True).found == 0
    assert set(NAMES) == set(manifest(out))
    noise(music.with_name("other.wav"))
    both = [music, music.with_name("other.wav")]
    embed_folder(both, out, model=model, prune=True)
    assert set(NAMES) <= set(manifest(out))


@posix
def test_a_link_to_a_disk_that_is_not_mounted_is_not_pruned(
    music: Path, model: MusicEncoder, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = (music / "b").rename(music.with_name("disk"))
    (music / "b").symlink_to(disk)
    embed_folder(music, out, model=model)
    disk.rename(music.with_name("away"))
    assert "is a link that leads nowhere" in kept(music, out, model, caplog)


def test_a_mount_that_vanished_is_not_pruned(
    music: Path,
    model: MusicEncoder,
    out: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder on another device, as /media/user/DISK is, that is not there any more."""
    stat = Path.stat

    class OnAnotherDisk:
        st_dev = 4711

        def __init__(self, status: os.stat_result) -> None:
            self.status = status

        def __getattr__(self, name: str) -> Any:
            return getattr(self.status, name)

    def status(path: Path, **options: Any) -> Any:
        found = stat(path, **options)
        return OnAnotherDisk(found) if "b" in path.parts else found

    monkeypatch.setattr(Path, "stat", status)
    embed_folder(music, out, model=model)
    assert manifest(out)["b/three.wav"]["mount"] == "b"
    assert manifest(out)["a/one.wav"]["mount"] is None
    shutil.rmtree(music / "b")
    assert "which is not mounted" in kept(music, out, model, caplog)
    noise(music / "b" / "four.wav", 0.4)  # mounted again, and the file is gone
    assert embed_folder(music, out, model=model, prune=True).pruned == 1


def test_results_of_unknown_origin_are_not_pruned(
    music: Path, model: MusicEncoder, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embed_folder(music, out, model=model)
    records = [{k: v for k, v in r.items() if k != "path"} for r in manifest(out).values()]
    (music / "b/three.wav").unlink()
    noise(music / "b" / "four.wav", 0.4)
    (out / "manifest.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    text = "1 result is not pruned: the manifest does not say where their files were"
    assert text in kept(music, out, model, caplog)


def test_a_source_that_cannot_be_looked_at_is_not_pruned(
    music: Path,
    model: MusicEncoder,
    out: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embed_folder(music, out, model=model)
    lstat = Path.lstat

    def stale(path: Path) -> os.stat_result:
        if path == music / "b" / "three.wav":
            raise OSError(116, "Stale file handle")
        return lstat(path)

    (music / "b/three.wav").unlink()
    noise(music / "b" / "four.wav", 0.4)
    monkeypatch.setattr(Path, "lstat", stale)
    assert "Stale file handle" in kept(music, out, model, caplog)


# What of folders is not taken


def test_what_is_passed_over_is_counted(music: Path, model: MusicEncoder, out: Path) -> None:
    for name in ("cover.jpg", "a/x.JPG", "b/notes.txt", "README", ".hidden", "._one.wav"):
        (music / name).touch()
    (music / ".one.mp3.icloud").touch()
    (music / ".trash").mkdir()
    expected = {
        ".jpg": 2,
        ".txt": 1,
        "without extension": 1,
        "hidden": 3,
        "not downloaded (.icloud)": 1,
    }
    summary = embed_folder(music, out, model=model)
    assert summary.passed_over == expected and summary.done == 3
    assert summary.to_dict()["passed_over"] == expected
    assert embed_folder(music, out, model=model).passed_over == expected
    nothing = embed_folder(music, out, model=model, extensions={".xyz"})
    assert nothing.found == 0 and nothing.passed_over == expected | {".wav": 3}


@pytest.mark.parametrize("name", [".", "embeddings"])
@pytest.mark.parametrize("format", FORMATS)
def test_results_are_not_counted_as_passed_over(
    format: str, name: str, music: Path, model: MusicEncoder
) -> None:
    for overwrite in (False, False, True):
        summary = embed_folder(music, music / name, model=model, format=format, overwrite=overwrite)
        assert summary.passed_over == {}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("level", ["clip", "frame"])
def test_results_of_earlier_folders_are_not_counted_as_passed_over(
    level: str, format: str, music: Path, model: MusicEncoder, out: Path
) -> None:
    """Into the music's own folder first, and then into other ones, in it and elsewhere."""
    options: dict[str, Any] = {"model": model, "format": format, "level": level}
    assert embed_folder(music, music, **options, shard=(1, 2)).done == 2
    assert embed_folder(music, music / "emb", **options).passed_over == {}
    assert embed_folder(music, music, **options).passed_over == {}
    shutil.rmtree(music / ".musicssl")  # as a copy without hidden files
    for name in ("labels.npz", "a/targets.npy", "notes.jsonl", "a/x.json"):
        (music / name).touch()
    expected = {".npz": 1, ".npy": 1, ".jsonl": 1, ".json": 1}
    assert embed_folder(music, out, **options).passed_over == expected
    assert embed_folder(music / "a", out, **options).passed_over == {".npy": 1, ".json": 1}


def test_files_that_are_called_like_results_are_counted(
    music: Path, model: MusicEncoder, out: Path
) -> None:
    for name in ("a/one.wav.npz", "manifest.jsonl", "embeddings.parquet"):
        (music / name).touch()
    assert embed_folder(music, out, model=model).passed_over == {
        ".npz": 1,
        ".jsonl": 1,
        ".parquet": 1,
    }


@posix
def test_odd_entries_are_their_own_trouble(
    music: Path, model: MusicEncoder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (music / "loop").symlink_to("loop")
    (music / "a" / "loop.wav").symlink_to("loop.wav")
    (music / "gone.wav").symlink_to("nowhere")
    os.mkfifo(music / "pipe.wav")
    summary = embed_folder(music, out, model=model)
    assert summary.done == 3 and sorted(dict(summary.failures)) == ["a/loop.wav", "loop"]
    assert summary.passed_over == {"broken links": 1, "no files": 1}

    class Forbidden:
        def __init__(self, entry: Any) -> None:
            self.name, self.path = entry.name, entry.path

        def is_dir(self) -> bool:
            raise PermissionError(13, "Permission denied")

        is_file = is_dir

    scandir = os.scandir

    class Found(list):  # type: ignore[type-arg]
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def guarded(folder: Any) -> Any:
        with scandir(folder) as found:
            return Found(Forbidden(e) if e.name == "two.wav" else e for e in found)

    monkeypatch.setattr("musicssl.folder.listing.os.scandir", guarded)
    found = {item.key: item.error for item in Listing([music], extensions=AUDIO_EXTENSIONS)}
    assert found["a/two.wav"] == "Permission denied" and found["a/one.wav"] is None


def test_a_film_without_sound_is_passed_over(
    music: Path, model: MusicEncoder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_folder(music, out, model=model)

    def silent(path: Path, **options: Any) -> Any:
        if path.name == "two.wav":
            raise NoAudioError(f"{path}: no audio stream")
        return open_source(path, **options)

    monkeypatch.setattr("musicssl.folder.reading.open_source", silent)
    for _ in range(2):
        summary = embed_folder(music, out, model=model, overwrite=True)
        assert (summary.done, summary.failed) == (2, 0)
        assert summary.passed_over == {"without sound": 1}
        assert set(manifest(out)) == {"a/one.wav", "b/three.wav"}
        assert not (out / "a/two.wav.npz").exists()
    summary = embed_folder(music / "a/two.wav", out.with_name("out2"), model=model)
    assert summary.failed == 1  # it was asked for by name


def test_nothing_is_listed_twice(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(music)
    paths: list[str | Path] = [
        "a",
        "a/one.wav",
        Path("a").absolute(),
        "b/three.wav",
        "b",
        "./a/../a",
    ]
    listing = Listing(paths, extensions=AUDIO_EXTENSIONS, listed=True)
    assert [item.key for item in listing] == NAMES


def test_a_listing_counts_once_it_is_run_through(music: Path) -> None:
    (music / "x.txt").touch()
    passed: Counter[str] = Counter()
    listing = Listing([music], extensions=AUDIO_EXTENSIONS)
    assert len(list(listing.items(passed))) == 3 == len(list(listing))
    assert passed == {".txt": 1}


def test_neighbors_that_have_moved_are_told(tmp_path: Path) -> None:
    here = noise(tmp_path / "here.wav")
    gone = str(tmp_path / "gone.wav")
    assert moved_note([str(here), "s3://bucket/unasked.wav"]) is None
    told = moved_note([str(here), gone])
    assert told is not None
    assert told.startswith(f"1 of 2 files are no longer where they were embedded, such as {gone}.")
    assert "musicssl-embed NEW-PLACE -o EMBEDDINGS" in told


def test_what_was_fetched_from_a_store_is_known_again(
    music: Path, model: MusicEncoder, out: Path
) -> None:
    embed_folder(music, out, model=model)
    lines = [
        record | {"path": f"memory://bucket/{record['source']}", "mtime_ns": 0, "inode": None}
        for record in manifest(out).values()
    ]
    (out / "manifest.jsonl").write_bytes(b"".join(map(json_line, lines)))
    (music / "a/one.wav").write_bytes((music / "a/two.wav").read_bytes())
    summary = embed_folder(music, out, model=model)
    assert (summary.done, summary.skipped) == (1, 2)
    assert manifest(out)["a/two.wav"]["path"] == str(music / "a/two.wav")
