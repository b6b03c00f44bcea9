"""Writers: what is in the files, and that they appear whole or not at all."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicssl.errors import DependencyError, OutputError
from musicssl.folder.formats import FORMATS
from musicssl.folder.ledger import Ledger
from musicssl.folder.manifest import Manifest, lock_output, read_space, write_space
from musicssl.folder.output import Output, Row
from musicssl.folder.paths import TakenError
from musicssl.folder.provenance import differences
from musicssl.folder.records import json_line, read_lines
from musicssl.folder.single_file import Store
from musicssl.space import Space

KEYS = ["a/b/song.flac", "a/song.mp3", "a b.wav", "a.wav", "ü/日本.ogg", "z.wav"]
SPACE = Space(
    model="team/small",
    weights_sha256="3fa2b1c9" + 56 * "0",
    level="clip",
    pooling="meanstd",
    layers=(2, 5, 8),
    resampler="soxr",
)
VALUES = {name: value for name, value in asdict(SPACE).items() if name != "mono"} | {
    "space": SPACE.id,
    "format": "npz",
    "layers": list(SPACE.layers),
}


def row(key: str, frames: bool, version: int = 0) -> Row:
    rng = np.random.default_rng([version, *key.encode("utf-8", "surrogateescape")])
    if not frames:
        return Row(key, rng.standard_normal(6, np.float32), None)
    n = int(rng.integers(1, 9))
    return Row(key, rng.standard_normal((n, 6), np.float32), np.arange(n) * 0.04)


def write(output: Output, rows: list[Row], finished: bool = True) -> None:
    output.out.mkdir(exist_ok=True)
    output.open()
    for each in rows:
        output.write(each, lambda: None)
    output.close(finished)


def read(format: str, out: Path, key: str, frames: bool) -> Row:
    """Read a result as a user would, with each format's own package."""
    if format == "npz":
        with np.load(out / f"{key}.npz") as data:
            assert str(data["space"]) == "s" and str(data["source"]) == key
            return Row(key, data["embedding"], data.get("times"))
    if format == "npy":
        times = np.load(out / f"{key}.times.npy") if frames else None
        return Row(key, np.load(out / f"{key}.npy"), times)
    if format == "jsonl":
        lines = [
            json.loads(line) for line in (out / f"{key}.jsonl").read_text("utf-8").splitlines()
        ]
        assert all(line["source"] == key and line["space"] == "s" for line in lines)
        values = np.array([line["embedding"] for line in lines], np.float32)
        if not frames:
            return Row(key, values[0], None)
        return Row(key, values, np.array([line["time"] for line in lines]))
    if format == "h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(out / "embeddings.h5") as file:
            assert file.attrs["space"] == "s"
            times = file["times"][key][()] if frames else None
            return Row(key, file["embedding"][key][()], times)
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(out / "embeddings.parquet", filters=[("source", "==", key)])
    assert table.schema.metadata[b"space"] == b"s"
    values = np.stack([np.array(v, np.float32) for v in table["embedding"].to_pylist()])
    return Row(key, values, table["time"].to_numpy()) if frames else Row(key, values[0], None)


def equal(one: Row, two: Row) -> bool:
    same = one.times is None if two.times is None else np.array_equal(one.times, two.times)
    return same and np.array_equal(one.values, two.values) and one.values.shape == two.values.shape


