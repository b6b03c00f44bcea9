"""One name, another file: a second folder into one OUT, exchanged names, copies of a library."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folder_trees import everything, manifest, noise, tree

from musicssl.folder import moves
from musicssl.folder.api import embed_folder
from musicssl.folder.formats import FORMATS
from musicssl.folder.records import json_line
from musicssl.model import MusicEncoder

NAMES = ["01.wav", "02.wav"]
posix = pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> MusicEncoder:
    return MusicEncoder.read_folder(tiny_model_folder)


@pytest.fixture
def albums(tmp_path: Path) -> tuple[Path, Path]:
    """Two albums whose files have the same names, sizes and times."""
    for i, album in enumerate("ab"):
        for j, name in enumerate(NAMES):
            path = noise(tmp_path / album / name, 0.2, 2 * i + j)
            os.utime(path, ns=(10**18, 10**18))
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that a run reads to know them again."""
    read: list[str] = []
    content_of = moves.content_of

    def note(path: Path, *state: int) -> str | None:
        read.append(path.name)
        return content_of(path, *state)

    monkeypatch.setattr(moves, "content_of", note)
    return read


def values(format: str, out: Path, key: str, space: str) -> Any:
    output = FORMATS[format](out, space)
    output.scan()
    row = output.read_row(key)
    return None if row is None else row.values.tolist()


