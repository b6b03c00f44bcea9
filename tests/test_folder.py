"""`embed_folder`: naming, resuming, refusing, failing, and surviving a kill at any moment."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from musicssl.audio import AUDIO_EXTENSIONS
from musicssl.errors import (
    AudioError,
    ConfigError,
    ModelError,
    OutputError,
)
from musicssl.folder.api import embed_folder
from musicssl.folder.formats import FORMATS
from musicssl.folder.listing import Listing, Shard
from musicssl.folder.listing_factory import listing_of
from musicssl.folder.records import read_lines
from musicssl.folder.summary import Summary
from musicssl.inference.ahead import Ahead
from musicssl.model import MusicEncoder

FILES = ["a/one.wav", "a/two.flac", "b/c/one.wav", "b/one.ogg", "one.wav"]


def tone(path: Path, seconds: float, pitch: float = 220, rate: int = 22_050) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate)) / rate
    stereo = np.stack([np.sin(2 * np.pi * pitch * times), np.sin(3 * np.pi * pitch * times)], 1)
    soundfile.write(path, 0.4 * stereo, rate)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for i, name in enumerate(FILES):
        tone(tmp_path / "music" / name, 0.4 + 0.3 * i, 110 * (i + 1), (22_050, 44_100)[i % 2])
    (tmp_path / "music" / "notes.txt").write_text("no music")
    tone(tmp_path / "music" / "._one.wav", 1)
    tone(tmp_path / "music" / ".trash" / "one.wav", 1)
    return tmp_path / "music"


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> MusicEncoder:
    return MusicEncoder.read_folder(tiny_model_folder)


def tree(out: Path) -> dict[str, bytes]:
    """Return all files but the manifests and what is no result."""
    found = (path for path in out.rglob("*") if path.is_file() and ".musicssl" not in path.parts)
    names = {path.relative_to(out).as_posix(): path for path in found}
    return {name: path.read_bytes() for name, path in names.items() if "manifest" not in name}


def manifest(out: Path, tag: str = "") -> dict[str, dict[str, Any]]:
    """Return the manifest by source; times taken are left out."""
    records = list(read_lines(out / f"manifest{tag}.jsonl"))
    assert len(records) == len({record["source"] for record in records})
    return {record["source"]: record | {"seconds": 0} for record in records}


# Naming


def keys(*paths: Path, **options: Any) -> list[str]:
    return [i.key for i in Listing(paths, extensions=AUDIO_EXTENSIONS, **options)]


def test_a_folder_is_walked_in_order_without_hidden_files(music: Path) -> None:
    assert keys(music) == FILES
    assert keys(music, shard=Shard(1, 2)) == FILES[::2]
    assert keys(music, shard=Shard(2, 2)) == FILES[1::2]
    assert [i.key for i in Listing([music], extensions={".FLAC"})] == ["a/two.flac"]


@pytest.mark.parametrize("extension", [".flac", "flac", "FLAC", ".Flac", " flac"])
def test_extensions_in_every_spelling(extension: str, music: Path) -> None:
    assert [i.key for i in listing_of(music, [extension], None)] == ["a/two.flac"]


def test_names_of_several_paths(music: Path) -> None:
    assert keys(music / "one.wav") == ["one.wav"]
    assert keys(music / "notes.txt") == ["notes.txt"]  # named, so wanted
    assert keys(music / "a", music / "b") == [
        *("a/one.wav", "a/two.flac"),
        *("b/c/one.wav", "b/one.ogg"),
    ]
    three = keys(music / "a/one.wav", music / "b/c/one.wav", music / "a/two.flac")
    assert three == ["a/one.wav", "c/one.wav", "two.flac"]
    tone(music / "b" / "c" / "a" / "x.wav", 0.1)
    assert keys(music / "a", music / "b" / "c" / "a") == [
        *("music/a/one.wav", "music/a/two.flac"),
        "c/a/x.wav",
    ]
    assert keys(music / "a", music / "b/c/a/x.wav", music / "a" / "one.wav") == [
        *("a/one.wav", "a/two.flac"),
        "x.wav",
    ]


def test_what_lies_in_two_paths_is_taken_once(music: Path) -> None:
    assert keys(music, music / "a", music / "one.wav", music) == FILES
    both = keys(music, music / "notes.txt", music / ".trash")
    assert both == [*(f"music/{name}" for name in FILES), "notes.txt", ".trash/one.wav"]


def test_names_of_listed_files(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(music / "a")
    assert keys(Path("one.wav"), music / "a" / "one.wav", listed=True) == ["one.wav"]
    outside = (music / "one.wav").as_posix().lstrip("/")
    assert keys(Path("../one.wav"), listed=True)[0].endswith("music/one.wav")
    if os.name == "posix":
        assert keys(Path("../one.wav"), listed=True) == [outside]
    (missing,) = Listing(["gone.wav"], extensions=AUDIO_EXTENSIONS, listed=True)
    assert missing.error == "no such file"


def test_names_are_never_one_inside_the_other(tmp_path: Path) -> None:
    tone(tmp_path / "y" / "s" / "one.wav", 0.1)
    tone(tmp_path / "x" / "s" / "one.wav", 0.1)
    tone(tmp_path / "s" / "one.wav", 0.1)
    found = keys(tmp_path / "x" / "s" / "one.wav", tmp_path / "y" / "s" / "one.wav", tmp_path / "s")
    assert len(set(found)) == 3 and all(key.endswith("s/one.wav") for key in found)


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_links_are_followed_but_not_in_circles(music: Path) -> None:
    (music / "a" / "up").symlink_to(music)
    (music / "link").symlink_to(music / "b" / "c")
    assert keys(music) == [*FILES[:4], "link/one.wav", "one.wav"]


def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file or folder"):
        keys(tmp_path / "gone")
    with pytest.raises(ConfigError, match="count from 1"):
        Shard(3, 2)


# Results


def test_results_are_those_of_embed(music: Path, model: MusicEncoder, tmp_path: Path) -> None:
    summary = embed_folder(music, tmp_path / "out", model=model, batch_seconds=2)
    assert (summary.done, summary.skipped, summary.failed, summary.found) == (5, 0, 0, 5)
    assert sorted(tree(tmp_path / "out")) == sorted([*(f"{f}.npz" for f in FILES), "space.json"])
    records = manifest(tmp_path / "out")
    for name in FILES:
        with np.load(tmp_path / "out" / f"{name}.npz") as data:
            np.testing.assert_allclose(data["embedding"], model.embed(music / name), atol=1e-5)
            assert str(data["space"]) == summary.space
        info, record = soundfile.info(music / name), records[name]
        assert record["duration"] == pytest.approx(info.duration, abs=1e-4)
        assert (record["sample_rate"], record["channels"]) == (info.samplerate, 2)
        assert record["frames"] == -(-round(record["duration"] * 22_050) // 882)
        assert record["dim"] == 16 and record["status"] == "ok" and not record["truncated"]
        assert record["output"] == f"{name}.npz" and record["space"] == summary.space
        assert record["model"]["weights_sha256"] == model.weights_sha256
        assert record["settings"]["layers"] == [2] and record["settings"]["dtype"] == "float32"


def test_frames_and_their_times(music: Path, model: MusicEncoder, tmp_path: Path) -> None:
    embed_folder(music, tmp_path / "out", model=model, level="frame", layer="all", format="npy")
    values, times = model.embed(music / FILES[0], level="frame", layer="all")
    found = np.load(tmp_path / "out" / f"{FILES[0]}.npy")
    np.testing.assert_allclose(found, values, atol=1e-5)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / f"{FILES[0]}.times.npy"), times)
    space = json.loads((tmp_path / "out" / "space.json").read_text())
    assert space["space"] == f"tiny@{model.weights_sha256[:8]}/frame/layers=0+1+2/soxr"
    assert space["dim"] == 48 == found.shape[1]


@pytest.mark.parametrize("jobs", [1, 2, 5, 9])
def test_number_of_jobs_changes_nothing(
    jobs: int, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    embed_folder(music, tmp_path / "out", model=model, jobs=jobs)
    assert torch.get_num_threads() == threads
    for name in FILES:
        with np.load(tmp_path / "out" / f"{name}.npz") as data:
            np.testing.assert_allclose(data["embedding"], model.embed(music / name), atol=1e-5)


def test_unsaved_models_have_an_identity(tiny_model_folder: Path, tmp_path: Path) -> None:
    tone(tmp_path / "x.wav", 0.2)
    saved = MusicEncoder.read_folder(tiny_model_folder)
    one, two = MusicEncoder(saved.config).eval(), MusicEncoder(saved.config).eval()
    embed_folder(tmp_path / "x.wav", tmp_path / "out", model=one)
    with pytest.raises(OutputError, match="weights_sha256"):
        embed_folder(tmp_path / "x.wav", tmp_path / "out", model=two)


# Going on


def test_a_second_run_does_only_what_is_new(
    music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    embed_folder(music, out, model=model)
    before = tree(out)
    statuses: list[tuple[str, str]] = []

    def again() -> Summary:
        statuses.clear()
        return embed_folder(
            music, out, model=model, on_file=lambda r: statuses.append((r["source"], r["status"]))
        )

    assert again().skipped == 5 and tree(out) == before
    assert statuses == [(name, "skipped") for name in FILES]
    tone(music / FILES[0], 0.5, 900)  # changed
    os.utime(music / FILES[1], ns=(0, 0))  # touched
    (out / f"{FILES[2]}.npz").unlink()  # lost
    tone(music / "new.wav", 0.5)
    assert (again().done, again().skipped) == (4, 6)
    after = tree(out)
    assert after[f"{FILES[0]}.npz"] != before[f"{FILES[0]}.npz"]
    assert after[f"{FILES[2]}.npz"] == before[f"{FILES[2]}.npz"]
    assert set(manifest(out)) == {*FILES, "new.wav"}
    summary = embed_folder(music, out, model=model, overwrite=True)
    assert summary.done == 6 and set(tree(out)) == set(after)


@pytest.mark.parametrize("format", FORMATS)
def test_dry_run_writes_nothing(
    format: str, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = embed_folder(music, out, model=model, dry_run=True, format=format)
    assert found.done == 5 and not out.exists()
    embed_folder(music, out, model=model, format=format)
    tone(music / "new.wav", 0.5)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    found = embed_folder(music, out, model=model, dry_run=True, format=format)
    assert (found.done, found.skipped) == (1, 5)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


OTHER: list[dict[str, Any]] = [
    {"pooling": "max"},
    {"layer": 0},
    {"level": "frame"},
    {"format": "jsonl"},
    {"format": "parquet"},
]


@pytest.mark.parametrize("other", OTHER, ids=str)
def test_other_settings_are_refused_or_replace(
    other: dict[str, Any], music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    embed_folder(music, out, model=model)
    (out / "mine.txt").write_text("x")
    before = tree(out)
    for dry_run in (False, True):
        with pytest.raises(OutputError, match="cannot be mixed") as error:
            embed_folder(music, out, model=model, dry_run=dry_run, **other)
        assert f"{next(iter(other)).rstrip('s')}" in str(error.value)
    with pytest.raises(OutputError, match="without a shard"):
        embed_folder(music, out, model=model, shard=(1, 2), overwrite=True, **other)
    assert tree(out) == before
    summary = embed_folder(music / "a", out, model=model, overwrite=True, **other)
    embed_folder(music / "a", tmp_path / "fresh", model=model, **other)
    assert summary.done == 2
    assert tree(out) == tree(tmp_path / "fresh") | {"mine.txt": b"x"}
    assert set(manifest(out)) == {"one.wav", "two.flac"}


def test_the_name_of_a_model_makes_no_other_space(
    music: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    space = embed_folder(music, out, model=tiny_model_folder).space
    copy = shutil.copytree(tiny_model_folder, tmp_path / "copy")
    tone(music / "new.wav", 0.5)
    summary = embed_folder(music, out, model=copy, revision=None)
    assert (summary.space, summary.done, summary.skipped) == (space, 1, 5)


# Shards


@pytest.mark.parametrize("format", FORMATS)
def test_shards_make_the_whole(
    format: str, music: Path, model: MusicEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    # The same bits need every file alone and one number of threads, which torch shares in part
    # between runs in one process: one that ends would change it for those still at work.
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    options = {"model": model, "format": format, "batch_seconds": 1e-3}
    embed_folder(music, whole, jobs=1, **options)

    def shard(i: int) -> None:
        embed_folder(music, out, shard=(i, 3), jobs=1, **options)

    threads = [threading.Thread(target=shard, args=(i,)) for i in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = {i: set(manifest(out, f"-{i}-of-3")) for i in (1, 2, 3)}
    assert done == {i: set(FILES[i - 1 :: 3]) for i in (1, 2, 3)}
    summary = embed_folder(music, out, **options)
    assert summary.skipped == 5
    assert {k: {**v, "settings": 0} for k, v in manifest(out).items()} == {
        k: {**v, "settings": 0} for k, v in manifest(whole).items()
    }
    assert set(tree(out)) == set(tree(whole))
    if format != "h5":  # bytes
        assert tree(out) == tree(whole)


# Trouble


def spoil(music: Path) -> list[str]:
    (music / "empty.wav").touch()
    (music / "text.mp3").write_text("this is no music " * 100)
    (music / "cut.flac").write_bytes((music / "a" / "two.flac").read_bytes()[:60])
    soundfile.write(music / "nan.wav", np.full(9000, np.nan), 22_050, "FLOAT")
    soundfile.write(music / "none.wav", np.zeros((0, 2)), 22_050)
    tone(music / "folder.wav" / "inside.wav", 0.3)
    return ["cut.flac", "empty.wav", "nan.wav", "none.wav", "text.mp3"]


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_bad_files_fail_alone(
    format: str, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    bad, out = spoil(music), tmp_path / "out"
    for skipped in (0, 6):
        summary = embed_folder(music, out, model=model, format=format, batch_seconds=3)
        assert (summary.done, summary.skipped, summary.failed) == (6 - skipped, skipped, 5)
        assert sorted(source for source, _ in summary.failures) == bad
    records = manifest(out)
    assert sorted(r["source"] for r in records.values() if r["status"] == "failed") == bad
    assert all(records[name]["error"] and str(music) not in records[name]["error"] for name in bad)
    if format == "npz":
        good = [*FILES, "folder.wav/inside.wav"]
        assert sorted(tree(out)) == sorted([*(f"{f}.npz" for f in good), "space.json"])
    tone(music / "empty.wav", 0.5)  # repaired
    assert embed_folder(music, out, model=model, format=format).done == 1


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_turned_bad_has_no_result(
    format: str, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    embed_folder(music, tmp_path / "out", model=model, format=format)
    (music / "one.wav").write_text("x")
    summary = embed_folder(music, tmp_path / "out", model=model, format=format)
    assert (summary.failed, summary.skipped) == (1, 4)
    output = FORMATS[format](tmp_path / "out", summary.space)
    output.scan()
    assert [output.has(name) for name in FILES] == [True, True, True, True, False]


def test_stop_at_the_first_error(music: Path, model: MusicEncoder, tmp_path: Path) -> None:
    spoil(music)
    summary = embed_folder(
        music, tmp_path / "out", model=model, on_error="stop", jobs=1, batch_seconds=0.1
    )
    assert summary.failed == 1 and summary.found < 11
    assert len(manifest(tmp_path / "out")) == summary.found


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_what_may_not_be_read(music: Path, model: MusicEncoder, tmp_path: Path) -> None:
    (music / "one.wav").chmod(0)
    (music / "b").chmod(0)
    summary = embed_folder(music, tmp_path / "out", model=model)
    (music / "b").chmod(0o755)
    assert sorted(source for source, _ in summary.failures) == ["b", "one.wav"]
    assert all("ermission" in error for _, error in summary.failures)


def test_a_folder_that_may_not_be_read_fails_alone(
    music: Path, model: MusicEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def guarded(folder: Any) -> Any:
        if not isinstance(folder, int) and Path(folder) == music / "b":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    with monkeypatch.context() as patch:
        patch.setattr("musicssl.folder.listing.os.scandir", guarded)
        summary = embed_folder(music, tmp_path / "out", model=model)
    assert summary.failures == [("b", "Permission denied")] and summary.done == 3
    assert embed_folder(music, tmp_path / "out", model=model).done == 2


class Broken:
    """A model that fails on some batches."""

    def __init__(self, model: MusicEncoder, fails: Callable[[torch.Tensor], Exception | None]):
        self.model, self.fails = model, fails

    def __call__(self, audio: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if error := self.fails(audio):
            raise error
        return MusicEncoder.forward(self.model, audio, *args, **kwargs)


@pytest.mark.parametrize("kind", [RuntimeError, ModelError, MemoryError])
def test_a_batch_that_fails_is_tried_file_by_file(
    kind: type[Exception],
    music: Path,
    model: MusicEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = round(0.4 * 22_050)  # the first file's length
    broken = Broken(model, lambda x: kind("boom") if (x[:, short:] == 0).all(1).any() else None)
    monkeypatch.setattr(model, "forward", broken)
    summary = embed_folder(music, tmp_path / "out", model=model, jobs=1)
    assert (summary.done, summary.failed) == (4, 1)
    assert summary.failures[0][0] == FILES[0] and "boom" in summary.failures[0][1]


def test_failures_are_the_first_by_name_whichever_thread_is_first() -> None:
    names = [f"{folder}/{i:02}.wav" for folder in ("a", "a b", "b") for i in range(9)]
    found = []
    for seed in range(3):
        summary = Summary(out=Path("out"))
        for i in np.random.default_rng(seed).permutation(len(names)):
            summary.count({"status": "failed", "source": names[i], "error": "bad"})
        found.append(summary.failures)
        assert summary.failed == 27
    assert found[0] == found[1] == found[2] == [(name, "bad") for name in names[:20]]


def test_a_full_disk_stops_the_run(
    music: Path, model: MusicEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("numpy.savez", full)
        with pytest.raises(OutputError, match="No space left"):
            embed_folder(music, tmp_path / "out", model=model)
    assert embed_folder(music, tmp_path / "out", model=model).done == 5


def test_a_name_that_is_too_long_is_one_files_trouble(
    music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    try:
        tone(music / f"{250 * 'x'}.wav", 0.2)
    except (OSError, soundfile.LibsndfileError):
        pytest.skip("not on this file system")
    summary = embed_folder(music, tmp_path / "out", model=model)
    assert (summary.done, summary.failed) == (5, 1)
    assert "too long" in summary.failures[0][1]


def test_out_that_cannot_be_a_folder(music: Path, model: MusicEncoder) -> None:
    with pytest.raises(OutputError, match="cannot write to"):
        embed_folder(music, music / "one.wav", model=model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "nzp"}, "Did you mean 'npz'"),
        ({"level": "song"}, "level 'song'"),
        ({"pooling": "median"}, "pooling 'median'"),
        ({"level": "frame", "pooling": "mean"}, "does not pool"),
        ({"layer": 7}, "layer 7 does not exist"),
        ({"resampler": "sox"}, "resampler 'sox'"),
        ({"jobs": 0}, "jobs must be positive"),
        ({"on_error": "cry"}, "on_error 'cry'"),
        ({"chunk_seconds": -1}, "must be positive"),
    ],
)
def test_wrong_choices(
    options: dict[str, Any], message: str, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        embed_folder(music, tmp_path / "out", model=model, **options)
    assert not (tmp_path / "out").exists()


def test_nothing_found_leaves_nothing(tmp_path: Path, model: MusicEncoder) -> None:
    (tmp_path / "music").mkdir()
    assert embed_folder(tmp_path / "music", tmp_path / "out", model=model).found == 0
    assert not (tmp_path / "out").exists()


# Kills


class Killed(BaseException):
    """Stands for a kill: from the n-th change to the disk on, none takes place."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], None]]:
    left: list[int | None] = [None]

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if left[0] is not None:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
            return function(*args, **kwargs)

        return call

    for owner, name in (
        *((Path, name) for name in ("replace", "unlink", "mkdir", "rmdir", "write_text")),
        *((os, name) for name in ("write", "link")),
        (shutil, "rmtree"),
        (np, "savez"),
    ):
        monkeypatch.setattr(owner, name, guarded(getattr(owner, name)))
    yield lambda n: left.__setitem__(0, n)
    left[0] = None