@pytest.mark.parametrize("frames", [False, True], ids=["clip", "frame"])
@pytest.mark.parametrize("format", FORMATS)
class TestFormat:
    def test_holds_what_was_written(self, format: str, frames: bool, tmp_path: Path) -> None:
        output = FORMATS[format](tmp_path, "s")
        write(output, [row(key, frames) for key in reversed(KEYS)])
        for key in KEYS:
            found = read(format, tmp_path, key, frames)
            assert equal(found, row(key, frames)) and found.values.dtype == np.float32
            assert output.target(key).exists()
        assert not (tmp_path / "parts").exists()

    def test_later_runs_add_replace_and_drop(
        self, format: str, frames: bool, tmp_path: Path
    ) -> None:
        write(FORMATS[format](tmp_path, "s"), [row(key, frames) for key in KEYS[:4]])
        output = FORMATS[format](tmp_path, "s")
        output.open()
        assert [output.has(key) for key in KEYS] == 4 * [True] + 2 * [False]
        output.write(row(KEYS[4], frames), lambda: None)
        output.write(row(KEYS[0], frames, 1), lambda: None)
        output.drop(KEYS[1])
        output.close(True)
        again = FORMATS[format](tmp_path, "s")
        again.scan()
        assert [again.has(key) for key in KEYS] == [True, False, True, True, True, False]
        assert equal(read(format, tmp_path, KEYS[0], frames), row(KEYS[0], frames, 1))
        for key in KEYS[2:5]:
            assert equal(read(format, tmp_path, key, frames), row(key, frames))

    def test_clear_leaves_what_is_not_ours(self, format: str, frames: bool, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        mine = [tmp_path / "embeddings_mine.parquet", tmp_path / "a" / "notes.npz"]
        for path in mine:
            path.write_text("x")
        output = FORMATS[format](tmp_path, "s")
        write(output, [row(key, frames) for key in KEYS])
        write(FORMATS[format](tmp_path, "s", "-1-of-2"), [row("q.wav", frames)], finished=False)
        output.clear([*KEYS, "q.wav"])
        left = {path for path in tmp_path.rglob("*") if ".musicssl" not in path.parts}
        assert left == {*mine, tmp_path / "a"}

    def test_names_that_are_not_unicode(self, format: str, frames: bool, tmp_path: Path) -> None:
        key = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
        output = FORMATS[format](tmp_path, "s")
        try:
            write(output, [row(key, frames)])
        except OSError:
            pytest.skip("this file system has Unicode names only")
        output.scan()
        assert output.has(key)


# Files beside folders of their names, and what formats make of names to keep such apart.
MEETING = [
    *("a", "a/b", "a/b/c", "a/_", "a/_/_", "a/__", "_", "_/x", "a_", "a__/x"),
    *(f"a.{format}/b" for format in FORMATS),
    *(
        "a.npz",
        "a.times",
        "a.times_",
        "a.times.npy/b",
        "manifest",
        "manifest_",
        "x\udcff",
        "x\\xff",
    ),
    *(r"x\x5cxff", r"x\udcff"),
]


@pytest.mark.parametrize("frames", [False, True], ids=["clip", "frame"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_names_that_meet(format: str, backwards: bool, frames: bool, tmp_path: Path) -> None:
    kind = FORMATS[format]
    known: set[str] = set()
    failed = []
    for keys in (MEETING[::2], MEETING[1::2]):  # a later run merges
        output = kind(tmp_path, "s", level="frame" if frames else "clip")
        output.listed = known.__contains__
        output.open()
        for key in reversed(keys) if backwards else keys:
            try:
                output.write(row(key, frames), lambda key=key: known.add(key))
            except (TakenError, OSError):
                known.discard(key)
                failed.append(key)
        output.close(True)
    good = [key for key in MEETING if key not in failed]
    output = kind(tmp_path, "s")
    found = dict(output.rows(good))
    one_by_one = {key: output.read_row(key) for key in good}
    for key in good:
        assert output.has(key), key
        for got in (found[key], one_by_one[key]):
            assert got is not None and equal(got, row(key, frames)), key
    if issubclass(kind, Store):
        assert not failed
    else:
        assert len(failed) <= 3, failed


def test_hdf5_of_earlier_versions(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    keys = ["_", "a/_", "a/__", "b", "c/d"]
    with h5py.File(tmp_path / "embeddings.h5", "w") as file:
        file.attrs["space"] = "s"
        for key in keys:
            file[f"embedding/{key}"] = row(key, False).values
    write(FORMATS["h5"](tmp_path, "s"), [row("a", False)])
    output = FORMATS["h5"](tmp_path, "s")
    found = dict(output.rows(["a", *keys]))
    for key, got in found.items():
        assert got is not None and equal(got, row(key, False))
    with h5py.File(tmp_path / "embeddings.h5") as file:
        assert np.array_equal(file["embedding/a/_"], row("a", False).values)


STORES = [name for name, kind in FORMATS.items() if issubclass(kind, Store)]


@pytest.mark.parametrize("format", STORES)
def test_shards_are_merged_by_a_run_without(format: str, tmp_path: Path) -> None:
    write(FORMATS[format](tmp_path, "s", "-1-of-3"), [row(key, False) for key in KEYS[:2]])
    write(FORMATS[format](tmp_path, "s", "-2-of-3"), [row(key, False) for key in KEYS[2:4]])
    write(FORMATS[format](tmp_path, "s", "-3-of-3"), [row(KEYS[4], False)], finished=False)
    whole = FORMATS[format](tmp_path, "s")
    whole.open()
    assert [whole.has(key) for key in KEYS] == 5 * [True] + [False]
    whole.write(row(KEYS[5], False), lambda: None)
    whole.close(True)
    for key in KEYS:
        assert equal(read(format, tmp_path, key, False), row(key, False))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [
        whole.target(KEYS[0]).name
    ]


def test_parquet_in_many_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("musicssl.folder.formats.Parquet.group_values", 10)
    rows = [row(f"{i:03}.wav", True) for i in range(40)]
    write(FORMATS["parquet"](tmp_path, "s"), rows[::2])
    write(FORMATS["parquet"](tmp_path, "s"), rows[1::2])
    for each in rows:
        assert equal(read("parquet", tmp_path, each.key, True), each)
    assert pq.ParquetFile(tmp_path / "embeddings.parquet").num_row_groups > 10


@pytest.mark.parametrize("format", STORES)
def test_missing_package_is_named(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("musicssl.folder.single_file.import_module", fail)
    with pytest.raises(DependencyError, match=r"pip install 'musicssl\["):
        FORMATS[format](tmp_path, "s")


def test_space_id() -> None:
    assert SPACE.id == "small@3fa2b1c9/clip/meanstd/layers=2+5+8/soxr"


def test_space_file_is_written_once(tmp_path: Path) -> None:
    with lock_output(tmp_path, ""):
        write_space(tmp_path, SPACE, "npz", {"dim": 6}, "")
        write_space(tmp_path, SPACE, "npy", {}, "")
    found = read_space(tmp_path)
    assert found is not None and found["format"] == "npz" and found["dim"] == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"it holds \[\], not the description"),
        (None, "it holds None, not the description"),
        ("x", "it holds 'x', not the description"),
        ({}, "it says no space, format, model, weights_sha256, level, pooling, resampler, layers"),
        (VALUES | {"mono": 1}, "its mono is 1, not a text"),
        (VALUES | {"layers": "all"}, "its layers are 'all', not a list of integers"),
        (VALUES | {"layers": ["x"]}, r"its layers are \['x'\], not a list of integers"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_space_file_is_said(values: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "space.json").write_text(json.dumps(VALUES))
    assert read_space(tmp_path) == VALUES | {"mono": "mean"}  # as earlier versions wrote it
    (tmp_path / "space.json").write_text(json.dumps(values))
    with pytest.raises(OutputError, match=rf"space\.json cannot be read \({message}\S*.*\)\.$"):
        read_space(tmp_path)


def test_differences_name_what_is_empty() -> None:
    found = VALUES | {"weights_sha256": "", "mono": "mean", "format": "npz"}
    assert differences(found, SPACE, "npz") == [
        f"weights_sha256 is empty there, {SPACE.weights_sha256} was asked for"
    ]


def test_another_model_is_told_by_its_name() -> None:
    found = VALUES | {"mono": "mean", "format": "npz"}
    asked = replace(SPACE, model="other", weights_sha256="0" * 64)
    assert differences(found, asked, "npz") == [
        f"model is {SPACE.model} there, other was asked for"
    ]
    assert differences(found, replace(SPACE, model="other"), "npz") == []


def test_one_run_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with lock_output(tmp_path, "-1-of-2"), lock_output(tmp_path, "-2-of-2"):
        for tag in ("", "-1-of-2"):
            with pytest.raises(OutputError, match="another run"), lock_output(tmp_path, tag):
                pass
    with (
        lock_output(tmp_path, ""),
        pytest.raises(OutputError, match="another run"),
        lock_output(tmp_path, "-1-of-2"),
    ):
        pass


def entry(source: str, status: str = "ok", size: int = 1) -> dict[str, Any]:
    return {"source": source, "status": status, "space": "s", "size": size, "mtime_ns": 0}


def test_manifest_last_line_counts_and_half_lines_do_not(tmp_path: Path) -> None:
    (tmp_path / ".musicssl").mkdir()
    manifest = Manifest(tmp_path)
    manifest.open(tmp_path.joinpath)
    for each in (entry("a"), entry("b"), entry("a", size=2), entry("b", "failed")):
        manifest.add(each)
    ledger = Ledger(manifest.all(), "s")
    assert (len(ledger), "a" in ledger, "b" in ledger) == (1, True, False)
    assert ledger.record("a") == entry("a", size=2)
    assert Ledger(manifest.all(), "other").record("a") is None
    with manifest.path.open("ab") as file:
        file.write(json_line(entry("c"))[:-9])  # killed while writing
    again = Manifest(tmp_path)
    again.open(tmp_path.joinpath)
    again.add(entry("d"))
    again.close()
    assert [(r["source"], r["size"]) for r in read_lines(again.path)] == [
        ("a", 2),
        ("b", 1),
        ("d", 1),
    ]


def test_manifest_takes_over_those_of_shards(tmp_path: Path) -> None:
    (tmp_path / ".musicssl").mkdir()
    for tag in ("-1-of-2", "-2-of-2"):
        shard = Manifest(tmp_path, tag)
        shard.open(tmp_path.joinpath)
        shard.add(entry(tag))
        shard.close()
    whole = Manifest(tmp_path)
    assert len(Ledger(whole.all(), "s")) == 2
    whole.open(tmp_path.joinpath)
    whole.close()
    assert [r["source"] for r in read_lines(whole.path)] == ["-1-of-2", "-2-of-2"]
    assert whole.all() == [whole.path]


def test_json_line_keeps_every_file_name() -> None:
    for name in ("日本.wav", b"caf\xe9".decode("utf-8", "surrogateescape")):
        assert json.loads(json_line({"source": name})) == {"source": name}
    assert "日本" in json_line({"source": "日本"}).decode()
