"""Folders and data sets behind URLs: the same as on a disk, through faults, each file once."""

import http.server
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_trees import manifest, noise

import musicssl
from musicssl import AudioError, ConfigError, MusicEncoder, OutputError, Segment
from musicssl.audio import remote
from musicssl.cli.main import main
from musicssl.folder import dataset
from musicssl.folder.api import embed_folder
from musicssl.folder.dataset import read_parts
from musicssl.folder.places import place_of

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("pyarrow")
import flaky_store  # noqa: E402 - it needs fsspec

NAMES = ["a/one.wav", "a/two.wav", "b/c/one.wav", "three.wav"]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for i, name in enumerate(NAMES):
        noise(folder / name, 0.3, i)
    (folder / "cover.jpg").write_bytes(b"no music")
    noise(folder / ".hidden.wav", 0.3)
    return folder


@pytest.fixture(scope="module")
def expected(music: Path, model: MusicEncoder) -> dict[str, Any]:
    return {name: model.embed(music / name) for name in NAMES}


@pytest.fixture
def store(music: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The music, in a store that can fail; nobody waits before the next try."""
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0, 0.0))
    system = flaky_store.FlakyFileSystem()
    for path in sorted(music.rglob("*")):
        if path.is_file():
            system.pipe_file(f"/bucket/music/{path.relative_to(music)}", path.read_bytes())
    flaky_store.FlakyFileSystem.faults = {}
    flaky_store.FlakyFileSystem.asked.clear()
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    flaky_store.FlakyFileSystem.faults = {}


def same(folder: str | Path, expected: dict[str, Any], prefix: str = "") -> None:
    table = musicssl.load_embeddings(folder)
    assert table.sources == [prefix + name for name in sorted(expected)]
    values = [expected[name] for name in sorted(expected)]
    np.testing.assert_allclose(table.values, values, atol=1e-6)


# Sources


def test_a_url_is_a_folder(store: Any, expected: Any, model: MusicEncoder, tmp_path: Path) -> None:
    summary = embed_folder("flaky://bucket/music", tmp_path / "out", model=model)
    assert (summary.done, summary.failed) == (4, 0)
    assert dict(summary.passed_over) == {"hidden": 1, ".jpg": 1}
    same(tmp_path / "out", expected)
    records = manifest(tmp_path / "out")
    assert records["a/one.wav"]["path"] == "flaky://bucket/music/a/one.wav"
    gets = store.asked["get"]
    again = embed_folder("flaky://bucket/music", tmp_path / "out", model=model)
    assert (again.done, again.skipped) == (0, 4)
    assert store.asked["get"] == gets  # nothing is fetched to know that


def test_what_has_changed_or_is_new_is_embedded(
    store: Any, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    run = partial(embed_folder, "flaky://bucket/music", tmp_path / "out", model=model)
    run()
    time.sleep(0.001)
    store.pipe_file("/bucket/music/a/one.wav", (music / "three.wav").read_bytes())
    store.pipe_file("/bucket/music/late.wav", (music / "three.wav").read_bytes())
    summary = run()
    assert (summary.done, summary.skipped) == (2, 3)


def test_patterns_files_and_names(store: Any, model: MusicEncoder, tmp_path: Path) -> None:
    def keys(*urls: str, **options: Any) -> list[str]:
        from musicssl.audio import AUDIO_EXTENSIONS
        from musicssl.folder.remote import RemoteListing

        listing = RemoteListing(urls, extensions=AUDIO_EXTENSIONS, **options)
        return [item.key for item in listing]

    base = "flaky://bucket/music"
    assert keys(base) == keys(f"{base}/") == NAMES
    assert keys(f"{base}/a/*.wav") == ["one.wav", "two.wav"]
    assert keys(f"{base}/*/one.wav", f"{base}/b") == ["one.wav", "b/c/one.wav"]
    assert keys(f"{base}/three.wav", listed=True) == ["bucket/music/three.wav"]
    assert keys(base, shard=musicssl.folder.listing.Shard(2, 2)) == NAMES[1::2]


def test_faults_that_pass_cost_nothing(
    store: Any,
    expected: Any,
    model: MusicEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # files are fetched side by side, so one of them may meet all four faults: the fifth try helps
    monkeypatch.setattr(remote, "WAITS", (0.0,) * 4)
    faults = flaky_store.FlakyFileSystem.faults
    faults["get"] = [flaky_store.lost, flaky_store.throttled, None, flaky_store.lost]
    faults["cut"] = [None, flaky_store.lost]  # half of a file, as if that were all
    faults["ls"] = [flaky_store.throttled, flaky_store.lost]
    summary = embed_folder("flaky://bucket/music", tmp_path / "out", model=model, jobs=1)
    assert (summary.done, summary.failed) == (4, 0)
    same(tmp_path / "out", expected)
    assert not faults["get"] and not faults["cut"] and not faults["ls"]


def test_faults_that_stay_fail_one_file(store: Any, model: MusicEncoder, tmp_path: Path) -> None:
    faults = flaky_store.FlakyFileSystem.faults
    faults["get"] = [flaky_store.forbidden]
    summary = embed_folder("flaky://bucket/music/three.wav", tmp_path / "a", model=model)
    ((source, error),) = summary.failures
    assert source == "three.wav" and "credentials do not allow" in error
    assert store.asked["get"] == 1  # a refusal is not asked again
    faults["get"] = [flaky_store.throttled] * 4
    summary = embed_folder("flaky://bucket/music/three.wav", tmp_path / "b", model=model)
    assert "SlowDown: 503: reduce" in summary.failures[0][1]


def test_what_is_not_there_is_said(store: Any, model: MusicEncoder, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"flaky://none: there is no such file, folder or bucket"):
        embed_folder("flaky://none", tmp_path / "out", model=model)
    with pytest.raises(AudioError, match=r"flaky://bucket/\*\.mp3: fits nothing"):
        embed_folder("flaky://bucket/*.mp3", tmp_path / "out", model=model)
    flaky_store.FlakyFileSystem.faults["ls"] = [flaky_store.forbidden] * 2
    summary = embed_folder("flaky://bucket/music", tmp_path / "out", model=model)
    assert "cannot be looked at (PermissionError" in summary.failures[0][1]
    with pytest.raises(ConfigError, match="mixes URLs and others"):
        embed_folder(["flaky://bucket", "here"], tmp_path / "out", model=model)
    with pytest.raises(ConfigError, match="prune is for folders on disks"):
        embed_folder("flaky://bucket", tmp_path / "out", model=model, prune=True)


def test_another_object_under_the_name_is_refused(
    store: Any, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    embed_folder("flaky://bucket/music/a", tmp_path / "out", model=model)
    store.pipe_file("/other/one.wav", (music / "three.wav").read_bytes())
    summary = embed_folder("flaky://other", tmp_path / "out", model=model)
    assert (
        "one.wav is already the result of flaky://bucket/music/a/one.wav"
        in (summary.failures[0][1])
    )


@pytest.fixture
def site(music: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            file = Path(self.translate_path(self.path))
            if file.is_file():
                self.send_header("ETag", f'"{file.stat().st_mtime_ns}"')
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    handler = partial(Quiet, directory=str(music))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_index_pages_are_folders(
    site: str, music: Path, expected: Any, model: MusicEncoder, tmp_path: Path
) -> None:
    summary = embed_folder(f"{site}/", tmp_path / "out", model=model)
    assert (summary.done, summary.failed) == (4, 0)
    same(tmp_path / "out", expected)
    assert embed_folder(f"{site}/", tmp_path / "out", model=model).skipped == 4
    before = (music / "three.wav").stat().st_mtime
    os.utime(music / "three.wav", (before + 2, before + 2))  # all that an index page leaves to see
    assert embed_folder(f"{site}/", tmp_path / "out", model=model).done == 1
    one = embed_folder(f"{site}/a/one.wav?token=secret", tmp_path / "one", model=model)
    assert one.done == 1
    assert "secret" not in (tmp_path / "one" / "manifest.jsonl").read_text()


# Results


@pytest.mark.parametrize("out", ["flaky://results/out", "local"])
def test_a_data_set_is_gone_on_with(
    out: str, store: Any, music: Path, expected: Any, model: MusicEncoder, tmp_path: Path
) -> None:
    place: Any = out if "://" in out else tmp_path / out
    run = partial(embed_folder, music, place, model=model, format="dataset", jobs=1)
    seen: list[str] = []

    def kill(record: dict[str, Any]) -> None:
        seen.append(record["source"])
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_file=kill)
    summary = run()
    assert summary.skipped >= 1 and summary.done + summary.skipped == 4
    assert run().skipped == 4
    same(place, expected)
    rows = [row for part in read_parts(place_of(place)) for row in part["source"].to_pylist()]
    assert sorted(rows) == sorted(NAMES)  # each file once


def test_a_data_set_holds_the_manifest(
    store: Any, music: Path, model: MusicEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (music / "bad.mp3").write_bytes(b"no music at all")
    try:
        embed_folder(music, tmp_path / "npz", model=model)
        summary = embed_folder(music, "flaky://results", model=model)
    finally:
        (music / "bad.mp3").unlink()
    assert (summary.done, summary.failed, summary.format) == (4, 1, "dataset")
    wanted = manifest(tmp_path / "npz")
    (part,) = read_parts(place_of("flaky://results"))
    for row in part.drop_columns(["embedding"]).to_pylist():
        record = wanted[row["source"]]
        for name in (
            "path",
            "status",
            "error",
            "duration",
            "sample_rate",
            "peak",
            "size",
            "content",
        ):
            assert row[name] == record.get(name), name
    assert part.schema.metadata[b"space"].decode() == summary.space
    one = musicssl.load_embeddings(tmp_path / "npz")
    two = musicssl.load_embeddings("flaky://results")
    assert two.columns == one.columns and two.space == one.space and two.paths == one.paths


def test_parts_are_of_limited_size(
    music: Path, model: MusicEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = partial(embed_folder, music, model=model, format="dataset", jobs=1)
    monkeypatch.setattr(dataset, "PART_SECONDS", 0.0)  # as if each took a minute
    run(tmp_path / "slow")
    assert len(list((tmp_path / "slow" / "parts").iterdir())) == 4
    monkeypatch.undo()
    monkeypatch.setattr(dataset, "_PART_VALUES", 2 * 16)
    run(tmp_path / "large")
    assert len(list((tmp_path / "large" / "parts").iterdir())) == 2


def test_uploads_that_fail_are_tried_again_and_then_told(
    store: Any, music: Path, expected: Any, model: MusicEncoder
) -> None:
    faults = flaky_store.FlakyFileSystem.faults
    faults["put"] = [flaky_store.throttled, None, flaky_store.lost]
    embed_folder(music, "flaky://results", model=model)
    same("flaky://results", expected)
    faults["put"] = [flaky_store.forbidden] * 9
    with pytest.raises(
        OutputError, match=r"flaky://else/space.json cannot be written \(Permission"
    ):
        embed_folder(music, "flaky://else", model=model)


def test_spaces_do_not_mix(music: Path, store: Any, model: MusicEncoder, tmp_path: Path) -> None:
    out = "flaky://results"
    embed_folder(music, out, model=model, pooling="max")
    with pytest.raises(OutputError, match="pooling is max there, mean was asked for"):
        embed_folder(music, out, model=model, pooling="mean")
    embed_folder(music, out, model=model, pooling="mean", overwrite=True)
    assert musicssl.load_embeddings(out).settings["pooling"] == "mean"
    embed_folder(music, tmp_path / "set", model=model, format="dataset")
    with pytest.raises(OutputError, match=r"describes a data set.*format dataset"):
        embed_folder(music, tmp_path / "set", model=model)
    embed_folder(music, tmp_path / "npz", model=model)
    with pytest.raises(OutputError, match="format is npz there, dataset was asked for"):
        embed_folder(music, tmp_path / "npz", model=model, format="dataset", overwrite=True)


def test_frames_have_times(music: Path, store: Any, model: MusicEncoder) -> None:
    embed_folder(music / "three.wav", "flaky://frames", model=model, level="frame")
    (part,) = read_parts(place_of("flaky://frames"))
    wanted = model.embed(music / "three.wav", level="frame")
    assert part["time"].to_pylist() == wanted.times.tolist()
    np.testing.assert_allclose(np.stack(part["embedding"].to_pylist()), wanted.values, atol=1e-6)
    with pytest.raises(OutputError, match="holds frames"):
        musicssl.load_embeddings("flaky://frames")


def test_what_a_data_set_cannot_have(music: Path, store: Any, model: MusicEncoder) -> None:
    with pytest.raises(ConfigError, match="'npz' is for folders on disks"):
        embed_folder(music, "flaky://out", model=model, format="npz")
    with pytest.raises(ConfigError, match="prune is for folders of results"):
        embed_folder(music, "flaky://out", model=model, prune=True)
    with pytest.raises(OutputError, match=r"flaky://nothing has no space\.json"):
        musicssl.load_embeddings("flaky://nothing")


def test_a_damaged_part_is_named(music: Path, model: MusicEncoder, tmp_path: Path) -> None:
    embed_folder(music, tmp_path / "out", model=model, format="dataset")
    (part,) = (tmp_path / "out" / "parts").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(OutputError, match=rf"{part.name} is damaged .* remove it and run again"):
        embed_folder(music, tmp_path / "out", model=model, format="dataset")


def test_the_command_takes_urls(
    store: Any, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_model_folder), "--device", "cpu"]
    assert main(["flaky://bucket/music", "-o", "flaky://results", *model]) == 0
    assert "4 embedded" in capsys.readouterr().err
    assert main(["flaky://bucket/music", "-o", "flaky://results", "--dry-run", *model]) == 0
    assert "4 there already" in capsys.readouterr().err
    assert main(["flaky://none", "-o", str(tmp_path / "x"), *model]) == 2
    assert "there is no such file" in capsys.readouterr().err
    assert main(["flaky://bucket", "-o", str(tmp_path / "x"), "--address", "a:1", *model]) == 2
    assert "give --engine ray too" in capsys.readouterr().err


def test_a_tar_that_cannot_be_looked_at_fails_alone(
    store: Any, model: MusicEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pipe_file("/shards/00.tar", b"x" * 2000)
    info = {"name": "/shards/00.tar", "type": "file", "size": 2000}  # neither etag nor time
    monkeypatch.setattr(
        flaky_store.FlakyFileSystem, "glob", lambda *_, **__: {"/shards/00.tar": info}
    )
    summary = embed_folder("flaky://shards/*.tar", tmp_path / "out", model=model)
    assert "damaged or cut off at byte 0" in summary.failures[0][1]
    store.rm_file("/shards/00.tar")
    summary = embed_folder("flaky://shards/*.tar", tmp_path / "out", model=model)
    assert "there is no such file" in summary.failures[0][1]


def test_of_a_file_that_has_changed_the_last_result_counts(
    store: Any, music: Path, model: MusicEncoder
) -> None:
    run = partial(embed_folder, "flaky://bucket/music/a", "flaky://results", model=model)
    run()
    time.sleep(0.001)
    store.pipe_file("/bucket/music/a/one.wav", (music / "three.wav").read_bytes())
    assert (run().done, run().skipped) == (1, 2)
    table = musicssl.load_embeddings("flaky://results")
    assert table.sources == ["one.wav", "two.wav"]
    np.testing.assert_allclose(table.values[0], model.embed(music / "three.wav"), atol=1e-6)
    time.sleep(0.001)
    store.pipe_file("/bucket/music/a/one.wav", b"no music any more")
    assert run().failed == 1
    assert musicssl.load_embeddings("flaky://results").sources == ["two.wav"]


def test_parts_of_files_keep_their_columns(music: Path, store: Any, model: MusicEncoder) -> None:
    part = Segment(music / "three.wav", 0.05, id="end", metadata={"mood": "glad"})
    embed_folder([part], "flaky://results", model=model)
    table = musicssl.load_embeddings("flaky://results")
    assert table.sources == ["end"] and table.columns["mood"] == ["glad"]
    assert (table.columns["start"], table.columns["end"]) == ([0.05], [None])
    np.testing.assert_allclose(table.values[0], model.embed(part), atol=1e-5)


def test_a_store_that_refuses_a_part_ends_the_run(
    store: Any,
    music: Path,
    expected: Any,
    model: MusicEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dataset, "PART_SECONDS", 0.0)
    run = partial(embed_folder, music, "flaky://results", model=model, jobs=1)
    puts = [None, None, *[flaky_store.forbidden] * 9]  # space.json and one part are written
    flaky_store.FlakyFileSystem.faults["put"] = puts
    with pytest.raises(OutputError, match=r"part-\d+-\w+\.parquet cannot be written \(Permission"):
        run()
    flaky_store.FlakyFileSystem.faults = {}
    summary = run()
    assert (summary.done, summary.skipped) == (3, 1)
    same("flaky://results", expected)