@pytest.mark.parametrize(
    ("format", "level"), [("npz", "clip"), ("npy", "frame"), ("jsonl", "clip"), ("parquet", "clip")]
)
def test_killed_anywhere_and_run_again_is_as_if_never_killed(
    format: str,
    level: str,
    music: Path,
    model: MusicEncoder,
    tmp_path: Path,
    kill: Callable[[int | None], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three runs: the first anew, the next after a change, the last into another space."""

    def quick(audio: torch.Tensor, samples: Any, *, layer: tuple[int, ...]) -> torch.Tensor:
        frames = -(-audio.shape[1] // model.hop)
        return audio.abs().mean(1)[:, None, None].expand(-1, frames, 16 * len(layer)) + layer[0]

    monkeypatch.setattr(model, "forward", quick)
    shutil.rmtree(music / "b")
    whole = tmp_path / "whole"
    changed = shutil.copytree(music, tmp_path / "changed")
    tone(changed / "one.wav", 0.7, 500)
    shutil.rmtree(changed / ".trash")
    (changed / "a" / "two.flac").write_text("bad now")
    now = tmp_path / "now"  # one folder, whatever is in it

    def runs(out: Path, n: int | None) -> int:
        """Run each step, killed after `n` changes and again whole; return how many were killed."""
        killed = 0
        steps: list[tuple[Path, dict[str, Any]]] = [
            (music, {"format": format, "level": level}),
            (changed, {"format": format, "level": level}),
            (changed, {"format": "npz", "layer": 1, "overwrite": True}),
        ]
        for i, (content, step) in enumerate(steps):
            content.rename(now)
            kill(n)
            try:
                embed_folder(now, out, model=model, jobs=1, **step)
            except Killed:
                killed += 1
            kill(None)
            embed_folder(now, out, model=model, jobs=1, **step)
            now.rename(content)
            if n is not None:
                assert tree(out) == expected[i]
                assert manifest(out) == said[i]
            else:
                expected.append(tree(out))
                said.append(manifest(out))
        return killed

    expected: list[dict[str, bytes]] = []
    said: list[dict[str, dict[str, Any]]] = []
    runs(whole, None)
    n = 0
    while runs(tmp_path / f"out{n}", n):
        n += 1
    assert n > 15


# Reading ahead


def test_read_ahead_gives_all_and_raises_what_was_raised() -> None:
    blocks = [np.full(3, i, np.float32) for i in range(20)]
    assert [int(block[0]) for block in Ahead(iter(blocks), 2)] == list(range(20))

    def bad() -> Iterator[Any]:
        yield blocks[0]
        raise AudioError("bad")

    found = iter(Ahead(bad()))
    next(found)
    with pytest.raises(AudioError, match="bad"):
        next(found)
    before = threading.active_count()
    early = Ahead(iter(blocks), 2)
    next(iter(early))
    early.close()
    assert threading.active_count() == before
