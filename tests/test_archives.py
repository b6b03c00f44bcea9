"""Tar files as sources: what is in them, whatever becomes of them, without unpacking."""

import io
import tarfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_trees import manifest, noise

import musicssl
from musicssl import MusicEncoder
from musicssl.audio.remote import tempfile
from musicssl.folder import archives
from musicssl.folder.api import embed_folder
from musicssl.folder.fetching import fetch_ahead
from musicssl.folder.listing import Item
from musicssl.folder.origin import Held
from musicssl.folder.reading import Taken, by_file

NAMES = ["000.wav", "001.wav", "inner/002.wav"]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sounds")
    return {name: noise(folder / name, 0.3, i).read_bytes() for i, name in enumerate(NAMES)}


def pack(path: Path, files: Iterable[tuple[str, bytes]], mode: Any = "w") -> Path:
    """Write a tar as WebDataset's are: of each sample the sound and what is said of it."""
    with tarfile.open(path, mode) as tar:
        for name, data in files:
            for inner, content in ((name, data), (f"{name}.json", b"{}")):
                member = tarfile.TarInfo(inner)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def check(out: Path, sounds: dict[str, bytes], prefix: str, model: MusicEncoder) -> None:
    table = musicssl.load_embeddings(out)
    assert table.sources == [f"{prefix}/{name}" for name in sounds]
    expected = model.embed([io.BytesIO(data) for data in sounds.values()])
    np.testing.assert_allclose(table.values, expected, atol=1e-6)


