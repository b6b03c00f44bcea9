"""Millions of files: what is kept of each is a few numbers, and results are merged run by run."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicssl.cli import main as command
from musicssl.cli.options import build_parser
from musicssl.errors import ConfigError
from musicssl.folder import sorted_runs
from musicssl.folder.digests import DigestMap
from musicssl.folder.formats import FORMATS
from musicssl.folder.keys import order
from musicssl.folder.ledger import FileStat, Ledger
from musicssl.folder.listing import Listing
from musicssl.folder.output import Row
from musicssl.folder.pending import Parts
from musicssl.folder.records import json_line
from musicssl.folder.sorted_runs import Runs

SPACE = "m/l1/mean/00000000"


def row(key: str, value: float = 0.0, frames: int = 0) -> Row:
    """Return a result of three values, or of some frames of them."""
    shape = (frames, 3) if frames else (3,)
    values = np.full(shape, value, np.float32)
    return Row(key, values, np.arange(frames) / 4 if frames else None)


# Digests


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.one_of(st.none(), st.integers(0, 2**64 - 1))), max_size=60
    ),
    st.integers(1, 7),
)
def test_a_map_of_digests_is_a_dictionary(changes: list[tuple[int, Any]], most: int) -> None:
    expected: dict[int, tuple[int, int]] = {}
    found = DigestMap(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("musicssl.folder.digests._MOST_NEW", most)
        for key, value in changes:
            digest_ = 2**64 - 1 - key
            if value is None:
                expected.pop(digest_, None)
                found.remove(digest_)
            else:
                expected[digest_] = value, key
                found.set(digest_, value, key)
    for key in range(13):
        assert found.get(2**64 - 1 - key) == expected.get(2**64 - 1 - key)
        assert (2**64 - 1 - key in found) == (2**64 - 1 - key in expected)
    assert len(found) == len(expected)


def test_a_set_of_digests() -> None:
    found = DigestMap(keys=[3, 1, 3])
    assert len(found) == 2
    assert 1 in found
    assert 2 not in found
    assert 2**64 - 1 not in found


def test_a_million_files_take_a_few_numbers_each() -> None:
    """Counted, not timed: 24 bytes a file, where a dictionary takes 250."""
    found = DigestMap(2)
    tracemalloc.start()
    try:
        for i in range(100_000):
            found.set(i * 104_729, i, i)
        len(found)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000 * 40


def test_the_ledger_of_a_long_manifest_is_small(tmp_path: Path) -> None:
    path, count = tmp_path / "manifest.jsonl", 5_000
    with path.open("wb") as file:
        for i in range(count):
            about = {"source": f"{i}.wav", "path": f"/m/{i}.wav", "status": "ok", "space": SPACE}
            file.write(json_line(about | {"size": i, "mtime_ns": i}))
    ledger = Ledger([path], SPACE)
    assert len(ledger) == count
    assert ledger.is_as_it_was("7.wav", "/m/7.wav", FileStat(7, 7), {})
    assert not ledger.is_as_it_was("7.wav", "/m/7.wav", FileStat(7, 8), {})
    record = ledger.record("4999.wav")
    assert record is not None
    assert record["size"] == 4999
    assert ledger.record("5000.wav") is None
    first = ledger.record("0.wav")
    assert first is not None
    assert ledger.counts("0.wav", 0)


# Runs


def runs_in(folder: Path) -> Runs:
    """Return the runs in a folder, as a new process finds them."""
    folder.mkdir(exist_ok=True)
    return Runs(folder, SPACE, order)


def test_of_rows_of_one_source_the_newest_counts(tmp_path: Path) -> None:
    runs = runs_in(tmp_path / "runs")
    runs.add([row("a", 1), row("b/c", 1), row("c", 1, frames=2)], tmp_path / "part")
    assert "d" not in runs
    runs.add([row("b/c", 2), row("d", 2)], tmp_path / "part")
    for found in (runs, runs_in(tmp_path / "runs")):
        rows = list(found.rows())
        assert [r.key for r in rows] == ["a", "b/c", "c", "d"]
        assert [r.values.flat[0] for r in rows] == [1, 2, 1, 2]
        assert rows[2].times is not None
        np.testing.assert_array_equal(rows[2].times, [0, 0.25])
        assert "b/c" in found
        assert "x" not in found
        again = found.read("b/c")
        assert again is not None
        assert again.values[0] == 2
    assert not (tmp_path / "part").exists()


def test_what_is_dropped_is_gone_in_all_runs(tmp_path: Path) -> None:
    runs = runs_in(tmp_path / "runs")
    for value in (1, 2):
        runs.add([row("a", value), row("b", value)], tmp_path / "part")
    runs.drop("a")
    runs.drop("nothing")
    for found in (runs, runs_in(tmp_path / "runs")):
        assert [(r.key, r.values[0]) for r in found.rows()] == [("b", 2)]
        assert found.read("a") is None
        assert "a" not in found
        assert "b" in found


def test_many_runs_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that not all of them need to be open at once, however many results there are."""
    monkeypatch.setattr(sorted_runs, "MOST", 3)
    runs = runs_in(tmp_path / "runs")
    for i in range(12):
        runs.add([row(f"{i % 5}", i)], tmp_path / "part")
        assert len(runs.paths()) <= 3
    assert [(r.key, r.values[0]) for r in runs.rows()] == [
        ("0", 10),
        ("1", 11),
        ("2", 7),
        ("3", 8),
        ("4", 9),
    ]
    assert all(runs.read(r.key) is not None for r in runs.rows())