def rewrite(out: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change each record of a manifest."""
    records = manifest(out).values()
    (out / "manifest.jsonl").write_bytes(b"".join(json_line(change(each)) for each in records))


# A second folder


@pytest.mark.parametrize("shard", [None, (1, 1)], ids=["whole", "shard"])
@pytest.mark.parametrize("format", FORMATS)
def test_another_files_result_stays(
    format: str,
    shard: tuple[int, int] | None,
    albums: tuple[Path, Path],
    model: MusicEncoder,
    out: Path,
) -> None:
    a, b = albums
    noise(b / "03.wav", 0.2, 9)
    options: dict[str, Any] = {"model": model, "format": format}
    first = embed_folder(a, out, **options)
    before, said = tree(out), manifest(out)
    vectors = [values(format, out, name, first.space) for name in NAMES]
    dry = embed_folder(b, out, **options, dry_run=True)
    assert (dry.done, dry.failed, dry.skipped) == (1, 2, 0)
    for time in (10**18, 2 * 10**18):  # of the first's size and time, and not
        os.utime(b / "01.wav", ns=(time, time))
        summary = embed_folder(b, out, **options, shard=shard)
        assert summary.failed == 2 and summary.done + summary.skipped == 1
        assert [source for source, _ in summary.failures] == NAMES
        assert summary.failures[0][1].startswith(
            f"01.wav is already the result of {a / '01.wav'}, which is still there."
        )
    assert [values(format, out, name, first.space) for name in NAMES] == vectors
    assert embed_folder(a, out, **options).skipped == 2
    assert manifest(out).items() >= said.items()
    if format in ("npz", "npy", "jsonl"):
        assert tree(out).items() >= before.items()
    summary = embed_folder(b, out, **options, overwrite=True)
    assert (summary.done, summary.failed) == (3, 0)
    assert values(format, out, "01.wav", first.space) != vectors[0]
    assert manifest(out)["01.wav"]["path"] == str(b / "01.wav")


@pytest.mark.parametrize("trouble", ["bad", "link", "gone", "moved here"])
@pytest.mark.parametrize("format", FORMATS)
def test_nothing_of_the_second_folder_harms_the_first(
    format: str,
    trouble: str,
    albums: tuple[Path, Path],
    model: MusicEncoder,
    out: Path,
) -> None:
    a, b = albums
    first = embed_folder(a, out, model=model, format=format)
    vector = values(format, out, "01.wav", first.space)
    (b / "01.wav").unlink()
    if trouble == "bad":
        (b / "01.wav").write_text("no music")
    elif trouble == "link":
        if os.name != "posix":
            pytest.skip("needs symbolic links")
        (b / "01.wav").symlink_to("01.wav")
    elif trouble == "moved here":
        shutil.move(a / "02.wav", b / "01.wav")
    embed_folder(b, out, model=model, format=format, prune=True)
    assert values(format, out, "01.wav", first.space) == vector
    assert manifest(out)["01.wav"]["path"] == str(a / "01.wav")


def test_the_first_error_of_a_second_folder_stops(
    albums: tuple[Path, Path], model: MusicEncoder, out: Path
) -> None:
    embed_folder(albums[0], out, model=model)
    summary = embed_folder(albums[1], out, model=model, on_error="stop", jobs=1)
    assert (summary.failed, summary.found) == (1, 1)


def test_a_result_that_is_lost_is_in_nobodys_way(
    albums: tuple[Path, Path], model: MusicEncoder, out: Path
) -> None:
    embed_folder(albums[0], out, model=model)
    (out / "01.wav.npz").unlink()
    summary = embed_folder(albums[1], out, model=model)
    assert (summary.done, summary.failed) == (1, 1)


def test_when_the_first_folder_is_gone_the_second_takes_its_names(
    albums: tuple[Path, Path], model: MusicEncoder, out: Path
) -> None:
    a, b = albums
    embed_folder(a, out, model=model)
    moved = a.rename(a.with_name("moved"))
    assert embed_folder(moved, out, model=model).skipped == 2
    assert embed_folder(b, out, model=model).failed == 2  # its results are known to be moved's
    shutil.rmtree(moved)
    assert embed_folder(b, out, model=model).done == 2


@posix
@pytest.mark.parametrize("format", FORMATS)
def test_another_spelling_is_no_other_file(
    format: str,
    albums: tuple[Path, Path],
    model: MusicEncoder,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = albums[0]
    embed_folder(a, out, model=model, format=format)
    link = a.with_name("link")
    link.symlink_to(a)
    monkeypatch.chdir(a)
    for path in (link, Path(), Path("../link"), f"{a}/../a"):
        assert embed_folder(path, out, model=model, format=format).skipped == 2
        noise(a / "01.wav", 0.2, 7 + len(str(path)))  # changed, so it is embedded again
        assert embed_folder(path, out, model=model, format=format).done == 1
    os.link(a / "01.wav", a.with_name("01.wav"))
    assert embed_folder(a.with_name("01.wav"), out, model=model, format=format).skipped == 1


# Exchanged names, and copies


@pytest.mark.parametrize("format", FORMATS)
def test_files_that_exchange_their_names_are_embedded_again(
    format: str, albums: tuple[Path, Path], model: MusicEncoder, out: Path
) -> None:
    a = albums[0]
    first = embed_folder(a, out, model=model, format=format)
    vectors = {name: values(format, out, name, first.space) for name in NAMES}
    (a / "01.wav").rename(a / "x")
    (a / "02.wav").rename(a / "01.wav")
    (a / "x").rename(a / "02.wav")
    summary = embed_folder(a, out, model=model, format=format)
    assert (summary.done, summary.skipped) == (2, 0)
    for name, other in zip(NAMES, reversed(NAMES), strict=True):
        assert values(format, out, name, first.space) == pytest.approx(vectors[other], abs=1e-5)
    assert embed_folder(a, out, model=model, format=format).skipped == 2


def test_a_file_rewritten_with_its_time_put_back(
    albums: tuple[Path, Path], model: MusicEncoder, out: Path
) -> None:
    a = albums[0]
    embed_folder(a, out, model=model)
    (a / "01.wav").write_bytes(noise(a.with_name("x.wav"), 0.2, 9).read_bytes())
    os.utime(a / "01.wav", ns=(10**18, 10**18))
    summary = embed_folder(a, out, model=model)
    assert (summary.done, summary.skipped) == (1, 1)


@pytest.mark.parametrize("keep", [True, False], ids=["both", "moved"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_copy_of_a_library_is_read_once_and_not_embedded_again(
    format: str,
    keep: bool,
    albums: tuple[Path, Path],
    model: MusicEncoder,
    out: Path,
    hashed: list[str],
) -> None:
    a = albums[0]
    options: dict[str, Any] = {"model": model, "format": format}
    embed_folder(a, out, **options)
    before = tree(out)
    assert embed_folder(a, out, **options).skipped == 2 and hashed == []
    disk = shutil.copytree(a, a.with_name("disk"))  # times are kept
    if not keep:
        shutil.rmtree(a)
    for dry_run, read in ((True, NAMES), (False, NAMES), (False, [])):
        hashed.clear()
        assert embed_folder(disk, out, **options, dry_run=dry_run).skipped == 2
        assert hashed == read
    record, status = manifest(out)["01.wav"], (disk / "01.wav").stat()
    assert record["path"] == str(disk / "01.wav")
    assert (record["inode"], record["ctime_ns"]) == (status.st_ino, status.st_ctime_ns)
    assert tree(out) == before


def test_a_copy_with_new_times_beside_the_library_is_the_same_music(
    albums: tuple[Path, Path], model: MusicEncoder, out: Path
) -> None:
    a = albums[0]
    embed_folder(a, out, model=model)
    disk = a.with_name("disk")
    disk.mkdir()
    for name in NAMES:
        shutil.copyfile(a / name, disk / name)
    assert embed_folder(disk, out, model=model).skipped == 2


def test_file_systems_that_number_their_files_anew_are_read_once(
    albums: tuple[Path, Path], model: MusicEncoder, out: Path, hashed: list[str]
) -> None:
    """As FAT does and some network file systems; their times of change still tell."""
    a = albums[0]
    embed_folder(a, out, model=model)
    for read in (NAMES, [], []):
        hashed.clear()
        rewrite(out, lambda r: r | {"inode": r["inode"] and r["inode"] + 1})
        assert embed_folder(a, out, model=model).skipped == 2
        assert hashed == read
    os.utime(a / "01.wav", ns=(10**18, 10**18))
    assert embed_folder(a, out, model=model).skipped == 2 and hashed == ["01.wav"]


@pytest.mark.parametrize("without", [("inode", "ctime_ns"), ("inode", "ctime_ns", "content")])
def test_records_of_earlier_versions_are_trusted_and_completed(
    without: tuple[str, ...],
    albums: tuple[Path, Path],
    model: MusicEncoder,
    out: Path,
    hashed: list[str],
) -> None:
    a = albums[0]
    embed_folder(a, out, model=model)
    said = manifest(out)
    rewrite(out, lambda r: {name: value for name, value in r.items() if name not in without})
    assert embed_folder(a, out, model=model).skipped == 2 and hashed == []
    for name, record in manifest(out).items():
        assert all(record[field] == said[name][field] for field in ("inode", "ctime_ns", "path"))


@pytest.mark.parametrize("path", [5, None, "", "01.wav", "\0", "/", "x" * 9999, [1]], ids=str)
def test_a_record_of_a_path_that_is_none(
    path: Any, albums: tuple[Path, Path], model: MusicEncoder, out: Path
) -> None:
    a = albums[0]
    embed_folder(a, out, model=model)
    rewrite(out, lambda r: r | {"path": path})
    noise(a / "02.wav", 0.2, 8)
    summary = embed_folder(a, out, model=model)
    assert (summary.done, summary.skipped) == (1, 1)
    assert manifest(out)["01.wav"]["path"] == str(a / "01.wav")


def test_nothing_of_the_music_is_touched(
    albums: tuple[Path, Path],
    model: MusicEncoder,
    out: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = everything(albums[0]), everything(albums[1])
    with caplog.at_level(logging.WARNING, "musicssl"):
        for paths in (albums[0], albums[1], list(albums)):
            embed_folder(paths, out, model=model, prune=True)
    assert (everything(albums[0]), everything(albums[1])) == before
    assert not caplog.records
    assert set(manifest(out)) == {*NAMES, *(f"{album}/{name}" for album in "ab" for name in NAMES)}
