"""A real S3 server on this machine, with the faults of stores; skipped without moto and s3fs."""

import threading
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from folder_trees import noise

import musicssl
from musicssl import AudioError, MusicEncoder, OutputError
from musicssl.audio import remote
from musicssl.folder.api import embed_folder
from musicssl.folder.dataset import read_parts
from musicssl.folder.places import place_of

pytest.importorskip("s3fs")
pytest.importorskip("pyarrow")
moto = pytest.importorskip("moto.server")
serving = pytest.importorskip("werkzeug.serving")
from fsspec.config import conf  # noqa: E402 - it may be missing

COUNT = 6
SLOW_DOWN = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"""


class Faults:
    """Stands before the server: of requests for objects, some fail, once each."""

    planned: ClassVar[dict[str, int]] = {}  # what is still to go wrong, and how often
    happened: ClassVar[list[str]] = []

    def __init__(self, server: Any) -> None:
        self.server = server
        self.lock = threading.Lock()

    def take(self, fault: str) -> bool:
        with self.lock:
            left = self.planned.get(fault, 0)
            self.planned[fault] = left - 1
            if left > 0:
                self.happened.append(fault)
            return left > 0

    def __call__(self, environ: Any, start: Any) -> Iterable[bytes]:
        get = environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith(".wav")
        put = environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith(".parquet")
        listing = environ["REQUEST_METHOD"] == "GET" and "list-type" in environ["QUERY_STRING"]
        kinds = [k for k, on in (("get", get), ("put", put), ("list", listing)) if on]
        for kind in kinds:
            if self.take(f"slow down {kind}"):
                start("503 Slow Down", [("Content-Type", "application/xml")])
                return [SLOW_DOWN]
        answer: Iterable[bytes] = self.server(environ, start)
        if get and self.take("lost"):
            return self._broken(answer)
        if get and self.take("slow"):
            return self._slow(answer)
        return answer

    @staticmethod
    def _broken(answer: Iterable[bytes]) -> Iterator[bytes]:
        for block in answer:
            yield block[: len(block) // 2]
            raise ConnectionResetError("as planned")

    @staticmethod
    def _slow(answer: Iterable[bytes]) -> Iterator[bytes]:
        for block in answer:
            for at in range(0, len(block), 4096):
                time.sleep(0.02)
                yield block[at : at + 4096]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    app = Faults(moto.DomainDispatcherApplication(moto.create_backend_app))

    class Quiet(serving.WSGIRequestHandler):  # type: ignore[name-defined, misc]
        def log(self, *_: Any) -> None:
            pass

    server = serving.make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def bucket(endpoint: str, music: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import s3fs

    options = {"endpoint_url": endpoint, "key": "me", "secret": "secret"}
    monkeypatch.setitem(conf, "s3", options)
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0, 0.0, 0.0))
    Faults.planned.clear()
    system = s3fs.S3FileSystem(use_listings_cache=False, **options)
    system.mkdir("bucket")
    for path in music.iterdir():
        system.pipe_file(f"bucket/music/{path.name}", path.read_bytes())
    Faults.happened.clear()
    yield system
    Faults.planned.clear()
    system.rm("bucket", recursive=True)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for i in range(COUNT):
        noise(folder / f"{i}.wav", 0.3, i)
    return folder


def same(out: Any, music: Path, model: MusicEncoder) -> None:
    table = musicssl.load_embeddings(out)
    assert table.sources == [f"{i}.wav" for i in range(COUNT)]
    expected = model.embed([music / source for source in table.sources])
    np.testing.assert_allclose(table.values, expected, atol=1e-6)


def test_from_and_to_a_bucket_through_faults(bucket: Any, music: Path, model: MusicEncoder) -> None:
    Faults.planned.update(
        {"slow down get": 3, "lost": 3, "slow": 2, "slow down put": 2, "slow down list": 2}
    )
    run = partial(embed_folder, "s3://bucket/music", "s3://bucket/out", model=model)
    summary = run()
    assert (summary.done, summary.failed) == (COUNT, 0)
    same("s3://bucket/out", music, model)
    assert set(Faults.happened) == {
        *("slow down get", "slow down put", "slow down list", "lost", "slow")
    }
    again = run()
    assert (again.done, again.skipped) == (0, COUNT)
    sources = [s for part in read_parts(place_of("s3://bucket/out")) for s in part["source"]]
    assert len(sources) == COUNT  # each file once


def test_a_listing_that_grows(
    bucket: Any, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    run = partial(embed_folder, "s3://bucket/music", tmp_path / "out", model=model)
    bucket.rm_file("bucket/music/5.wav")
    assert run().done == COUNT - 1
    bucket.pipe_file("bucket/music/5.wav", (music / "5.wav").read_bytes())
    bucket.pipe_file("bucket/music/0.wav", (music / "0.wav").read_bytes())  # new, of one content
    summary = run()
    assert (summary.done, summary.skipped) == (1, COUNT - 1)
    same(tmp_path / "out", music, model)
    bucket.pipe_file("bucket/music/0.wav", (music / "1.wav").read_bytes())
    assert run().done == 1


def test_what_vanishes_fails_alone(bucket: Any, model: MusicEncoder, tmp_path: Path) -> None:
    def vanish(path: str) -> None:
        if path.endswith("0.wav"):
            bucket.rm_file("bucket/music/5.wav")

    monitor = partial(embed_folder, "s3://bucket/music/*.wav", tmp_path / "out", model=model)
    summary = monitor(on_start=vanish, jobs=1)
    assert summary.done >= COUNT - 1 and summary.done + summary.failed == COUNT
    for _, error in summary.failures:
        assert "FileNotFoundError" in error


def test_refusals_are_told(
    bucket: Any, music: Path, model: MusicEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AudioError, match=r"s3://none/music: there is no such file, folder or buck"):
        embed_folder("s3://none/music", tmp_path / "out", model=model)
    with pytest.raises(OutputError, match=r"s3://none/out/space\.json cannot be written: there is"):
        embed_folder(music, "s3://none/out", model=model)
    monkeypatch.setitem(conf, "s3", {"endpoint_url": conf["s3"]["endpoint_url"]})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(AudioError, match=r"NoCredentialsError.*give credentials.*AWS_ACCESS_KEY"):
        embed_folder("s3://bucket/music", tmp_path / "out", model=model)
