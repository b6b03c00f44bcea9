"""The folder command harms nothing of its user's: foreign files, links, names, damaged state."""

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_trees import everything, manifest, noise, tree

from musicssl.errors import OutputError
from musicssl.folder.api import embed_folder
from musicssl.folder.formats import FORMATS
from musicssl.folder.manifest import Manifest, lock_output
from musicssl.folder.paths import TakenError, inside
from musicssl.library.loading import load_embeddings
from musicssl.model import MusicEncoder

STORES = {"parquet": "embeddings.parquet", "h5": "embeddings.h5"}
posix = pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> MusicEncoder:
    return MusicEncoder.read_folder(tiny_model_folder)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for i, name in enumerate(("a/one.wav", "two.wav")):
        noise(tmp_path / "music" / name, 0.2 + 0.1 * i, i)
    return tmp_path / "music"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


# Files of the user's


@pytest.mark.parametrize("format", FORMATS)
def test_folders_that_are_called_like_state_stay(
    format: str, music: Path, model: MusicEncoder
) -> None:
    """The music itself lies in OUT/parts, and OUT is the folder of the music."""
    noise(music / "parts" / "only-copy.wav", seed=7)
    noise(music / "parts-1-of-2" / "x.wav", seed=8)
    for name in (".musicssl/mine", ".musicssl/part/mine", ".musicssl/parts/ab/mine"):
        (music / name).parent.mkdir(parents=True, exist_ok=True)
        (music / name).write_text("mine")
    before = everything(music)
    for options in ({}, {"overwrite": True}, {"overwrite": True, "layer": 1}):
        assert embed_folder(music, music, model=model, format=format, **options).failed == 0
        assert everything(music).items() >= before.items()
    assert embed_folder(music, music, model=model, overwrite=True, pooling="max").done == 4
    assert everything(music).items() >= before.items()


MINE = {"npz": "two.wav.npz", "npy": "two.wav.npy", "jsonl": "two.wav.jsonl"}


@pytest.mark.parametrize("format", MINE)
def test_a_file_with_a_results_name_stays(
    format: str, music: Path, out: Path, model: MusicEncoder
) -> None:
    out.mkdir()
    (out / MINE[format]).write_bytes(b"annotations")
    for options in ({}, {"overwrite": True}, {"overwrite": True, "layer": 1}):
        summary = embed_folder(music, out, model=model, format=format, **options)
        assert (summary.done + summary.skipped, summary.failed) == (1, 1)
        assert MINE[format] in summary.failures[0][1]
        assert (out / MINE[format]).read_bytes() == b"annotations"
    (music / "two.wav").write_text("bad")  # fails for itself, so its result would go
    embed_folder(music, out, model=model, format=format, layer=1)
    assert (out / MINE[format]).read_bytes() == b"annotations"
    noise(music / "two.wav")
    summary = embed_folder(music, out, model=model, format=format, layer=1, replace_foreign=True)
    assert summary.failed == 0 and (out / MINE[format]).read_bytes() != b"annotations"


@pytest.mark.parametrize("format", MINE)
def test_a_foreign_file_is_replaced_by_a_result_only(
    format: str, music: Path, out: Path, model: MusicEncoder
) -> None:
    out.mkdir()
    (out / MINE[format]).write_bytes(b"annotations")
    (music / "two.wav").write_text("bad")
    embed_folder(music, out, model=model, format=format, replace_foreign=True)
    assert (out / MINE[format]).read_bytes() == b"annotations"


def test_an_npz_of_another_kind_stays_even_if_the_manifest_lists_it(
    music: Path, out: Path, model: MusicEncoder
) -> None:
    embed_folder(music, out, model=model)
    np.savez(out / "two.wav.npz", annotations=np.arange(3))
    summary = embed_folder(music, out, model=model, overwrite=True)
    assert [source for source, _ in summary.failures] == ["two.wav"]
    embed_folder(music, out, model=model, overwrite=True, layer=0)
    assert list(np.load(out / "two.wav.npz")) == ["annotations"]


