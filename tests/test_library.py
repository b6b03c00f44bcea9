"""`musicssl.load_embeddings`: what the folder command wrote, as a matrix and a table."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_trees import noise

import musicssl
from musicssl import ConfigError, DependencyError, EmbeddingTable, OutputError, embed_folder
from musicssl.folder.formats import FORMATS

PACKAGES = {"parquet": "pyarrow", "h5": "h5py"}
NAMES = ["a/one.wav", "a/two.wav", "b.wav", "ü '\"<é>.wav"]


def skip_without(format: str) -> None:
    if format in PACKAGES and not importlib.util.find_spec(PACKAGES[format]):
        pytest.skip(f"{PACKAGES[format]} is not installed")


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for seed, name in enumerate(NAMES):
        noise(folder / name, seed=seed)
    return folder


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> musicssl.MusicEncoder:
    return musicssl.load_model(tiny_model_folder, device="cpu")


@pytest.fixture
def folder(tmp_path: Path, music: Path, model: musicssl.MusicEncoder) -> Path:
    embed_folder(music, tmp_path / "out", model=model)
    return tmp_path / "out"


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same_table(
    format: str, tmp_path: Path, music: Path, model: musicssl.MusicEncoder
) -> None:
    skip_without(format)
    embed_folder(music, tmp_path, model=model, format=format)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    table = musicssl.load_embeddings(tmp_path)
    assert table.sources == NAMES
    assert table.paths == [str(music / name) for name in NAMES]
    assert table.values.dtype == np.float32
    alone = np.stack([model.embed(music / name) for name in NAMES])
    np.testing.assert_allclose(table.values, alone, atol=1e-5)
    assert table.columns["duration"] == pytest.approx([0.3] * 4, abs=1e-3)
    assert table.columns["channels"] == [1] * 4
    assert table.settings["pooling"] == "mean"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("format", ["npz", "parquet", "h5"])
def test_results_of_shards_that_are_not_merged_are_found(
    format: str, tmp_path: Path, music: Path, model: musicssl.MusicEncoder
) -> None:
    skip_without(format)
    for i in (1, 2):
        embed_folder(music, tmp_path, model=model, format=format, shard=(i, 2))
    assert musicssl.load_embeddings(str(tmp_path)).sources == NAMES


@pytest.mark.parametrize("format", ["parquet", "h5"])
def test_results_of_a_run_that_was_broken_off_are_newer_than_what_is_merged(
    format: str, tmp_path: Path, music: Path, model: musicssl.MusicEncoder
) -> None:
    skip_without(format)
    own = shutil.copytree(music, tmp_path / "music")
    embed_folder(own, tmp_path / "out", model=model, format=format)
    before = musicssl.load_embeddings(tmp_path / "out").values
    noise(own / "a/one.wav", seconds=0.4, seed=9)

    def stop(record: dict[str, object]) -> None:
        if record["status"] == "ok":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        embed_folder(own, tmp_path / "out", model=model, format=format, on_file=stop, jobs=1)
    table = musicssl.load_embeddings(tmp_path / "out")
    np.testing.assert_allclose(table.values[0], model.embed(own / "a/one.wav"), atol=1e-5)
    np.testing.assert_array_equal(table.values[1:], before[1:])


def test_failed_files_are_not_in_the_table(tmp_path: Path, model: musicssl.MusicEncoder) -> None:
    noise(tmp_path / "in/good.wav")
    (tmp_path / "in/bad.wav").write_bytes(b"RIFF")
    embed_folder(tmp_path / "in", tmp_path / "out", model=model)
    assert musicssl.load_embeddings(tmp_path / "out").sources == ["good.wav"]


def test_results_that_are_gone_or_damaged_are_named(folder: Path) -> None:
    (folder / "b.wav.npz").unlink()
    (folder / "a/two.wav.npz").write_bytes(b"no zip")
    manifest = folder / "manifest.jsonl"
    manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[::-1]))
    with pytest.raises(OutputError, match=r"missing or damaged: 'a/two.wav', 'b.wav'\. Run"):
        musicssl.load_embeddings(folder)
    table = musicssl.load_embeddings(folder, on_error="skip")
    assert table.sources == [NAMES[0], NAMES[3]] and len(table) == 2


@pytest.mark.parametrize("format", ["npz", "jsonl"])
def test_a_result_of_another_space_is_refused(
    format: str, tmp_path: Path, music: Path, model: musicssl.MusicEncoder
) -> None:
    embed_folder(music, tmp_path / "one", model=model, format=format)
    embed_folder(music, tmp_path / "two", model=model, format=format, layer=0)
    name = f"b.wav.{format}"
    shutil.copy(tmp_path / "two" / name, tmp_path / "one" / name)
    with pytest.raises(OutputError, match="space"):
        musicssl.load_embeddings(tmp_path / "one")


def test_a_manifest_of_another_space_is_refused(folder: Path) -> None:
    manifest = folder / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_bytes().splitlines()]
    lines[1]["space"] = "other@12345678/clip/mean/layers=0/soxr"
    manifest.write_text("\n".join(map(json.dumps, lines)) + "\n")
    with pytest.raises(OutputError, match=r"other@12345678.*cannot be compared"):
        musicssl.load_embeddings(folder)


def test_several_folders_are_joined_if_they_are_of_one_space(
    tmp_path: Path, model: musicssl.MusicEncoder
) -> None:
    for name in ("x", "y"):
        noise(tmp_path / name / f"{name}.wav")
        embed_folder(tmp_path / name, tmp_path / f"out-{name}", model=model)
    embed_folder(tmp_path / "y", tmp_path / "frames", model=model, level="frame")
    embed_folder(tmp_path / "y", tmp_path / "max", model=model, pooling="max")
    both = musicssl.load_embeddings([tmp_path / "out-x", tmp_path / "out-y"])
    assert both.sources == ["x.wav", "y.wav"] and both.values.shape == (2, model.clip_dim)
    assert len(both.columns["duration"]) == 2
    with pytest.raises(OutputError, match="cannot be compared"):
        musicssl.load_embeddings([tmp_path / "out-x", tmp_path / "max"])
    with pytest.raises(OutputError, match=r"have a result for 'x.wav'"):
        musicssl.load_embeddings([tmp_path / "out-x", tmp_path / "out-x"])
    with pytest.raises(OutputError, match=r"holds frames.*without --level frame"):
        musicssl.load_embeddings(tmp_path / "frames")


def test_what_is_no_folder_of_embeddings_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; expected a folder"):
        musicssl.load_embeddings(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="is a file"):
        musicssl.load_embeddings(folder / "space.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match=r"no space.json"):
        musicssl.load_embeddings(tmp_path / "empty")
    (folder / "manifest.jsonl").write_bytes(b"")
    with pytest.raises(OutputError, match="no embeddings yet"):
        musicssl.load_embeddings(folder)
    wrong: Any
    for wrong in (5, b"x", {"a": 1}, []):
        with pytest.raises(ConfigError, match="folder"):
            musicssl.load_embeddings(wrong)
    with pytest.raises(ConfigError, match="on_error"):
        musicssl.load_embeddings(folder, on_error="ignore")


def test_the_table_becomes_a_data_frame(folder: Path) -> None:
    pytest.importorskip("pandas")
    table = musicssl.load_embeddings(folder)
    frame = table.to_pandas()
    assert frame["source"].tolist() == NAMES
    assert {"path", "duration", "sample_rate"} <= set(frame.columns)
    wide = table.to_pandas(embeddings=True)
    np.testing.assert_array_equal(wide[["0", "15"]].to_numpy(), table.values[:, [0, 15]])


def test_without_pandas_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(DependencyError, match="pip install pandas"):
        EmbeddingTable(np.zeros((1, 2), np.float32), ["a"], ["/a"]).to_pandas()


def test_rows_can_be_taken(folder: Path) -> None:
    table = musicssl.load_embeddings(folder)
    some = table.take([2, 0])
    assert some.sources == [NAMES[2], NAMES[0]]
    np.testing.assert_array_equal(some.values, table.values[[2, 0]])
    assert some.columns["content"] == [table.columns["content"][i] for i in (2, 0)]
