"""Audio by URL: fetched with fsspec, or said what is missing."""

import http.server
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from folder_trees import noise

from musicssl import AudioError, DependencyError, MusicEncoder, Segment
from musicssl.audio import remote
from musicssl.folder.api import embed_folder

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise(tmp_path_factory.mktemp("music") / "a.wav", 0.5)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives a file, half of it, or nothing."""

    data: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        found = {"/a.wav": self.data, "/half.wav": self.data, "/empty.wav": b""}
        name = self.path.partition("?")[0]
        if name not in found:
            self.send_error(500 if name == "/down.wav" else 404)
            return
        data = found[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[: len(data) // 2] if name == "/half.wav" else data)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(Handler, "data", file.read_bytes())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_what_fsspec_reads_is_audio(file: Path, model: MusicEncoder, scratch: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/a.wav", file.read_bytes())
    memory.pipe_file("/bucket/empty.wav", b"")
    url = "memory://bucket/a.wav"
    expected = model.embed(file)
    np.testing.assert_allclose(model.embed([url, file]), [expected] * 2, atol=1e-6)
    part = model.embed([Segment(url, 0.2), Segment(url, 0.0, 0.5)])
    np.testing.assert_allclose(part, [model.embed(file, offset=0.2), expected], atol=1e-5)
    with pytest.raises(AudioError, match=r"^http://\.\.\.: cannot be fetched"):
        model.embed("http://[::1")
    for wrong in ("none.wav", "empty.wav"):
        with pytest.raises(AudioError, match=f"memory://bucket/{wrong}: cannot be fetched"):
            model.embed(f"memory://bucket/{wrong}")
    found = model.embed([url, "memory://bucket/none.wav"], on_error="skip")
    assert found[0] is not None and found[1] is None
    assert list(scratch.iterdir()) == []


def test_a_server_that_fails_is_not_a_file_that_is_not_there(
    site: str, model: MusicEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "WAITS", (0.0,))
    for url, message in (
        (f"{site}/down.wav?token=secret", "cannot be looked at .*500"),
        ("http://127.0.0.1:1/a.wav?token=secret", "cannot be looked at .*Connect"),
        (f"{site}/none.wav?token=secret", "there is no such file"),
    ):
        with pytest.raises(AudioError, match=message) as caught:
            embed_folder(url, tmp_path / "out", model=model)
        assert "secret" not in str(caught.value)


def test_http(site: str, file: Path, model: MusicEncoder, scratch: Path) -> None:
    found = model.embed(f"{site}/a.wav?token=secret")
    np.testing.assert_allclose(found, model.embed(file), atol=1e-6)
    for name in ("half.wav", "none.wav", "empty.wav"):
        with pytest.raises(AudioError, match="cannot be fetched") as caught:
            model.embed(f"{site}/{name}?token=secret")
        assert str(caught.value).startswith(f"{site}/{name}: ")
        assert "secret" not in str(caught.value)
    assert list(scratch.iterdir()) == []


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, model: MusicEncoder) -> None:
    advice = r"pip install 'musicssl\[remote\]'"
    monkeypatch.setitem(sys.modules, "s3fs", None)
    known = sys.modules["fsspec.registry"]._registry
    monkeypatch.delitem(known, "s3", raising=False)
    with pytest.raises(DependencyError, match=f"s3:// needs fsspec and .*{advice}"):
        model.embed("s3://bucket/a.wav")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(DependencyError, match=advice):
        model.embed(["memory://bucket/a.wav"], on_error="skip")


def test_a_protocol_that_nobody_knows(model: MusicEncoder) -> None:
    with pytest.raises(AudioError, match="song://a: is a URL that fsspec cannot read"):
        model.embed("song://a")


def test_a_url_is_no_path(model: MusicEncoder, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"is a URL in a Path, which has lost a slash"):
        embed_folder(Path("s3://bucket/music"), tmp_path / "out", model=model)


def test_segments_of_folders_are_on_disks(model: MusicEncoder, tmp_path: Path) -> None:
    summary = embed_folder([Segment("s3://bucket/a.wav")], tmp_path / "out", model=model)
    ((_, error),) = summary.failures
    assert "is a URL; only get_embedding reads those" in error


def test_no_drive_is_a_protocol() -> None:
    assert not remote.is_url("C://music/a.wav") and not remote.is_url(Path("s3://a"))
    assert remote.is_url("simplecache::s3://bucket/a.wav")


def test_schemes_may_be_in_capitals(file: Path, model: MusicEncoder) -> None:
    for url in (f"FILE://{file}", f"SimpleCache::File://{file}"):
        np.testing.assert_array_equal(model.embed(url), model.embed(file))
