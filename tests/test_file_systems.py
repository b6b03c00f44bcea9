"""File systems of fsspec other than S3: stand-ins with the ways of gcsfs, adlfs and hf, and zip."""

import contextlib
import http.server
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from folder_trees import manifest, noise

import musicssl
from musicssl import AudioError, DependencyError, MusicEncoder, OutputError
from musicssl.audio import AUDIO_EXTENSIONS, remote
from musicssl.audio.remote_errors import plain, shown_url, status_of, told
from musicssl.folder.api import embed_folder
from musicssl.folder.places import place_of
from musicssl.folder.remote import RemoteListing

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("pyarrow")

NAMES = ["a/one.wav", "a/two.wav", "three.wav"]


class Bucket(fsspec.AbstractFileSystem):  # type: ignore[name-defined, misc]
    """Objects called ``bucket/key``, with a hash of the content, as gcsfs lists them."""

    protocol: Any = ("gs", "gcs")
    cachable = False
    objects: ClassVar[dict[str, bytes]] = {}
    faults: ClassVar[list[Callable[[], None]]] = []

    def _ask(self) -> None:
        if self.faults:
            self.faults.pop(0)()

    def _about(self, name: str) -> dict[str, Any]:
        data = self.objects[name]
        etag = f"generation-{name}"  # another one for each copy
        about = {"md5Hash": f"{hash(data)}", "etag": etag}
        return {"name": name, "size": len(data), "type": "file", **about}

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        self._ask()
        path = self._strip_protocol(path).strip("/")
        if path in self.objects:
            return [self._about(path)] if detail else [path]
        inside = [name for name in self.objects if name.startswith(f"{path}/")]
        if not inside:
            raise FileNotFoundError(path)
        nested = {n for n in inside if "/" in n[len(path) + 1 :]}
        tops = {f"{path}/{n[len(path) + 1 :].partition('/')[0]}" for n in nested}
        found = [self._about(n) for n in inside if n not in nested]
        found += [{"name": n, "size": 0, "type": "directory"} for n in tops]
        return found if detail else [one["name"] for one in found]

    def info(self, path: str, **_: Any) -> Any:
        path = self._strip_protocol(path).strip("/")
        found = self.ls(path)
        return found[0] if path in self.objects else {"name": path, "size": 0, "type": "directory"}

    def cat_file(self, path: str, *_: Any, **__: Any) -> bytes:
        self._ask()
        if (name := self._strip_protocol(path)) not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name]

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        Path(lpath).write_bytes(self.cat_file(rpath))

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        self.objects[self._strip_protocol(path)] = value


class Container(Bucket):
    """As adlfs: the account stands in the URL, behind the container."""

    protocol = ("abfs", "az", "abfss")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        path = super()._strip_protocol(path)
        container, at, rest = path.partition("@")
        return f"{container}/{rest.partition('/')[2]}".rstrip("/") if at else path


class Repository(Bucket):
    """As `HfFileSystem`: keeps listings, and leaves the default branch out of names."""

    protocol = "hf"
    cachable = True
    kept: ClassVar[dict[str, Any]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path)).replace("@main", "")

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        return self.kept.setdefault(f"{path}{detail}", super().ls(path, detail, **options))

    def invalidate_cache(self, path: str | None = None) -> None:
        self.kept.clear()


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for i, name in enumerate(NAMES):
        noise(folder / name, 0.3, i)
    return folder


@pytest.fixture
def cloud(music: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """The objects of all stand-ins: music in a bucket and in a repository."""
    known = sys.modules["fsspec.registry"]._registry
    for kind in (Bucket, Container, Repository):
        for name in [kind.protocol] if isinstance(kind.protocol, str) else kind.protocol:
            monkeypatch.setitem(known, name, kind)
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0))
    for name in NAMES:
        for folder in ("bucket/music", "datasets/me/songs/music"):
            Bucket.objects[f"{folder}/{name}"] = (music / name).read_bytes()
    yield Bucket.objects
    Bucket.objects.clear()
    Bucket.faults.clear()
    Repository.kept.clear()