def test_times_of_somebody_elses_stay(music: Path, out: Path, model: MusicEncoder) -> None:
    out.mkdir()
    (out / "two.wav.times.npy").write_text("mine")
    embed_folder(music, out, model=model, format="npy")
    embed_folder(music, out, model=model, format="npy", overwrite=True)
    embed_folder(music, out, model=model, format="npz", overwrite=True)
    assert (out / "two.wav.times.npy").read_text() == "mine"


def test_results_are_known_without_a_manifest(music: Path, out: Path, model: MusicEncoder) -> None:
    for format in ("npz", "jsonl"):
        embed_folder(music, out / format, model=model, format=format)
        (out / format / "manifest.jsonl").unlink()
        assert embed_folder(music, out / format, model=model, format=format).done == 2


FOREIGN = {
    "manifest.jsonl": b'{"audio_filepath": "a.wav", "duration": 3.1, "text": "la"}\nnotes\n',
    "space.json": b'{"rooms": 4}',
    "embeddings.parquet": b"PAR1 somebody's",
    "embeddings.h5": b"somebody's",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("dry_run", [True, False])
def test_state_of_somebody_elses_is_refused(
    name: str, dry_run: bool, music: Path, out: Path, model: MusicEncoder
) -> None:
    out.mkdir()
    (out / name).write_bytes(FOREIGN[name])
    format = {".parquet": "parquet", ".h5": "h5"}.get(Path(name).suffix, "npz")
    for overwrite in (False, True):
        with pytest.raises(OutputError) as error:
            embed_folder(
                music, out, model=model, format=format, overwrite=overwrite, dry_run=dry_run
            )
        assert name in str(error.value) and "replace_foreign" in str(error.value)
        assert everything(out) == {name: FOREIGN[name]}
    if not dry_run:
        summary = embed_folder(music, out, model=model, format=format, replace_foreign=True)
        assert summary.done == 2 and (out / f"{name}.aside").read_bytes() == FOREIGN[name]


def test_another_programs_parquet_is_refused(music: Path, out: Path, model: MusicEncoder) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out.mkdir()
    pq.write_table(pa.table({"source": ["x"], "embedding": [[1.0]]}), out / "embeddings.parquet")
    before = everything(out)
    with pytest.raises(OutputError, match=r"embeddings\.parquet holds what musicssl did not write"):
        embed_folder(music, out, model=model, format="parquet", overwrite=True)
    assert everything(out) == before
    pq.write_table(pa.table({"a": [1]}), out / "embeddings-best-of-2025.parquet")
    pq.write_table(pa.table({"a": [1]}), out / "embeddings-1-of-2.parquet")
    (out / "embeddings.parquet").unlink()
    before = everything(out)
    embed_folder(music, out, model=model, format="parquet")
    embed_folder(music, out, model=model, format="npz", overwrite=True)
    assert everything(out).items() >= before.items()


# What a manifest names


NAMES = [
    *("../victim", "a/../../victim", "..", "", "/", "a//victim", "./victim", "a/./victim"),
    *(".musicssl/victim", ".MusicSSL/victim", "nul\0victim", "\ud800"),
]


@pytest.mark.parametrize("name", [*NAMES, "/victim"])
def test_names_that_lead_elsewhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(TakenError, match="no name for a result"):
        inside(tmp_path, name)


def test_names_that_are_odd_but_inside(tmp_path: Path) -> None:
    for name in ("..a", "a..b/c", "...", "C:x.wav" if os.name == "posix" else "x", "a\n", "~"):
        assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("how", ["overwrite", "prune", "shard"])
def test_a_manifest_cannot_reach_outside(
    how: str, format: str, music: Path, out: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    embed_folder(music, out, model=model, format=format)
    victims = [tmp_path / f"victim{suffix}" for suffix in (".npz", ".npy", ".times.npy", ".jsonl")]
    for victim in victims:
        victim.write_text("precious")
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    lines = [
        {"source": name, "status": "ok", "space": "", "size": 0, "mtime_ns": 0, "output": name}
        for name in (
            *NAMES,
            str(tmp_path / "victim"),
            "../empty/folder/x",
            str(tmp_path / "empty" / "folder" / "x"),
        )
    ]
    written = out / ("manifest-1-of-2.jsonl" if how == "shard" else "manifest.jsonl")
    with written.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    if how == "overwrite":
        embed_folder(music, out, model=model, format=format, layer=0, overwrite=True)
    elif how == "prune":
        embed_folder(music, out, model=model, format=format, prune=True)
    else:
        embed_folder(music, out, model=model, format=format)
        assert set(manifest(out)) == {"a/one.wav", "two.wav"}
    assert all(victim.read_text() == "precious" for victim in victims)
    assert (tmp_path / "empty" / "folder").is_dir()


# Links


@posix
@pytest.mark.parametrize("format", FORMATS)
def test_links_out_of_the_folder_are_not_followed(
    format: str, music: Path, out: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    away.mkdir()
    (away / "file").write_text("mine")
    suffix = getattr(FORMATS[format], "suffixes", ["-"])[-1]
    (away / f"one.wav{suffix}").write_text("mine")
    out.mkdir()
    (out / "a").symlink_to(away)
    (out / f"two.wav{suffix}").symlink_to(away / "file")
    before = everything(away)
    for options in ({}, {"overwrite": True}, {"overwrite": True, "layer": 0}):
        summary = embed_folder(music, out, model=model, format=format, **options)
        assert everything(away) == before
        assert summary.failed == (0 if format in STORES else 2)
    embed_folder(music, out, model=model, format=format, layer=0, replace_foreign=True)
    assert everything(away) == before


@posix
@pytest.mark.parametrize(
    "name", ["manifest.jsonl", "space.json", ".musicssl", "embeddings.parquet", ".musicssl/lock"]
)
@pytest.mark.parametrize("to", ["file", "nowhere", "folder"])
def test_state_that_is_a_link_is_refused(
    name: str, to: str, music: Path, out: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    (away / "folder").mkdir(parents=True)
    (away / "file").write_text("{}")
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(away / to)
    before = everything(away)
    with pytest.raises(OutputError, match="is a link"):
        embed_folder(music, out, model=model, format="parquet")
    assert everything(away) == before


# Names that meet


def test_times_of_one_and_values_of_another(tmp_path: Path, model: MusicEncoder) -> None:
    files = [noise(tmp_path / "in" / name, seed=i) for i, name in enumerate(("song", "song.times"))]
    for level in ("frame", "clip"):
        out = tmp_path / level
        assert embed_folder(files, out, model=model, format="npy", level=level).done == 2
        outputs = {name: out / record["output"] for name, record in manifest(out).items()}
        for path in files:
            alone = model.embed(path, level=level)
            values = alone.values if level == "frame" else alone
            np.testing.assert_allclose(np.load(outputs[path.name]), values, atol=1e-5)
        assert embed_folder(files, out, model=model, format="npy", level=level).skipped == 2
        files[0].write_text("bad now")
        assert embed_folder(files, out, model=model, format="npy", level=level).failed == 1
        assert outputs["song.times"].exists()
        noise(files[0])


def test_a_source_that_is_called_manifest(tmp_path: Path, model: MusicEncoder) -> None:
    names = ("manifest", "manifest_", "manifest-1-of-2", "space.json")
    files = [noise(tmp_path / "in" / name, seed=i) for i, name in enumerate(names)]
    for _ in range(2):
        summary = embed_folder(files, tmp_path / "out", model=model, format="jsonl")
        assert (summary.done + summary.skipped, summary.failed) == (4, 0)
    outputs = {record["output"] for record in manifest(tmp_path / "out").values()}
    assert len(outputs) == 4 and not {"manifest.jsonl", "manifest-1-of-2.jsonl"} & outputs


@pytest.mark.parametrize("format", FORMATS)
def test_a_name_in_the_way_is_one_files_trouble(
    format: str, music: Path, out: Path, model: MusicEncoder
) -> None:
    suffix = getattr(FORMATS[format], "suffixes", ["-"])[-1]
    (out / f"two.wav{suffix}" / "kept").mkdir(parents=True)
    (out / "a").write_text("a file where a folder belongs")
    noise(music / "three.wav", seed=3)
    for options in ({}, {"overwrite": True}, {"overwrite": True, "layer": 0}):
        summary = embed_folder(music, out, model=model, format=format, **options)
        assert summary.done + summary.skipped == (3 if format in STORES else 1)
    assert (out / "a").is_file() and (out / f"two.wav{suffix}" / "kept").is_dir()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("length", [252, 255])
def test_long_names(format: str, length: int, music: Path, out: Path, model: MusicEncoder) -> None:
    try:
        noise(music / f"{(length - 4) * 'n'}.wav")
    except OSError:
        pytest.skip("not on this file system")
    for options in ({}, {"overwrite": True}, {"overwrite": True, "layer": 0}):
        summary = embed_folder(music, out, model=model, format=format, **options)
        assert (summary.done, summary.failed) == ((3, 0) if format in STORES else (2, 1))
        assert "too long" in "".join(error for _, error in summary.failures) or not summary.failed


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with a file below more folders than Python recurses; pytest's rmtree does."""
    top = f"{tmp_path}/deep"
    levels = [top + n * "/d" for n in range(sys.getrecursionlimit() + 50)]
    for level in levels:  # not by pathlib, whose work at each is that of its depth
        os.mkdir(level)  # noqa: PTH102
    shutil.copy(noise(tmp_path / "x.wav"), f"{levels[-1]}/x.wav")
    yield tmp_path / "deep"
    for name in ("deep", "out"):
        found = [f"{tmp_path}/{name}"]
        while os.path.isdir(found[-1] + "/d"):  # noqa: PTH112
            found.append(found[-1] + "/d")
        for file in os.listdir(found[-1]):  # noqa: PTH208
            if os.path.isfile(f"{found[-1]}/{file}"):  # noqa: PTH113
                os.unlink(f"{found[-1]}/{file}")  # noqa: PTH108
        for folder in reversed(found[1:]):
            os.rmdir(folder)  # noqa: PTH106


@pytest.mark.parametrize("format", FORMATS)
def test_deep_folders(format: str, deep: Path, out: Path, model: MusicEncoder) -> None:
    for options in ({}, {}, {"overwrite": True, "layer": 0}):
        summary = embed_folder(deep, out, model=model, format=format, **options)
        assert (summary.found, summary.failed) == (1, 0)


def test_a_folder_in_place_of_a_file_of_its_name(
    tmp_path: Path, out: Path, model: MusicEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("h5py")
    path = noise(tmp_path / "in" / "s")
    embed_folder(path, out, model=model, format="h5")
    path.unlink()
    noise(path / "x.wav", seed=1)
    noise(tmp_path / "in" / "t.wav", seed=2)
    with caplog.at_level(logging.WARNING):
        summary = embed_folder([path, tmp_path / "in" / "t.wav"], out, model=model, format="h5")
    assert summary.done == 2 and not caplog.text
    table = load_embeddings(out)
    assert table.sources == ["s", "s/x.wav", "t.wav"]  # without prune, the first stays
    assert len(np.unique(table.values, axis=0)) == 3


def test_a_folder_below_a_file(music: Path, tmp_path: Path, model: MusicEncoder) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        for choices in ({}, {"dry_run": True}, {"replace_foreign": True}):
            with pytest.raises(OutputError, match=r"cannot write to .*(it|file) is no folder\.$"):
                embed_folder(music, out, model=model, **choices)


# Damaged state


def spoil(path: Path, how: str) -> None:
    whole = path.read_bytes()
    path.unlink()
    if how == "folder":
        (path / "kept").mkdir(parents=True)
    else:
        path.write_bytes(
            {"empty": b"", "cut": whole[: len(whole) // 2], "garbage": os.urandom(999)}[how]
        )


HOW = ["empty", "cut", "garbage", "folder"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("format", STORES)
def test_a_damaged_store(
    how: str, format: str, music: Path, out: Path, model: MusicEncoder
) -> None:
    embed_folder(music, out, model=model, format=format)
    store = out / STORES[format]
    spoil(store, how)
    before = everything(out)
    for dry_run in (True, False):
        with pytest.raises(OutputError, match=rf"{store.name} .*\(--overwrite\) puts it aside"):
            embed_folder(music, out, model=model, format=format, dry_run=dry_run)
    assert everything(out) == before
    summary = embed_folder(music, out, model=model, format=format, overwrite=True)
    assert summary.done == 2 and store.is_file()
    aside = store.with_name(f"{store.name}.aside")
    assert aside.is_dir() if how == "folder" else aside.read_bytes() == before[store.name]
    assert embed_folder(music, out, model=model, format=format).skipped == 2
    spoil(store, how)  # again, and now into another space
    summary = embed_folder(music, out, model=model, format="npz", overwrite=True)
    assert summary.done == 2 and (out / f"{store.name}.aside-2").exists()


@pytest.mark.parametrize("format", STORES)
def test_a_store_that_is_damaged_in_the_middle(
    format: str, music: Path, out: Path, model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its beginning and end are right, so that only the merge finds out."""
    embed_folder(music, out, model=model, format=format)
    noise(music / "three.wav", seed=3)

    def read(*_: Any) -> Iterator[Any]:
        yield from ()
        raise ValueError("Corrupt snappy compressed data")

    monkeypatch.setattr(FORMATS[format], "read", read)
    before = (out / STORES[format]).read_bytes()
    for _ in range(2):
        with pytest.raises(OutputError, match=r"is damaged \(Corrupt snappy.*overwrite puts it"):
            embed_folder(music, out, model=model, format=format)
        assert (out / STORES[format]).read_bytes() == before
    assert embed_folder(music, out, model=model, format=format, overwrite=True).done == 3
    assert (out / f"{STORES[format]}.aside").read_bytes() == before
    monkeypatch.undo()
    assert embed_folder(music, out, model=model, format=format).skipped == 3


def broken_off(music: Path, out: Path, format: str, model: MusicEncoder) -> list[Path]:
    """Leave a run's parts behind, as a kill does; return them."""

    def stop(record: dict[str, Any]) -> None:
        if record["source"] == "two.wav":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_folder(
            music, out, model=model, format=format, jobs=1, batch_seconds=1e-3, on_file=stop
        )
    return sorted((out / ".musicssl").glob("parts/??/*.npz"))


@pytest.mark.parametrize("how", ["empty", "cut", "garbage", "foreign", "other space"])
@pytest.mark.parametrize("format", STORES)
def test_a_damaged_part_costs_only_its_source(
    how: str, format: str, music: Path, out: Path, model: MusicEncoder
) -> None:
    parts = broken_off(music, out, format, model)
    alone: dict[str, Any] = {"model": model, "format": format, "jobs": 1, "batch_seconds": 1e-3}
    assert len(parts) == 2
    if how == "foreign":
        np.savez(parts[0], x=1)
    elif how == "other space":
        with np.load(parts[0]) as data:
            np.savez(parts[0], **{**data, "space": "other"})
    else:
        spoil(parts[0], how)
    damaged = parts[0].read_bytes()
    assert embed_folder(music, out, model=model, format=format, dry_run=True).done == 1
    assert parts[0].read_bytes() == damaged
    summary = embed_folder(music, out, **alone)
    assert (summary.done, summary.skipped, summary.failed) == (1, 1, 0)
    assert parts[0].with_name(f"{parts[0].name}.aside").read_bytes() == damaged
    embed_folder(music, out.with_name("whole"), **alone)
    if format != "h5":
        store = STORES[format]
        assert (out / store).read_bytes() == (out.with_name("whole") / store).read_bytes()
    assert embed_folder(music, out, model=model, format=format).skipped == 2


def test_a_part_that_may_not_be_read_is_not_damaged(
    music: Path, out: Path, model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    parts = broken_off(music, out, "parquet", model)

    def refuse(path: Path) -> Any:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("musicssl.folder.pending.read_npz", refuse)
        with pytest.raises(OutputError, match="Too many open files"):
            embed_folder(music, out, model=model, format="parquet")
    assert sorted((out / ".musicssl").glob("parts/??/*")) == parts
    assert embed_folder(music, out, model=model, format="parquet").skipped == 2


def test_a_damaged_part_of_a_source_that_is_not_asked_for(
    music: Path, out: Path, model: MusicEncoder
) -> None:
    pytest.importorskip("pyarrow")
    for part in broken_off(music, out, "parquet", model):
        spoil(part, "cut")
    assert embed_folder(music / "a", out, model=model, format="parquet").done == 1


LINES = [
    *("5", "null", "{}", "[]", '"text"', "true", "1e999", "NaN", "[" * 100_000),
    '{"audio_filepath": "a.wav", "duration": 3}',
    '{"source": "two.wav"}',
    '{"source": 5, "status": "ok", "space": "s", "size": 1, "mtime_ns": 0}',
    '{"source": "\\ud800", "status": "ok", "space": "s", "size": 1, "mtime_ns": 0}',
    '{"source": "x", "status": null, "space": "s", "size": 1, "mtime_ns": 0}',
    '{"source": "x", "status": "ok", "space": ["s"], "size": 1, "mtime_ns": 0}',
    '{"source": "x", "status": "ok", "space": "s", "size": "1", "mtime_ns": 0}',
    '{"source": "x", "status": "ok", "space": "s", "size": 1, "mtime_ns": 0, "path": "\\ud800"}',
    '{"source": "x", "status": "ok", "space": "s", "size": ' + 9999 * "9" + ', "mtime_ns": 0}',
    "\0\0\0",
    "half a li",
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:40])
@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_lines_that_are_no_records_are_passed_over(
    line: str, format: str, music: Path, out: Path, model: MusicEncoder
) -> None:
    embed_folder(music, out, model=model, format=format)
    for _ in range(2):
        with (out / "manifest.jsonl").open("a") as file:
            file.write(f"{line}\n")
        assert embed_folder(music, out, model=model, format=format).skipped == 2
        assert embed_folder(music, out, model=model, format=format, dry_run=True).skipped == 2
    assert {"a/one.wav", "two.wav"} <= set(manifest(out))
    with (out / "manifest.jsonl").open("a") as file:
        file.write(f"{line}\n")
    assert embed_folder(music, out, model=model, layer=0, overwrite=True).done == 2


@pytest.mark.parametrize("data", [b"\0" * 999, b"garbage\n", "{}\n".encode("utf-16")])
def test_a_manifest_beyond_reading_is_put_aside(
    data: bytes, music: Path, out: Path, model: MusicEncoder
) -> None:
    embed_folder(music, out, model=model)
    (out / "manifest.jsonl").write_bytes(data)
    assert embed_folder(music, out, model=model).done == 2  # npz files say whose they are
    assert (out / "manifest.jsonl.aside").read_bytes() == data
    assert set(manifest(out)) == {"a/one.wav", "two.wav"}


SPACES = [
    *(b"", b"{", b"5", b"null", b"{}", b"[]", b"\xff\xfe", b"[" * 100_000),
    *('{"format": "zip"}', '{"format": 5}', '{"layers": "all"}', '{"layers": [[]]}'),
    '{"space": null}',
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: str(space)[:30])
@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_a_damaged_space(
    space: bytes | str, format: str, music: Path, out: Path, model: MusicEncoder
) -> None:
    summary = embed_folder(music, out, model=model, format=format)
    path = out / "space.json"
    if isinstance(space, str):
        space = json.dumps(json.loads(path.read_bytes()) | json.loads(space)).encode()
    path.write_bytes(space)
    for dry_run in (True, False):
        with pytest.raises(OutputError, match=r"space\.json .*\(--overwrite\) puts it aside"):
            embed_folder(music, out, model=model, format=format, dry_run=dry_run)
    assert path.read_bytes() == space
    again = embed_folder(music / "a", out, model=model, format=format, layer=0, overwrite=True)
    assert again.done == 1 and again.space != summary.space
    assert (out / "space.json.aside").read_bytes() == space
    assert set(manifest(out)) == {"one.wav"}  # none of the old space is left
    store = {"embeddings.parquet", "embeddings.parquet.aside"}  # it was of another space
    expected = {"one.wav.npz"} if format == "npz" else store
    assert set(tree(out)) == {"space.json", "space.json.aside"} | expected


# The disk's trouble and a file's


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("number", ["ENOSPC", "EROFS", "EIO", "EDQUOT", "EFBIG"])
def test_the_disks_trouble_stops_the_run(
    number: str,
    format: str,
    music: Path,
    out: Path,
    model: MusicEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import errno

    code = getattr(errno, number)
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if path.suffix in (".npz", ".npy", ".jsonl"):
            raise OSError(code, os.strerror(code))
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OutputError, match=os.strerror(code)):
            embed_folder(music, out, model=model, format=format)
    assert embed_folder(music, out, model=model, format=format).done == 2


@pytest.mark.parametrize("format", MINE)
@pytest.mark.parametrize("number", ["EACCES", "ESTALE", "EINVAL", "EISDIR", "ENAMETOOLONG"])
def test_one_names_trouble_is_its_own(
    number: str,
    format: str,
    music: Path,
    out: Path,
    model: MusicEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import errno

    code = getattr(errno, number)
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if Path(target).name.startswith("two.wav"):
            raise OSError(code, os.strerror(code))
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        summary = embed_folder(music, out, model=model, format=format)
    assert (summary.done, summary.failed) == (1, 1)
    assert os.strerror(code) in summary.failures[0][1] and "two.wav" in summary.failures[0][1]
    assert embed_folder(music, out, model=model, format=format).done == 1


@pytest.mark.parametrize("format", MINE)
def test_a_result_that_could_not_be_removed_is_still_ours(
    format: str, music: Path, out: Path, model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_folder(music, out, model=model, format=format)

    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith(("one.wav", "two.wav")):
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        summary = embed_folder(music, out, model=model, format=format, overwrite=True)
    assert summary.failed == 2
    assert embed_folder(music, out, model=model, format=format).done == 2


@pytest.mark.parametrize("status", ["ok", "skipped", "failed"])
def test_an_error_of_the_callers_comes_out_as_it_is(
    status: str, music: Path, out: Path, model: MusicEncoder
) -> None:
    if status == "skipped":
        embed_folder(music, out, model=model)
    if status == "failed":
        (music / "two.wav").write_text("bad")

    def fail(record: dict[str, Any]) -> None:
        if record["status"] == status:
            raise OSError(28, "the caller's own disk is full")

    with pytest.raises(OSError, match="the caller's own") as error:
        embed_folder(music, out, model=model, on_file=fail)
    assert not isinstance(error.value, OutputError)


@pytest.mark.parametrize("format", STORES)
def test_a_disk_that_is_full_when_parts_are_merged(
    format: str, music: Path, out: Path, model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("Unable to write (errno = 28, error message = 'No space left on device')")

    with monkeypatch.context() as patch:
        patch.setattr(FORMATS[format], "save_all", full)
        with pytest.raises(OutputError, match="No space left on device") as error:
            embed_folder(music, out, model=model, format=format)
    assert "\n" not in str(error.value)
    assert embed_folder(music, out, model=model, format=format).skipped == 2  # nothing is lost


# Locks


def test_locks_of_shards_go_with_the_merge(music: Path, out: Path, model: MusicEncoder) -> None:
    for i in (1, 2):
        embed_folder(music, out, model=model, shard=(i, 2))
    assert (out / ".musicssl" / "lock-1-of-2").exists()
    (out / ".musicssl" / "lock-mine").touch()
    embed_folder(music, out, model=model)
    assert sorted(path.name for path in (out / ".musicssl").iterdir()) == ["lock", "lock-mine"]


def test_a_file_system_without_locks_is_said(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def fail(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with lock_output(out, ""):
        assert "No locks available" in caplog.text


def test_foreign_manifests_of_shards_stay(music: Path, out: Path, model: MusicEncoder) -> None:
    embed_folder(music, out, model=model)
    (out / "manifest-1-of-2.jsonl").write_text("somebody's\n")
    (out / "manifest-best-of-all.jsonl").write_text(
        (out / "manifest.jsonl").read_text().replace("two.wav", "three.wav")
    )
    assert embed_folder(music, out, model=model).skipped == 2
    assert (out / "manifest-1-of-2.jsonl").read_text() == "somebody's\n"
    assert set(Manifest(out).keys()) == {"a/one.wav", "two.wav"}