@pytest.mark.parametrize("where", range(0, 330, 3))
def test_damage_costs_what_is_damaged(tmp_path: Path, where: int) -> None:
    runs = runs_in(tmp_path / "runs")
    runs.add([row("a", 1), row("b", 2), row("c", 3)], tmp_path / "part")
    (path,) = runs.paths()
    data = bytearray(path.read_bytes())
    if where >= len(data):
        return
    data[where] ^= 0x55
    path.write_bytes(data)
    found = runs_in(tmp_path / "runs")
    rows = {r.key: r.values.tolist() for r in found.rows()}
    assert all(key in found for key in rows)
    assert rows.items() <= {"a": [1.0] * 3, "b": [2.0] * 3, "c": [3.0] * 3}.items()
    path.write_bytes(data[: where or 1])  # cut short
    assert {r.key for r in runs_in(tmp_path / "runs").rows()} <= rows.keys()


def test_runs_of_another_space_are_none(tmp_path: Path) -> None:
    runs_in(tmp_path / "runs").add([row("a")], tmp_path / "part")
    other = Runs(tmp_path / "runs", "another", order)
    assert not list(other.rows())
    assert "a" not in other


# Parts and stores


def test_parts_are_gathered_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Parts, "most", 4)
    parts = Parts(tmp_path, SPACE)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    keys = [f"{i * 7 % 30:02d}" for i in range(30)]
    for i, key in enumerate(keys):
        parts.write(row(key, i), scratch)
        assert len(list(parts.folder.glob("??/*.npz"))) < 4
        assert parts.has(key)
    assert len(parts.runs.paths()) == 7
    found = parts.read(keys[0])
    assert found is not None
    assert found.values[0] == 0
    parts.write(row(keys[0], 99), scratch)  # newer than the run's
    found = parts.read(keys[0])
    assert found is not None
    assert found.values[0] == 99
    parts.drop(keys[1])
    assert not parts.has(keys[1])
    rows = list(Parts(tmp_path, SPACE).rows(scratch))
    assert [r.key for r in rows] == sorted(set(keys) - {keys[1]})
    assert rows[int(keys[0])].values[0] == 99
    parts.clear()
    assert not parts.folder.exists()


@pytest.mark.parametrize("format", ["parquet", "h5"])
@pytest.mark.parametrize("killed", [False, True])
def test_stores_are_merged_from_runs(
    tmp_path: Path, format: str, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"parquet": "pyarrow", "h5": "h5py"}[format])
    monkeypatch.setattr(Parts, "most", 5)
    keys = [f"{i % 3}/{i:02d}" for i in range(23)]
    store = FORMATS[format](tmp_path, SPACE)
    store.open()
    for i, key in enumerate(keys[:17]):
        store.write(row(key, i), lambda: None)
    if killed:
        store.close(finished=False)
        store = FORMATS[format](tmp_path, SPACE)
        store.open()
        assert all(store.has(key) for key in keys[:17])
        assert not store.has(keys[17])
    store.drop(keys[2])
    for i, key in enumerate(keys[17:], 17):
        store.write(row(key, i), lambda: None)
    store.close(finished=True)
    assert not list(tmp_path.glob(".musicssl/part*"))
    again = FORMATS[format](tmp_path, SPACE)
    again.open()
    found = {key: r for key, r in again.rows(keys) if r is not None}
    assert {key: r.values[0] for key, r in found.items()} == {
        key: i for i, key in enumerate(keys) if i != 2
    }


# Lists of paths


def listing_of(data: bytes, folder: Path, *options: str) -> Listing:
    """Return what the command makes of a list."""
    (folder / "list").write_bytes(data)
    parser = build_parser()
    args = parser.parse_args(["--files-from", str(folder / "list"), *options])
    return command._listing(parser, args)


def test_a_list_of_paths_is_held_as_its_bytes(tmp_path: Path) -> None:
    names = [f"{i // 100:06d}/{i:09d} a title of a song.flac" for i in range(5_000)]
    data = "".join(f"{name}\n" for name in names).encode()
    listing_of(data, tmp_path)  # imports
    tracemalloc.start()
    try:
        listing = listing_of(data, tmp_path)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(1 for _ in listing.roots) == 5_000
    assert held < 2 * len(data)
    assert peak < 4 * len(data)


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        (b"a.wav\r\n\n b.wav \nc.wav", (), ["a.wav", " b.wav ", "c.wav"]),
        (b"\xef\xbb\xbfa.wav\n", (), ["a.wav"]),
        ("\ufeffä.wav\r\nb.wav\r\n".encode("utf-16-le"), (), ["ä.wav", "b.wav"]),
        (b"a\nb.wav\0c.wav\r\0", ("-0",), ["a\nb.wav", "c.wav\r"]),
        (b"a.wav\n./a.wav\na.wav\n", (), ["a.wav"]),
        (b"\xff.wav\n", (), ["\udcff.wav"]),
        (b"", (), []),
    ],
)
def test_lists_of_paths_are_read_as_ever(
    data: bytes,
    options: tuple[str, ...],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    listing = listing_of(data, tmp_path, *options)
    for _ in range(2):  # it can be run through again
        items = list(listing)
        assert [item.key for item in items] == expected
        assert [item.path for item in items] == [tmp_path / name for name in expected]
        assert all(item.error == "no such file" for item in items)


def test_a_path_in_a_list_of_urls_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mix URLs and others"):
        listing_of(b"gs://bucket/a.wav\nb.wav\n", tmp_path)