def keys(*urls: str, **options: Any) -> dict[str, str]:
    """Return the names of what is listed, and where it lies."""
    listing = RemoteListing(urls, extensions=AUDIO_EXTENSIONS, **options)
    return {item.key: item.name for item in listing}


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("gs://bucket/music", "gs://bucket/music"),
        ("gcs://bucket/music/", "gcs://bucket/music"),
        ("az://bucket/music", "az://bucket/music"),
        (
            "abfs://bucket@me.dfs.core.windows.net/music",
            "abfs://bucket@me.dfs.core.windows.net/music",
        ),
        ("hf://datasets/me/songs/music", "hf://datasets/me/songs/music"),
        ("hf://datasets/me/songs@main/music", "hf://datasets/me/songs@main/music"),
    ],
)
def test_folders_of_all_stores(
    url: str, where: str, cloud: Any, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    run = partial(embed_folder, url, tmp_path / "out", model=model)
    assert run().done == 3
    assert {k: r["path"] for k, r in manifest(tmp_path / "out").items()} == {
        name: f"{where}/{name}" for name in NAMES
    }
    assert run().skipped == 3
    table = musicssl.load_embeddings(tmp_path / "out")
    np.testing.assert_allclose(table.values, model.embed([music / n for n in NAMES]), atol=1e-6)
    for name, path in zip(table.sources, table.paths, strict=True):  # where it says, it is
        np.testing.assert_allclose(model.embed(path), model.embed(music / name), atol=1e-6)


@pytest.mark.parametrize("out", ["gs://results", "az://results/x", "hf://datasets/me/results"])
def test_results_in_all_stores(out: str, cloud: Any, music: Path, model: MusicEncoder) -> None:
    run = partial(embed_folder, music, out, model=model)
    assert run().done == 3
    assert run().skipped == 3
    assert musicssl.load_embeddings(out).sources == NAMES


def test_what_comes_later_is_listed(cloud: dict[str, bytes], music: Path) -> None:
    """The Hub's file system is one for the whole process, and remembers what it has listed."""
    url = "hf://datasets/me/songs/music"
    assert len(keys(url)) == 3
    cloud["datasets/me/songs/music/late.wav"] = b"new"
    assert len(keys(url)) == 4
    place = place_of("hf://datasets/me/results")
    assert place.names() == []
    cloud["datasets/me/results/parts/part-1.parquet"] = b"written elsewhere"
    assert place.names() == ["parts/part-1.parquet"]


def test_a_copy_in_another_bucket_is_the_same(
    cloud: dict[str, bytes], model: MusicEncoder, tmp_path: Path
) -> None:
    """Its etag is another one there, the hash of its content is not."""
    embed_folder("gs://bucket/music", tmp_path / "out", model=model)
    for name in NAMES:
        cloud[f"renamed/music/{name}"] = cloud.pop(f"bucket/music/{name}")
    assert embed_folder("gs://renamed/music", tmp_path / "out", model=model).skipped == 3
    assert manifest(tmp_path / "out")["three.wav"]["path"] == "gs://renamed/music/three.wav"


def test_an_object_that_was_moved_takes_its_result_along(
    cloud: dict[str, bytes], model: MusicEncoder, tmp_path: Path
) -> None:
    """Its name among the results is another one now; the copy of one is embedded as any file."""
    run = partial(embed_folder, model=model, out=tmp_path / "out")
    run("gs://bucket/music")
    for name in NAMES:
        cloud[f"renamed/all/music/{name}"] = cloud.pop(f"bucket/music/{name}")
    cloud["renamed/all/music/copy.wav"] = cloud["renamed/all/music/three.wav"]
    summary = run("gs://renamed/all")
    assert (summary.moved, summary.done, summary.failed) == (3, 1, 0)
    found = manifest(tmp_path / "out")
    assert {f"music/{name}" for name in NAMES} < found.keys()
    assert found["music/a/one.wav"]["path"] == "gs://renamed/all/music/a/one.wav"
    assert run("gs://renamed/all").skipped == 4


def test_objects_that_have_exchanged_their_names_keep_their_own_results(
    cloud: dict[str, bytes], music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    run = partial(embed_folder, model=model, out=tmp_path / "out")
    run("gs://bucket/music/a")
    one, two = (cloud.pop(f"bucket/music/a/{name}.wav") for name in ("one", "two"))
    cloud.update({"renamed/one.wav": two, "renamed/two.wav": one})
    assert run("gs://renamed").failed == 0
    table = musicssl.load_embeddings(tmp_path / "out")
    assert table.sources == ["one.wav", "two.wav"]
    expected = model.embed([music / "a/two.wav", music / "a/one.wav"])
    np.testing.assert_allclose(table.values, expected, atol=1e-6)


def test_what_is_still_there_was_not_moved(
    cloud: dict[str, bytes], model: MusicEncoder, tmp_path: Path
) -> None:
    run = partial(embed_folder, model=model, out=tmp_path / "out")
    run("gs://bucket/music/a")
    summary = run("gs://bucket/music")
    assert (summary.moved, summary.done) == (0, 3)
    cloud["other/one.wav"] = cloud["bucket/music/three.wav"]
    ((_, error),) = run("gs://other").failures
    assert "one.wav is already the result of gs://bucket/music/a/one.wav, which is still" in error
    del cloud["bucket/music/a/one.wav"]
    assert run("gs://other").done == 1


def test_what_was_fetched_is_known_by_its_content() -> None:
    """From a bucket to a disk, under the same name: two facts decide, size and content."""
    from musicssl.folder.origin import content_etag

    assert content_etag("gs://bucket/a.wav", "abc") == content_etag("gcs://other/b.wav", "abc")
    assert content_etag("https://example.org/a.wav", "abc") is None  # a size and a time, often
    assert content_etag("/mnt/a.wav", "abc") is None
    assert content_etag("gs://bucket/a.wav", None) is None


def test_lists_of_urls_are_looked_up_one_by_one(cloud: dict[str, bytes]) -> None:
    urls = [f"gs://bucket/music/{name}" for name in (*NAMES, "gone.wav")]
    Bucket.faults[:] = [failing(AssertionError("asked before its turn"))]
    listing = RemoteListing(urls, extensions=AUDIO_EXTENSIONS, listed=True)
    Bucket.faults.clear()
    items = list(listing)
    assert [item.key for item in items] == [url.removeprefix("gs://") for url in urls]
    assert [item.error is None for item in items] == [True, True, True, False]
    assert "there is no such file" in str(items[3].error)
    assert items[3].name == "gs://bucket/music/gone.wav"


# Errors


class StoreError(Exception):
    """An error as clients raise it, with a status in one of the places where they have it."""

    __module__ = "azure.core.exceptions"

    def __init__(self, text: str, **about: Any) -> None:
        super().__init__(text)
        vars(self).update(about)


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


class Response:
    """As requests and httpx have it."""

    def __init__(self, status: int) -> None:
        self.status_code = status


@pytest.mark.parametrize(
    "about", [{"status_code": 503}, {"code": 503}, {"response": Response(503)}]
)
def test_stores_that_are_busy_are_asked_again(
    about: dict[str, Any], cloud: Any, model: MusicEncoder, tmp_path: Path
) -> None:
    Bucket.faults[:] = [failing(StoreError("busy", **about)) for _ in range(2)]
    assert embed_folder("az://bucket/music", tmp_path / "out", model=model).done == 3
    assert not Bucket.faults


@pytest.mark.parametrize(
    "error",
    [
        OSError("Forbidden: bucket/music\nno access"),  # gcsfs
        StoreError("no access", status_code=403),  # adlfs
        StoreError("no access", code=401),
        StoreError("no access", response=Response(403)),  # huggingface_hub
    ],
)
def test_refusals_are_not_asked_again(
    error: Exception, cloud: Any, model: MusicEncoder, tmp_path: Path
) -> None:
    Bucket.faults[:] = [failing(error), failing(AssertionError("asked again"))]
    with pytest.raises(AudioError, match=r"PermissionError: .*the credentials do not allow it \(g"):
        embed_folder("gs://bucket/music", tmp_path / "out", model=model)
    assert len(Bucket.faults) == 1


def test_a_container_that_is_missing_is_said(cloud: Any, music: Path, model: MusicEncoder) -> None:
    missing = StoreError("The specified container does not exist.", status_code=404)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Container, "pipe_file", lambda *_, **__: failing(missing)())
        with pytest.raises(OutputError, match=r"there is no such bucket or folder .*container"):
            embed_folder(music, "az://none/out", model=model)


def test_plain_errors() -> None:
    assert status_of(StoreError("x", status=418)) == 418
    assert status_of(StoreError("x", code="503", status_code=None)) is None
    assert isinstance(plain(StoreError("x", code=404)), FileNotFoundError)
    lost = ConnectionResetError("lost")
    assert plain(lost) is lost


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("gs://bucket/a.wav", "gcsfs"),
        ("abfs://box@me.dfs.core.windows.net/a.wav", "adlfs"),
        ("zip://a.wav::gcs://bucket/a.zip", "gcsfs"),
    ],
)
def test_the_missing_package_is_named(
    url: str, package: str, model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("gs", "gcs", "abfs"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, kind, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    advice = rf"needs fsspec and .*pip install 'musicssl\[remote\]' {package}"
    with pytest.raises(DependencyError, match=advice) as caught:
        model.embed(url)
    assert "zip://" not in str(caught.value).partition("needs")[0]


@pytest.mark.parametrize("kind", ["ValueError", "DefaultCredentialsError"])
def test_missing_credentials_are_asked_for(kind: str) -> None:
    error = type(kind, (Exception,), {})("Must provide either a connection_string or account_name")
    assert "AZURE_STORAGE_CONNECTION_STRING" in told(error, "az://bucket/a")
    assert "gcloud auth" in told(error, "zip://::gs://bucket/a.zip")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("zip://a::https://me:secret@host/x.zip?token=secret", "zip://a::https://host/x.zip"),
        ("simplecache::http://host/a.wav?token=secret", "simplecache::http://host/a.wav"),
        ("s3://key:secret@bucket/a#1?.wav", "s3://bucket/a#1?.wav"),
        ("abfs://box@me.dfs.core.windows.net/a", "abfs://box@me.dfs.core.windows.net/a"),
        ("github://me:songs@main/a", "github://me:songs@main/a"),
        ("zip://::album@home.zip", "zip://::album@home.zip"),
        ("http://[fe80::1]:80/a?b", "http://[fe80::1]:80/a"),
    ],
)
def test_secrets_are_not_shown_and_all_else_is(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert "secret" not in told(OSError(f"no {url.rpartition('::')[2]} there"), url)


# Archives


@pytest.fixture
def albums(music: Path) -> Iterator[str]:
    memory = fsspec.filesystem("memory")
    for album in ("x", "y"):
        with (
            memory.open(f"/albums/{album}.zip", "wb") as file,
            zipfile.ZipFile(file, "w") as zipped,
        ):
            for name in NAMES:
                zipped.write(music / name, name)
    yield "memory://albums"
    with contextlib.suppress(FileNotFoundError):
        memory.rm("/albums", recursive=True)


def test_patterns_in_archives(albums: str) -> None:
    found = keys(f"zip://a/*.wav::{albums}/x.zip")
    assert found == {
        "one.wav": f"zip://a/one.wav::{albums}/x.zip",
        "two.wav": f"zip://a/two.wav::{albums}/x.zip",
    }
    assert keys(f"zip://*.wav::{albums}/x.zip") == {"three.wav": f"zip://three.wav::{albums}/x.zip"}
    listed = keys(f"zip://three.wav::{albums}/x.zip", listed=True)
    assert list(listed) == ["albums/x.zip/three.wav"]


def test_several_archives(albums: str, music: Path, model: MusicEncoder, tmp_path: Path) -> None:
    both = [f"zip://::{albums}/{album}.zip" for album in ("x", "y")]
    expected = {f"{album}.zip/{name}" for album in ("x", "y") for name in NAMES}
    assert set(keys(*both)) == expected
    found = keys(f"zip://::{albums}/*.zip")
    assert set(found) == expected
    assert found["y.zip/three.wav"] == f"zip://three.wav::{albums}/y.zip"
    run = partial(embed_folder, f"zip://::{albums}/*.zip", tmp_path / "out", model=model)
    assert run().done == 6
    assert run().skipped == 6
    with pytest.raises(
        AudioError, match=r"zip://::memory://albums/z\.zip: cannot be opened \(File"
    ):
        keys(f"zip://::{albums}/z.zip")
    with pytest.raises(OutputError, match=r"nothing can be written there; results go to a folder"):
        embed_folder(music, both[0], model=model)


def test_another_file_of_the_same_size_in_an_archive(
    albums: str, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    run = partial(embed_folder, f"zip://::{albums}/x.zip", tmp_path / "out", model=model)
    run()
    with (
        fsspec.filesystem("memory").open("/albums/x.zip", "wb") as file,
        zipfile.ZipFile(file, "w") as zipped,
    ):
        for name in NAMES:
            zipped.write(music / ("three.wav" if name == "a/one.wav" else name), name)
    assert run().done == 1


# Index pages


PAGE = """<html><a href="?C=N;O=D">Name</a><a href="/music/?C=S">Size</a><a href="../">Up</a>
<a href="my%20song.wav">my song</a><a href="cover.jpg">cover</a></html>"""


class Pages(http.server.BaseHTTPRequestHandler):
    """An index page as Apache writes it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(PAGE.encode())

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


def test_index_pages_with_spaces_and_links_to_themselves() -> None:
    pytest.importorskip("aiohttp")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            site = f"http://127.0.0.1:{server.server_address[1]}/music"
            listing = RemoteListing([f"{site}/"], extensions=AUDIO_EXTENSIONS)
            passed: Counter[str] = Counter()
            found = {item.key: item.name for item in listing.items(passed)}
            assert found == {"my song.wav": f"{site}/my%20song.wav"}
            assert passed == {".jpg": 1}
            with pytest.raises(AudioError, match=r"is a page, and no audio.*end the URL in '/'"):
                RemoteListing([site], extensions=AUDIO_EXTENSIONS)
        finally:
            server.shutdown()
