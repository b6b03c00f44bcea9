"""A small Hugging Face Hub on this machine, with faults to order."""

import base64
import hashlib
import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import safetensors.numpy

REPO = "someone/encoder"
CONFIG = json.dumps({"format": 1, "encoder": {"name": "dilated"}, "pooling": "mean"}).encode()
LARGE = (".safetensors", ".bin")  # kept outside git, behind a redirect, as the Hub does


@dataclass
class Fault:
    """What happens to the next `times` requests of `method` whose path contains `path`."""

    method: str
    path: str
    status: int = 0  # answer this
    headers: dict[str, str] = field(default_factory=dict)  # with these
    cut: int | None = None  # or break the connection after so many bytes of the body
    reset: bool = False  # by a reset, not by an early end
    body: bytes | None = None  # or answer 200 with this
    instead: dict[str, str | None] = field(default_factory=dict)  # headers; None leaves one out
    manner: str = ""  # "silent", "slow head", "slow", "endless", "steady"
    times: int = 1


class Hub:
    """The state of the server: repositories, what was asked for, and faults to come."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, dict[str, str]] = {}  # repository: branch: commit
        self.stored: dict[str, bytes] = {}  # large files by SHA-256
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.lock = Lock()
        self.over = Event()  # nobody waits for an answer any longer
        self.sent = 0  # bytes of bodies
        self.token: str | None = None  # needed in every request, if set
        self.url = self.cdn = ""

    def commit(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Add files to a branch and return the commit."""
        branches = self.branches.setdefault(repo, {})
        files = self.commits.get(branches.get(branch, ""), {}) | files
        sha = hashlib.sha1(repr((repo, branch, sorted(files.items()))).encode()).hexdigest()
        self.commits[sha], branches[branch] = files, sha
        self.stored |= {sha256(x): x for name, x in files.items() if name.endswith(LARGE)}
        return sha

    def find(self, repo: str, revision: str) -> str | None:
        """Return the commit that a revision of a repository means."""
        branches = self.branches[repo]
        return branches.get(revision) or (revision if revision in self.commits else None)

    def fault(self, method: str, path: str, **what: Any) -> None:
        self.faults.append(Fault(method, path, **what))

    def asked(self, method: str, part: str = "/") -> list[str]:
        """Return the paths of the requests of this method that contain `part`."""
        return [path for m, path, _ in self.requests if m == method and part in path]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, hub = unquote(self.path.partition("?")[0]), self.hub
        self.fault: Fault | None = None
        with hub.lock:
            hub.requests.append(
                (self.command, path, {k.lower(): v for k, v in self.headers.items()})
            )
            for fault in hub.faults:
                if fault.times and fault.method == self.command and fault.path in path:
                    fault.times -= 1
                    self.fault = fault
                    break
        if self.fault and self.fault.manner in ("silent", "slow head"):
            return self.dawdle()
        if self.fault and self.fault.status:
            return self.answer(self.fault.body or b"{}", self.fault.status, self.fault.headers)
        token = self.headers.get("Authorization")
        if hub.token and not path.startswith("/cdn/") and token != f"Bearer {hub.token}":
            return self.answer(b"{}", 401)
        for method, pattern, action in ROUTES:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                return action(self, *match.groups())
        return self.answer(b"{}", 404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_one

    def answer(
        self, data: bytes = b"", status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        sent = {"Content-Length": str(len(data)), **(headers or {})}
        for name, value in (sent | (self.fault.instead if self.fault else {})).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.manner:
            self.dawdle(data)
            return
        self.hub.sent += len(data)
        if self.fault is None or self.fault.cut is None:
            self.wfile.write(data)
            return
        self.wfile.write(data[: self.fault.cut])
        self.wfile.flush()
        self.close_connection = True
        if self.fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def dawdle(self, data: bytes = b"") -> None:
        """Answer as no hub should, until the client has gone."""
        manner = self.fault.manner if self.fault else ""
        self.close_connection = True
        if manner == "slow head":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        size = {"endless": 65_536, "steady": 4096, "silent": 0}.get(manner, 1)
        data = data if manner == "steady" else bytes(2**20)
        with suppress(OSError):
            while data and not self.hub.over.wait(0.0 if manner == "endless" else 0.02):
                self.wfile.write(data[:size])
                self.hub.sent += size
                data = data[size:] if manner == "steady" else data

    def json(self, value: Any, status: int = 200) -> None:
        self.answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def error(self, code: str, headers: dict[str, str] | None = None) -> None:
        self.answer(b"{}", 404, {"X-Error-Code": code, **(headers or {})})

    def send_file(self, data: bytes, headers: dict[str, str]) -> None:
        """Send a file, or what is asked for of it."""
        if self.fault and self.fault.body is not None:
            data = self.fault.body
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(match[1])
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self.answer(data[start:], 206, {"Content-Range": span, **headers})
        return self.answer(data, 200, headers)

    def resolve(self, repo: str, revision: str, name: str) -> None:
        if repo not in self.hub.branches:
            return self.error("RepoNotFound")
        if (commit := self.hub.find(repo, revision)) is None:
            return self.error("RevisionNotFound")
        headers = {"X-Repo-Commit": commit}
        if (data := self.hub.commits[commit].get(name)) is None:
            return self.error("EntryNotFound", headers)
        if not name.endswith(LARGE):
            return self.send_file(data, headers | {"ETag": f'"{hashlib.sha1(data).hexdigest()}"'})
        headers |= {"X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
        return self.answer(b"", 302, headers | {"Location": f"{self.hub.cdn}/cdn/{sha256(data)}"})

    def large(self, key: str) -> None:
        self.send_file(self.hub.stored[key], {"ETag": f'"{key[:32]}"'})

    def info(self, repo: str, revision: str) -> None:
        if repo not in self.hub.branches:
            return self.error("RepoNotFound")
        if (commit := self.hub.find(repo, revision or "main")) is None:
            return self.error("RevisionNotFound")
        names = [{"rfilename": name} for name in self.hub.commits[commit]]
        return self.json({"id": repo, "modelId": repo, "sha": commit, "siblings": names})

    def tree(self, repo: str, revision: str) -> None:
        files = self.hub.commits[self.hub.find(repo, revision) or ""]
        entries = [(name, len(data), sha256(data)[:40]) for name, data in files.items()]
        self.json([{"type": "file", "path": p, "size": s, "oid": o} for p, s, o in entries])

    def create(self) -> None:
        wanted = json.loads(self.body)
        repo = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        status = 409 if repo in self.hub.branches else 200
        if status == 200:
            self.hub.commit(repo, {".gitattributes": b""})
        self.json({"url": f"{self.hub.url}/{repo}", "id": repo}, status)

    def branch(self, repo: str, name: str) -> None:
        branches = self.hub.branches[repo]
        status = 409 if name in branches else 200
        branches.setdefault(name, branches["main"])
        self.json({}, status)

    def preupload(self, repo: str, revision: str) -> None:
        if self.hub.find(repo, revision) is None:
            return self.error("RevisionNotFound")
        paths = [entry["path"] for entry in json.loads(self.body)["files"]]
        modes = [(p, "lfs" if p.endswith(LARGE) else "regular") for p in paths]
        files = [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes]
        return self.json({"files": files})

    def batch(self, repo: str) -> None:
        objects = json.loads(self.body)["objects"]
        for entry in objects:
            entry["actions"] = {"upload": {"href": f"{self.hub.cdn}/cdn/{entry['oid']}"}}
        self.json({"transfer": "basic", "objects": objects})

    def store(self, key: str) -> None:
        assert key == sha256(self.body)
        self.hub.stored[key] = self.body
        self.answer()

    def commit(self, repo: str, revision: str) -> None:
        lines = [json.loads(line) for line in self.body.splitlines()]
        values = {
            key: [x["value"] for x in lines if x["key"] == key]
            for key in ("file", "lfsFile", "deletedFile")
        }
        files = {x["path"]: base64.b64decode(x["content"]) for x in values["file"]}
        files |= {x["path"]: self.hub.stored[x["oid"]] for x in values["lfsFile"]}
        proposed = "create_pr=1" in self.path
        sha = self.hub.commit(repo, files, "refs/pr/1" if proposed else revision)
        for entry in values["deletedFile"]:
            del self.hub.commits[sha][entry["path"]]
        urls = {"commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"}
        urls |= {"pullRequestUrl": f"{self.hub.url}/{repo}/discussions/1"} if proposed else {}
        self.json({"success": True, "commitOid": sha, **urls})


NAME = r"([^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Any]] = [
    ("HEAD", rf"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    ("GET", rf"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    ("GET", r"/cdn/(\w+)", Handler.large),
    ("PUT", r"/cdn/(\w+)", Handler.store),
    ("GET", rf"/api/models/{NAME}(?:/revision/([^/]+))?", Handler.info),
    ("GET", rf"/api/models/{NAME}/tree/([^/]+)", Handler.tree),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", rf"/api/models/{NAME}/branch/([^/]+)", Handler.branch),
    ("POST", r"/api/validate-yaml", lambda self: self.json({"errors": [], "warnings": []})),
    ("POST", rf"/api/models/{NAME}/preupload/([^/]+)", Handler.preupload),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("POST", rf"/api/models/{NAME}/commit/([^/]+)", Handler.commit),
]


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a hub and, on another port as if elsewhere, the store of its large files."""
    hub = Hub()
    handler = type("HubHandler", (Handler,), {"hub": hub})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    hub.url, hub.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    for server in servers:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.over.set()
        for server in servers:
            server.shutdown()
            server.server_close()


def weights(seed: int = 0, rows: int = 500) -> bytes:
    x = np.random.default_rng(seed).random((rows, 8), np.float32).astype(np.float16)
    return safetensors.numpy.save({"a": x, "b": np.zeros(3, np.float16)})


WEIGHTS = weights()
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one repository; huggingface_hub knows no other, and no home folder."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    with serve() as running:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(variable, raising=False)
        home = tmp_path / "home"
        values = {
            "ENDPOINT": running.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": running.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
            "AGENT_HARNESSES_PATH": str(home / "agents.json"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
        }
        for name, value in values.items():
            monkeypatch.setattr(constants, name, value, raising=False)
            monkeypatch.setattr(file_download, name, value, raising=False)  # older clients' copy
        running.commit(REPO, FILES)
        connect = socket.socket.connect

        def connect_here(self: socket.socket, address: Any) -> None:
            assert address[0] == "127.0.0.1", address
            connect(self, address)

        monkeypatch.setattr(socket.socket, "connect", connect_here)
        forget_sessions()
        disable_progress_bars()
        yield running
        enable_progress_bars()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No waiting; how long it would have been."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No connection can be made, and whoever tries in passing is found out."""
    tried = []

    def refuse(*what: Any) -> None:
        tried.append(what)
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert tried == []


def go_offline(monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    forget_sessions()


def forget_sessions() -> None:
    """Make clients older than 1.0 read the constants again."""
    import huggingface_hub

    getattr(huggingface_hub.utils, "reset_sessions", lambda: None)()


def right(folder: Path) -> bool:
    """Tell whether a folder holds what the repository does."""
    return all((folder / name).read_bytes() == data for name, data in FILES.items())
