"""Files that appear whole or not at all."""

import os
from pathlib import Path

import pytest

from musicssl.atomic import atomic_write, atomic_write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_old_content_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    atomic_write_text(file, "old")
    with atomic_write(file) as out:
        out.write(b"n\xc3\xa9w")
        out.flush()
        assert file.read_text("utf-8") == "old"
    assert file.read_text("utf-8") == "néw"
    assert names(tmp_path) == ["a.json"]


def test_an_error_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    atomic_write_text(file, "old")
    for error in (OSError("disk full"), KeyboardInterrupt()):
        with pytest.raises(type(error)), atomic_write(file) as out:
            out.write(b"half")
            raise error
    assert file.read_text("utf-8") == "old"
    assert names(tmp_path) == ["a.json"]


def test_the_first_error_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match="missing"),
        atomic_write(tmp_path / "missing" / "a"),
    ):
        pass


def test_durable_content_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, synced = tmp_path / "a.json", []

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_size, file.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(file, durable=True) as out:
        out.write(b"whole")
    assert synced == [(5, False)]
    atomic_write_text(tmp_path / "b.json", "whole")
    assert len(synced) == 1


def test_the_part_may_grow_elsewhere(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with atomic_write(tmp_path / "a.npz", part=scratch / "1.npz") as out:
        out.write(b"whole")
        assert names(tmp_path) == ["scratch"]
    assert names(tmp_path) == ["a.npz", "scratch"]
    assert not names(scratch)


def test_what_is_called_like_a_part_is_the_users(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for name in (".a.json.part", ".a.json.part-2"):
        (tmp_path / name).write_text("mine")
    atomic_write_text(file, "ours")
    with pytest.raises(OSError), atomic_write(file) as out:
        out.write(b"half")
        raise OSError
    assert names(tmp_path) == [".a.json.part", ".a.json.part-2", "a.json"]
    assert (tmp_path / ".a.json.part").read_text() == "mine" and file.read_text() == "ours"


def test_two_may_write_one_file_at_the_same_time(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with atomic_write(file) as one, atomic_write(file) as two:
        one.write(b"one")
        two.write(b"two")
    assert file.read_text() == "one" and names(tmp_path) == ["a.json"]
