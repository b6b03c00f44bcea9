"""Stages of the work on a Ray cluster, without one; and one on this machine, where Ray is there."""

import json
import pickle
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_trees import manifest, noise

import musicssl
from musicssl import ConfigError, DependencyError, ModelError, MusicEncoder, Segment
from musicssl.audio import AUDIO_EXTENSIONS
from musicssl.cli.main import main
from musicssl.folder.api import embed_folder
from musicssl.folder.dataset import DatasetLedger, read_parts, result_digest
from musicssl.folder.listing import Listing
from musicssl.folder.places import place_of
from musicssl.folder.segments import SegmentListing
from musicssl.inference.options import EmbedOptions

pa = pytest.importorskip("pyarrow")
from musicssl.ray import encoding  # noqa: E402 - it needs pyarrow
from musicssl.ray.decoding import Decode, Decoding, record_of  # noqa: E402
from musicssl.ray.encoding import DecodeEncode, Encode  # noqa: E402
from musicssl.ray.rows import Pending  # noqa: E402

NONE = np.empty(0, np.uint64)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for i in range(4):
        noise(folder / f"{i}.wav", 0.3 + 0.4 * i, i)
    (folder / "bad.wav").write_bytes(b"no music")
    with tarfile.open(folder / "shard.tar", "w") as tar:
        tar.add(folder / "1.wav", "1.wav")
        tar.add(folder / "2.wav", "2.wav")
    return folder


