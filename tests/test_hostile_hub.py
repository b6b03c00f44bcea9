"""Servers that answer as no Hub should: paths for names, bodies without end, silence.

Whatever they do, the call ends, in one line, and nothing is written outside the cache.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import CONFIG, FILES, REPO, WEIGHTS, right, sha256, weights
from huggingface_hub import constants

from musicssl.checkpoint.hub import download, find_checkpoint
from musicssl.errors import ModelError

Server = Any  # hub_server.Hub
ROOT = Path(__file__).parent.parent


def ending(call: Callable[[], Any]) -> Any:
    """Return or raise what a call does, but do not wait for one that never ends."""
    out: list[Any] = []

    def run() -> None:
        try:
            out.append((call(), None))
        except BaseException as error:
            out.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    assert out, "still going after 30 s"
    value, error = out[0]
    if error is not None:
        raise error
    return value


def files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture
def refused(server: Server, tmp_path: Path, waits: list[float]) -> Iterator[Callable[..., str]]:
    """Fetch, and return the one line of the error; nothing may have been written but in blobs."""

    def around() -> set[str]:  # deep into this test's folder, and beside it
        return files(tmp_path) | {str(path) for path in tmp_path.parent.iterdir()}

    before = around()

    def fetch(match: str, **options: Any) -> str:
        with pytest.raises(ModelError, match=match) as caught:
            ending(lambda: find_checkpoint(REPO, **options))
        message = str(caught.value)
        assert message.isprintable()
        assert len(message) < 700
        return message

    yield fetch
    cache = Path(constants.HF_HUB_CACHE)
    known = {"config.json", "main", *(sha256(x) for x in FILES.values())}
    for path in around() - before:
        assert Path(path).is_relative_to(cache), path
        assert Path(path).name in known or Path(path).parent.name == "blobs", path
        assert not path.endswith(".incomplete"), path
        assert Path(path).name != "model.safetensors", path
    assert sum(waits) < 100
    assert server.asked("GET", "agent-harnesses") == []


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.setattr(constants, name, 0.3)


# names that are paths


@pytest.mark.parametrize("header", ["ETag", "X-Linked-Etag"])
@pytest.mark.parametrize("file", list(FILES))
@pytest.mark.parametrize(
    "etag",
    [
        "../../../../evil",
        '"../../../../evil"',
        'W/"../../evil"',
        "/tmp/musicssl-evil",
        "..",
        ".",
        ".hidden",
        "a/b",
        "a\\b",
        "C:\\evil",
        "a:b",
        "%2e%2e%2fevil",
        "a b",
        "a\tb",
        "\u00e9vil",
        "e" * 300,
        '""',
    ],
)
def test_an_etag_that_is_no_name(
    server: Server, refused: Callable[..., str], header: str, file: str, etag: str
) -> None:
    also = {"X-Linked-Etag": None} if header == "ETag" else {}
    server.fault("HEAD", file, instead={**also, header: etag}, times=1000)
    refused("gives .* the ETag .*nothing was downloaded")
    assert server.asked("GET", file) == server.asked("GET", "/cdn/") == []


def test_an_absolute_etag_beside_the_cache(
    server: Server, refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("precious")
    server.fault("HEAD", "safetensors", instead={"X-Linked-Etag": str(tmp_path / "victim")})
    refused("the ETag")
    assert (tmp_path / "victim").read_text() == "precious"
    (tmp_path / "victim").unlink()


@pytest.mark.parametrize(
    "commit", ["../../../../evil", "main", "/evil", "a" * 39, "A" * 40, "a" * 400, ".."]
)
def test_a_commit_that_is_none(server: Server, refused: Callable[..., str], commit: str) -> None:
    server.fault("HEAD", "config.json", instead={"X-Repo-Commit": commit}, times=1000)
    refused("gives config.json the commit .*nothing was downloaded")


def test_a_commit_that_is_not_the_one_asked_for(
    server: Server, refused: Callable[..., str]
) -> None:
    other = "f" * 40
    server.fault("HEAD", "safetensors", instead={"X-Repo-Commit": other}, times=1000)
    refused(f"answers with commit {other} for ")


def test_a_missing_file_whose_commit_is_a_path(server: Server, refused: Callable[..., str]) -> None:
    headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "../../../../evil"}
    server.fault("HEAD", "config.json", status=404, headers=headers, times=1000)
    refused("has no config.json")


@pytest.mark.parametrize("revision", ["../../evil", "/evil", "a//b", "a/../b", "", ".", "a\0b"])
def test_a_revision_that_is_a_path(
    server: Server, refused: Callable[..., str], revision: str
) -> None:
    refused("is no branch, tag or commit", revision=revision)
    assert server.requests == []


# sizes


@pytest.mark.parametrize("size", ["2000000", "9" * 30, "-5", "1e3", "0x10", "\u00b2"])
def test_a_configuration_of_another_size(
    server: Server, refused: Callable[..., str], size: str
) -> None:
    server.fault("HEAD", "config.json", instead={"X-Linked-Size": size}, times=1000)
    refused("takes .* bytes by .*; 1,000,000 are allowed")
    assert server.asked("GET", "config.json") == []


def test_weights_of_a_petabyte(server: Server, refused: Callable[..., str]) -> None:
    server.fault("HEAD", "safetensors", instead={"X-Linked-Size": str(10**15)}, times=1000)
    refused("model.safetensors takes '1000000000000000' bytes")
    assert server.asked("GET", "/cdn/") == []


def test_a_configuration_of_no_size_is_read_up_to_the_limit(server: Server) -> None:
    server.fault("HEAD", "config.json", instead={"Content-Length": None})
    assert right(find_checkpoint(REPO).folder)


def test_a_configuration_of_no_size_is_not_read_for_ever(
    server: Server, refused: Callable[..., str]
) -> None:
    server.fault("HEAD", "config.json", instead={"Content-Length": None})
    server.fault("GET", "config.json", manner="endless", instead={"Content-Length": None})
    refused("config.json is longer than 1,000,000 bytes, which are allowed")


def test_weights_of_no_size(server: Server, refused: Callable[..., str]) -> None:
    server.fault("HEAD", "safetensors", instead={"X-Linked-Size": None}, times=1000)
    refused("model.safetensors takes '' bytes")


@pytest.mark.parametrize("file", ["config.json", "/cdn/"])
@pytest.mark.parametrize("length", [None, str(10**12)])
def test_a_body_without_end_is_cut_off(
    server: Server, refused: Callable[..., str], file: str, length: str | None
) -> None:
    instead = {"Content-Length": length}
    server.fault("GET", file, manner="endless", instead=instead, times=1000)
    refused(r"is longer than [\d,]+ bytes, which .* announced")
    assert len(server.asked("GET", file)) == 1


def test_a_body_that_is_compressed_unasked(server: Server, refused: Callable[..., str]) -> None:
    instead = {"Content-Encoding": "gzip"}
    server.fault("GET", "/cdn/", body=weights(1), instead=instead, times=1000)
    refused("model.safetensors is damaged: its SHA-256 is")


def test_an_error_with_a_body_without_end(server: Server, refused: Callable[..., str]) -> None:
    server.fault("GET", "/cdn/", manner="endless", status=403, times=1000)
    refused(r"forbids this \(403\)")


def test_a_list_of_files_without_end(server: Server, refused: Callable[..., str]) -> None:
    server.fault("HEAD", "config.json", status=404, headers={"X-Error-Code": "EntryNotFound"})
    server.fault("GET", "/api/models/", manner="endless", instead={"Content-Length": None})
    refused("has no config.json, so it is not a musicssl checkpoint")
    assert len(server.asked("GET", "/api/models/")) == 1


@pytest.mark.parametrize(
    "listing", [b"[]", b"5", b'{"siblings": 5}', b'{"siblings": [["rfilename"]]}', b"\xff", b"["]
)
def test_a_list_of_files_that_is_none(
    server: Server, refused: Callable[..., str], listing: bytes
) -> None:
    server.fault("HEAD", "config.json", status=404, headers={"X-Error-Code": "EntryNotFound"})
    server.fault("GET", "/api/models/", status=200, body=listing)
    assert refused("has no config.json").endswith("it is not a musicssl checkpoint.")
    assert len(server.asked("GET", "/api/models/")) == 1


# time


@pytest.mark.parametrize("manner", ["silent", "slow head"])
@pytest.mark.parametrize(
    ("method", "file"), [("HEAD", "config.json"), ("GET", "config.json"), ("GET", "/cdn/")]
)
def test_silence_is_not_waited_for(
    server: Server,
    refused: Callable[..., str],
    hurried: None,
    waits: list[float],
    manner: str,
    method: str,
    file: str,
) -> None:
    server.fault(method, file, manner=manner, times=1000)
    refused(r"cannot be reached: (nothing came for 0\.3 s|ReadTimeout).*\. Check the network")
    assert waits[-2:] == list(download.WAITS)  # three tries


def test_a_body_that_drips_is_not_waited_for(
    server: Server, refused: Callable[..., str], hurried: None
) -> None:
    server.fault("GET", "/cdn/", manner="slow", times=1000)
    refused(r"cannot be reached: (only \d+ bytes came in|nothing came for)")


def test_a_body_that_is_slow_but_steady_is_waited_for(
    server: Server, hurried: None, waits: list[float]
) -> None:
    files = FILES | {"model.safetensors": weights(rows=8000)}
    server.commit(REPO, files)
    server.fault("GET", "/cdn/", manner="steady")
    found = ending(lambda: find_checkpoint(REPO))
    assert (found.folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert waits == []


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("method", "file"), [("HEAD", "config.json"), ("GET", "/cdn/")])
def test_nobody_waits_for_a_day(
    server: Server,
    refused: Callable[..., str],
    waits: list[float],
    method: str,
    file: str,
    status: int,
) -> None:
    headers = {"Retry-After": "100000", "RateLimit": '"api";r=0;t=100000'}
    server.fault(method, file, status=status, headers=headers, times=1000)
    refused(rf"\({status}\)")
    assert waits == []


# where it leads


def test_the_token_stays_with_the_hub(server: Server, waits: list[float]) -> None:
    """Wherever it is led on the way: here the Hub's own paths, on another port."""
    for method in ("HEAD", "GET"):
        path = f"/{REPO}/resolve/main/config.json"
        elsewhere = {"Location": server.cdn + path}
        server.fault(method, path, status=307, headers=elsewhere)
    assert right(ending(lambda: find_checkpoint(REPO, token="hf_secret")).folder)
    hosts = {headers["host"]: "authorization" in headers for _, _, headers in server.requests}
    assert hosts == {server.url[7:]: True, server.cdn[7:]: False}


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/someone/encoder/resolve/main/config.json", "from one address to the next without end"),
        ("file:///etc/passwd", "it leads to 'file:///etc/passwd'"),
        ("ftp://127.0.0.1/x", "it leads to 'ftp://"),
        ("http://[::1", "it leads to 'http://|Invalid IPv6"),
        ("http:///x", "cannot be reached"),
    ],
)
def test_other_ways(
    server: Server, refused: Callable[..., str], method: str, target: str, message: str
) -> None:
    server.fault(method, "config.json", status=302, headers={"Location": target}, times=1000)
    refused(message)