@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz")])
@pytest.mark.parametrize("format", ["npz", "dataset"])
def test_members_are_files(
    suffix: str,
    mode: str,
    format: str,
    sounds: dict[str, bytes],
    model: MusicEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there is none"))  # nothing is unpacked
    shard = pack(tmp_path / f"00{suffix}", sounds.items(), mode)
    run = partial(embed_folder, [shard], tmp_path / "out", model=model, format=format)
    summary = run()
    assert (summary.done, summary.failed, dict(summary.passed_over)) == (3, 0, {".json": 3})
    check(tmp_path / "out", sounds, shard.name, model)
    monkeypatch.setattr(tarfile, "open", None)  # that all is there is known without reading it
    again = run()
    assert (again.done, again.skipped, again.failed) == (0, 3, 0)


def test_what_is_missing_is_embedded(
    sounds: dict[str, bytes], model: MusicEncoder, tmp_path: Path
) -> None:
    shard = pack(tmp_path / "00.tar", sounds.items())
    run = partial(embed_folder, [shard], tmp_path / "out", model=model)
    run()
    (tmp_path / "out" / "00.tar" / "001.wav.npz").unlink()
    summary = run()
    assert (summary.done, summary.skipped) == (1, 2)
    record = manifest(tmp_path / "out")["00.tar/001.wav"]
    assert record["path"] == f"{shard}/001.wav" and record["size"] == len(sounds["001.wav"])
    pack(shard, [*sounds.items(), ("new.wav", sounds["000.wav"] + b"  ")])
    assert run().done == 4  # it is another tar


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_what_comes_before_a_break_is_kept(
    suffix: str, sounds: dict[str, bytes], model: MusicEncoder, tmp_path: Path
) -> None:
    shard = pack(tmp_path / f"00{suffix}", sounds.items(), "w:gz" if "gz" in suffix else "w")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    run = partial(embed_folder, [shard], tmp_path / "out", model=model)
    summary = run()
    assert (summary.done, summary.failed) == (1, 1)
    ((source, error),) = summary.failures
    assert source == shard.name
    assert (
        "damaged or cut off at byte" in error
        and "what comes before is used (1 with music)" in error
    )
    check(tmp_path / "out", {"000.wav": sounds["000.wav"]}, shard.name, model)
    assert (run().skipped, run().failed) == (1, 1)  # what is wrong is said every time


@pytest.mark.parametrize("fault", ["header", "end", "nothing"])
def test_damage_is_not_taken_for_the_end(
    fault: str, sounds: dict[str, bytes], model: MusicEncoder, tmp_path: Path
) -> None:
    """`tarfile` ends in silence at a header that is damaged or missing."""
    shard = pack(tmp_path / "00.tar", sounds.items())
    with tarfile.open(shard) as tar:
        second = tar.getmember("001.wav").offset
        last = tar.getmember("inner/002.wav.json")
    data = bytearray(shard.read_bytes())
    if fault == "header":
        data[second : second + 512] = b"x" * 512
    else:
        del data[last.offset_data + 512 :]
    shard.write_bytes(data if fault != "nothing" else b"")
    summary = embed_folder([shard], tmp_path / "out", model=model)
    assert summary.done == {"header": 1, "end": 3, "nothing": 0}[fault]
    assert summary.failed == 1 and summary.failures[0][0] == "00.tar"


def test_bad_members_fail_alone(
    sounds: dict[str, bytes], model: MusicEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [("../evil.wav", sounds["000.wav"]), ("bad.wav", b"no music"), *sounds.items()]
    files += [("000.wav", sounds["001.wav"])]
    shard = pack(tmp_path / "00.tar.gz", files, "w:gz")
    monkeypatch.setattr(archives, "MOST_HELD", len(sounds["000.wav"]) - 1)
    held = embed_folder([shard], tmp_path / "held", model=model)
    assert {error.split(";")[0] for name, error in held.failures if "00" in name[-7:]} == {
        "has 0 MB"
    }
    monkeypatch.undo()
    summary = embed_folder([shard], tmp_path / "out", model=model)
    assert summary.done == 3 and summary.passed_over["repeated in a tar"] == 1
    assert {name for name, _ in summary.failures} == {"00.tar.gz/bad.wav", "00.tar.gz/../evil.wav"}
    assert not (tmp_path / "evil.wav.npz").exists()
    check(tmp_path / "out", sounds, shard.name, model)


def test_folders_hold_tar_files_only_if_asked(
    sounds: dict[str, bytes], model: MusicEncoder, tmp_path: Path
) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    pack(folder / "backup.tar", sounds.items())
    assert embed_folder(folder, tmp_path / "out", model=model).passed_over[".tar"] == 1
    asked = embed_folder(folder, tmp_path / "out", model=model, extensions=[".tar", ".wav"])
    assert asked.done == 3
    pruned = embed_folder(
        folder, tmp_path / "out", model=model, extensions=[".tar", ".wav"], prune=True
    )
    assert (pruned.pruned, pruned.skipped) == (0, 3)  # they are there, though no paths


def test_parts_of_members(sounds: dict[str, bytes], model: MusicEncoder, tmp_path: Path) -> None:
    shard = pack(tmp_path / "00.tar", sounds.items())
    run = partial(embed_folder, [shard], tmp_path / "out", model=model, offset=0.1)
    assert (run().done, run().skipped) == (3, 3)
    expected = model.embed(io.BytesIO(sounds["000.wav"]), offset=0.1)
    found = musicssl.load_embeddings(tmp_path / "out").values[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_streams_hold_a_member_at_a_time(sounds: dict[str, bytes], tmp_path: Path) -> None:
    """Of a tar behind a URL, no more is in memory than what was yielded last."""
    fsspec = pytest.importorskip("fsspec")
    from musicssl.folder.archives import Archive
    from musicssl.folder.remote import RemoteListing

    shard = pack(tmp_path / "00.tar", sounds.items())
    fsspec.filesystem("memory").pipe_file("/shards/00.tar", shard.read_bytes())
    (item,) = RemoteListing(["memory://shards/*.tar"], extensions=[".wav"])
    archive = Archive(item, frozenset({".wav"}))
    from collections import Counter

    seen = []
    for member, _ in archive.members(Counter(), lambda one: (one, one.seen())):
        assert isinstance(member.origin, Held)
        seen.append(member.origin.data)
        assert len(archive.music) == len(seen)  # nothing is read ahead
    assert seen == list(sounds.values())
    read: list[str] = []

    def look(one: Item) -> Taken:
        read.append(one.key)
        return one, one.seen()

    for i, _ in enumerate(fetch_ahead(by_file(archive.members(Counter(), look)), jobs=4)):
        assert len(read) == i + 1  # what waits for its turn is not in memory either