@pytest.fixture(scope="module")
def local(music: Path, model: MusicEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local")
    embed_folder(music, out, model=model, extensions={".wav", ".tar"})
    return out


def items(music: Path) -> Any:
    listing = Listing([music], extensions={".wav", ".tar"})
    return pa.table({"item": [pickle.dumps((item, item.seen())) for item in listing]})


def decoding(model: MusicEncoder, **options: Any) -> Decoding:
    extensions = frozenset(AUDIO_EXTENSIONS)
    rates = {"sample_rate": model.sample_rate, "hop": model.hop}
    return Decoding(**rates, resampler="soxr", mono="mean", extensions=extensions, **options)


def results(table: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    for line, values in zip(table["record"], table["values"], strict=True):
        data = values.as_py()
        yield json.loads(line.as_py()), None if data is None else np.frombuffer(data, np.float32)


@pytest.mark.parametrize("long", [600.0, 0.5])  # some are decoded where they are encoded
@pytest.mark.parametrize("joined", [False, True])
def test_stages_give_what_the_local_command_gives(
    long: float, joined: bool, music: Path, local: Path, model: MusicEncoder
) -> None:
    decode = Decode(decoding=decoding(model, long=long), done=NONE)
    settings = EmbedOptions().resolve(model)
    if joined:
        encoded = pa.concat_tables(DecodeEncode(decode, model, settings)(items(music)))
    else:
        decoded = pa.concat_tables(decode(items(music)))
        assert (decoded["item"].null_count < len(decoded)) == (long < 1)
        encoded = Encode(model, settings, decode.decoding)(decoded)
    wanted = manifest(local)
    table = musicssl.load_embeddings(local)
    vectors = dict(zip(table.sources, table.values, strict=True))
    found = dict((record["source"], (record, values)) for record, values in results(encoded))
    assert found.keys() == wanted.keys()
    for name, (record, values) in found.items():
        assert record["status"] == wanted[name]["status"]
        for fact in ("path", "duration", "sample_rate", "peak", "error", "size", "content"):
            assert record.get(fact) == wanted[name].get(fact), (name, fact)
        if record["status"] == "ok":
            np.testing.assert_allclose(values, vectors[name], atol=1e-6)
        else:
            assert values is None
    assert found["shard.tar"][0]["members"] == wanted["shard.tar"]["members"]


def test_one_bad_batch_fails_its_cause_alone(
    music: Path, model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Decode(decoding=decoding(model), done=NONE)
    decoded = pa.concat_tables(decode(items(music)))
    run = encoding.Engine.run

    def failing(engine: Any, sources: Any) -> Any:
        found = list(sources)
        if any(len(getattr(one, "audio", ())) > 20_000 for one in found):
            raise RuntimeError("out of memory")
        return run(engine, found)

    monkeypatch.setattr(encoding.Engine, "run", failing)
    settings = EmbedOptions().resolve(model)
    encoded = list(results(Encode(model, settings, decode.decoding)(decoded)))
    failed = {record["source"] for record, _ in encoded if record["status"] == "failed"}
    assert failed == {"2.wav", "3.wav", "bad.wav", "shard.tar/2.wav"}
    assert all((values is None) == (r["status"] != "ok") for r, values in encoded)

    def damaged(engine: Any, sources: Any) -> Any:
        raise ModelError("damaged weights")

    monkeypatch.setattr(encoding.Engine, "run", damaged)
    with pytest.raises(ModelError):  # concerns all: no row of its own
        Encode(model, settings, decode.decoding)(decoded)


def test_parts_of_files_keep_their_columns(music: Path, model: MusicEncoder) -> None:
    part = Segment(music / "3.wav", 0.2, 0.9, id="chorus", metadata={"mood": "glad"})
    (item,) = SegmentListing([part])
    table = pa.table({"item": [pickle.dumps((item, item.seen()))]})
    decode = Decode(decoding=decoding(model), done=NONE)
    (encoded,) = DecodeEncode(decode, model, EmbedOptions().resolve(model))(table)
    ((record, values),) = results(encoded)
    assert (record["start"], record["end"], record["columns"]) == (0.2, 0.9, {"mood": "glad"})
    np.testing.assert_allclose(values, model.embed(part), atol=1e-5)


def test_members_that_have_results_are_passed(
    music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    embed_folder(music / "shard.tar", tmp_path / "out", model=model, format="dataset")
    done = DatasetLedger(place_of(tmp_path / "out")).digests()
    listing = Listing([music / "shard.tar"], extensions=())
    table = pa.table({"item": [pickle.dumps((item, item.seen())) for item in listing]})
    (row,) = Decode(decoding=decoding(model), done=done)(table)
    assert json.loads(row["record"][0].as_py())["status"] == "read"


def test_rows_of_data_sets_are_items(music: Path, model: MusicEncoder, tmp_path: Path) -> None:
    data = (music / "0.wav").read_bytes()
    rows = pa.table(
        {
            "path": [str(music / "1.wav"), "two.wav", None, str(music / "none.wav")],
            "bytes": [None, data, None, None],
            "source": [None, None, "three", None],
        }
    )
    found = [pickle.loads(one.as_py()) for one in Pending(NONE)(rows)["item"]]
    first = np.array([result_digest(record_of(*found[0]))], np.uint64)
    again = [pickle.loads(one.as_py()) for one in Pending(first)(rows)["item"]]
    assert again[0] == found[0][0].key and again[1:] == found[1:]  # it has a result
    keys = [item.key for item, _ in found]
    assert keys[0].endswith("1.wav") and keys[1:3] == ["two.wav", "three"]
    assert found[0][1].size == (music / "1.wav").stat().st_size
    with found[1][0].origin.open() as file:
        assert file.read() == data
    assert "has no path and no bytes" in found[2][0].error
    assert found[3][0].error == "No such file or directory"


def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, music: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match=r"pip install 'musicssl\[ray\]'"):
        musicssl.ray.embed(music, tmp_path / "out")
    out = str(tmp_path / "out")
    assert main([str(music), "-o", out, "--engine", "ray", "--model", str(tiny_model_folder)]) == 2


def test_a_cluster_writes_data_sets_only(music: Path, model: MusicEncoder, tmp_path: Path) -> None:
    def engine(run: Any, jobs: Any) -> None:
        raise AssertionError

    with pytest.raises(ConfigError, match="'npz' is for folders on disks that one machine writes"):
        embed_folder(music, tmp_path / "out", model=model, format="npz", engine=engine)


# A cluster of one core


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        size = 200_000_000
        ray.init(num_cpus=1, object_store_memory=size, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.mark.slow
def test_a_cluster_gives_what_the_local_command_gives(
    cluster: Any, music: Path, local: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    run = partial(musicssl.ray.embed, music, tmp_path / "out", model=model)
    run = partial(run, extensions={".wav", ".tar"})
    summary = run()
    assert (summary.done, summary.failed) == (6, 1)
    one, two = (musicssl.load_embeddings(folder) for folder in (local, tmp_path / "out"))
    assert two.sources == one.sources and two.space == one.space and two.columns == one.columns
    np.testing.assert_allclose(two.values, one.values, atol=1e-6)
    again = run(encoders=1)  # in two stages
    assert (again.done, again.skipped, again.failed) == (0, 6, 1)
    rows = [row for part in read_parts(place_of(tmp_path / "out")) for row in part.to_pylist()]
    assert sorted(r["source"] for r in rows if r["status"] == "ok") == one.sources