def test_a_token_that_would_be_two_headers(server: Server) -> None:
    with pytest.raises(ModelError, match="characters that no token has") as caught:
        find_checkpoint(REPO, token="hf_secret\r\nX-Evil: 1")
    assert "secret" not in str(caught.value)
    assert server.requests == []


# what lies in the cache


def kept(server: Server) -> Path:
    """Fetch the checkpoint and return where the cache keeps its repository."""
    return find_checkpoint(REPO).folder.parent.parent


@pytest.mark.parametrize("note", ["../../../evil", "", "\0", "x" * 5000, "caf\u00e9"])
def test_a_branch_that_is_noted_wrongly(server: Server, note: str) -> None:
    (kept(server) / "refs" / "main").write_text(note, "latin-1")
    with pytest.raises(ModelError, match="is not in the cache"):
        find_checkpoint(REPO, local_files_only=True)
    assert right(find_checkpoint(REPO).folder)


def test_a_large_configuration_in_the_cache(server: Server) -> None:
    folder = find_checkpoint(REPO).folder
    os.truncate((folder / "config.json").resolve(), 2**30)
    with pytest.raises(ModelError, match=r"config\.json takes 1,073,741,824 bytes; 1,000,000 are"):
        find_checkpoint(REPO, local_files_only=True)


def test_a_cache_that_may_only_be_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find_checkpoint(REPO)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("write_text", "mkdir"):
        monkeypatch.setattr(Path, name, refuse)
    assert find_checkpoint(REPO) == first


def test_weights_of_an_earlier_commit_are_not_fetched_again(server: Server) -> None:
    find_checkpoint(REPO)
    server.commit(REPO, {"config.json": CONFIG + b" "})
    found = find_checkpoint(REPO)
    assert (found.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len(server.asked("GET", "/cdn/")) == 1


def test_where_no_links_can_be_made(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("a privilege is not held")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    found = find_checkpoint(REPO)
    assert right(found.folder)
    assert find_checkpoint(REPO, local_files_only=True) == found


# offline


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_offline_makes_no_socket(tmp_path: Path, how: str) -> None:
    """In a fresh process and home, where clients look around the most."""
    code = """
import socket, sys
def refuse(*_, **__): raise AssertionError("a socket was made")
socket.socket.__init__ = socket.create_connection = socket.getaddrinfo = refuse
from musicssl.errors import ModelError
from musicssl.checkpoint.hub import find_checkpoint
try:
    find_checkpoint("someone/encoder", local_files_only=sys.argv[1] == "argument")
except ModelError as error:
    sys.exit(str(error))
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        port = listener.getsockname()[1]
        env |= {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": f"http://127.0.0.1:{port}"}
        env |= {"HF_OIDC_RESOURCE": "someone", "HF_OIDC_ID_TOKEN": "to be exchanged for another"}
        env |= {"HF_HUB_OFFLINE": "1"} if how == "variable" else {}
        out = subprocess.run(
            [sys.executable, "-c", code, how],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
        )
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert out.returncode != 0
    assert "someone/encoder at 'main' is not in the cache, and the network is turned off" in (
        out.stderr
    )
    assert "Traceback" not in out.stderr


def test_the_offline_command_makes_no_request(
    server: Server, no_sockets: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from musicssl.cli.main import main

    (tmp_path / "a.wav").write_bytes(b"")
    command = [str(tmp_path / "a.wav"), "-o", str(tmp_path / "out"), "--offline", "--model", REPO]
    assert main(command) != 0
    assert f"{REPO} at 'main' is not in the cache" in capsys.readouterr().err
    assert server.requests == []


def test_offline_answers_at_once(server: Server, waits: list[float]) -> None:
    with pytest.raises(ModelError, match="is not in the cache"):
        find_checkpoint(REPO, local_files_only=True)
    assert waits == []
    assert server.requests == []


def test_what_another_program_fetched_is_found(server: Server, tmp_path: Path) -> None:
    """The cache is the client's own."""
    from huggingface_hub import hf_hub_download, scan_cache_dir

    for file in FILES:
        hf_hub_download(REPO, file)
    server.requests.clear()
    found = find_checkpoint(REPO, local_files_only=True)
    assert right(found.folder)
    cache = tmp_path / "ours"
    ours = find_checkpoint(REPO, cache_dir=cache).folder
    theirs = hf_hub_download(REPO, "config.json", cache_dir=cache, local_files_only=True)
    assert Path(theirs) == ours / "config.json"
    (repo,) = scan_cache_dir(cache).repos
    assert (repo.repo_id, repo.nb_files, repo.size_on_disk) == (
        REPO,
        2,
        len(CONFIG) + len(WEIGHTS),
    )
    assert not scan_cache_dir(cache).warnings


def test_every_file_is_asked_of_one_commit(server: Server) -> None:
    found = find_checkpoint(REPO)
    asked = [path for path in server.asked("GET", "/resolve/")]
    assert asked
    assert all(found.revision in path for path in asked)
    assert json.loads((found.folder / "config.json").read_bytes())["format"] == 1
