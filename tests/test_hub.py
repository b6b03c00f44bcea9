"""Finding, fetching and pushing checkpoints, against a small Hub on this machine."""

import errno
import os
import socket
import subprocess
import sys
import threading
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hub_server import CONFIG, FILES, REPO, WEIGHTS, go_offline, right, weights
from huggingface_hub import constants, file_download

from musicssl.checkpoint import bundled as models
from musicssl.checkpoint.bundled import bundled_models, describe_model, list_models
from musicssl.checkpoint.hub import Checkpoint, download, find_checkpoint, push, push_folder
from musicssl.checkpoint.hub.repository import Repository
from musicssl.errors import ModelError

Server = Any  # hub_server.Hub

ROOT = Path(__file__).parent.parent
CARD = """---
license: cc0-1.0
library_name: musicssl
musicssl:
  dim: 8
  layers: 4
  frame_rate: 25
  sample_rate: 22050
  data_licences: CC0, public domain
  summary: A test.
---
# Card
"""


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two bundled models."""
    for name in ("musicssl-small", "musicssl-tiny"):
        write(tmp_path / "checkpoints" / name, FILES | {"README.md": CARD.encode()})
    write(tmp_path / "checkpoints" / "notes", {"README.md": b""})
    monkeypatch.setattr(models, "CHECKPOINTS", tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


# what is on this machine


def test_bundled_models_describe_themselves(bundled: Path) -> None:
    assert list(bundled_models()) == ["musicssl-small", "musicssl-tiny"]
    assert len(bundled_models()) == 2
    assert asdict(describe_model(bundled_models()["musicssl-small"])) == {
        **{"name": "musicssl-small", "source": "bundled", "revision": None},
        **{"parameters": 4003, "dim": 8, "layers": 4, "frame_rate": 25.0, "sample_rate": 22050},
        **{"megabytes": round(len(WEIGHTS) / 1e6, 1), "code_licence": "MIT"},
        **{"weights_licence": "cc0-1.0", "data_licences": "CC0, public domain"},
        "summary": "A test.",
    }
    assert list_models() == [
        describe_model(bundled / name) for name in ("musicssl-small", "musicssl-tiny")
    ]
    with pytest.raises(KeyError):
        bundled_models()["notes"]


def test_the_code_licence_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert models.CODE_LICENCE in project["license"].split(" AND ")  # of code and weights


@pytest.mark.parametrize("name", bundled_models())
def test_every_model_here_has_a_card_and_weights(name: str) -> None:
    assert describe_model(bundled_models()[name]).parameters > 0
    assert find_checkpoint(name).folder.name == name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  dim: 8\n", "", r"README\.md: musicssl lacks dim\."),
        ("dim: 8", "dims: 8", r"README\.md: musicssl\.dims: unknown key\. Did you mean 'dim'\?"),
        ("dim: 8", "dim: many", r"musicssl\.dim must be of type int, got 'many'"),
        ("musicssl:\n", "other:\n", r"README\.md: musicssl must be a mapping, got None"),
    ],
)
def test_a_card_must_be_whole(bundled: Path, old: str, new: str, message: str) -> None:
    (bundled / "musicssl-tiny" / "README.md").write_text(CARD.replace(old, new))
    with pytest.raises(ModelError, match=message):
        describe_model(bundled_models()["musicssl-tiny"])


def test_bundled_and_local_need_no_network(bundled: Path, tmp_path: Path, no_sockets: None) -> None:
    assert find_checkpoint() == Checkpoint(bundled / "musicssl-small", "musicssl-small", None)
    assert find_checkpoint("musicssl-tiny").folder == bundled / "musicssl-tiny"
    local = write(tmp_path / "mine", FILES)
    assert find_checkpoint(local) == find_checkpoint(str(local)) == Checkpoint(local, "mine", None)


def test_the_client_is_not_imported_for_them(tmp_path: Path) -> None:
    write(tmp_path / "mine", FILES)
    code = (
        "import sys; from musicssl.checkpoint import hub; "
        "print(hub.find_checkpoint(sys.argv[1]).model_id, "
        "[m for m in ('huggingface_hub', 'torch', 'yaml') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "mine")]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["mine", "[]"]


def test_a_folder_named_like_a_repository_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_sockets: None
) -> None:
    write(tmp_path / "someone" / "encoder", FILES)
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(REPO).folder == Path(REPO)


def test_a_path_is_never_a_name(bundled: Path) -> None:
    with pytest.raises(ModelError, match="model 'musicssl-small' is unknown"):
        find_checkpoint(Path("musicssl-small"))
    with pytest.raises(ModelError, match="model 'someone/encoder' is unknown"):
        find_checkpoint(Path(REPO))


@pytest.mark.parametrize("model", ["musicssl-tiny", "mine"])
def test_only_repositories_have_revisions(bundled: Path, tmp_path: Path, model: str) -> None:
    write(tmp_path / "mine", FILES)
    where = str(tmp_path / "mine") if model == "mine" else model
    with pytest.raises(ModelError, match=r"revision 'v1' .* only repositories have revisions"):
        find_checkpoint(where, revision="v1")


@pytest.mark.parametrize(
    "name",
    ["musicssl-smal", "musicssl_small", "a/b/c", "../x", "https://huggingface.co/a/b", "", "/no"],
)
def test_unknown_names(bundled: Path, no_sockets: None, name: str) -> None:
    with pytest.raises(ModelError, match=r"expected|config\.json") as caught:
        find_checkpoint(name)
    if name.startswith("musicssl"):
        assert str(caught.value).endswith("Did you mean 'musicssl-small'?")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("n" * 300, r"'n+\.\.\.n+/config\.json' cannot be looked at: File name"),
        ("owner/" + "n" * 300, r"'owner/n+\.\.\.n+' is not a repository"),
        ("/" + "n/" * 5000, "cannot be looked at: File name too long"),
        (Path("n" * 300), "cannot be looked at: File name too long"),
        ("a\0b", r"model 'a\\x00b' is unknown"),
        ("a\nb", r"model 'a\\nb' is unknown"),
        ("~nobody-of-this-name/model", "is unknown"),
        ("\ud800", r"model '\\ud800' is unknown"),
        ({"encoder.weight": 1}, r"got \{'encoder.weight': 1\} \(dict\)"),
        (b"musicssl-small", r"got b'musicssl-small' \(bytes\)"),
        (5, r"model must be a name, a folder or a repository, got 5 \(int\)"),
        (True, r"got True \(bool\)"),
        ([], r"got \[\] \(list\)"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_name(no_sockets: None, model: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        find_checkpoint(model)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_what_stands_in_a_files_place(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "mine", FILES)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(ModelError, match=rf"{name}' is not a file"):
        find_checkpoint(folder)
    (folder / name).rmdir()
    (folder / name).symlink_to(name)
    with pytest.raises(ModelError, match=rf"{name}' cannot be looked at: .*symbolic links"):
        find_checkpoint(folder)


def test_an_installation_without_models_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "CHECKPOINTS", tmp_path / "none")
    assert list_models() == []
    with pytest.raises(ModelError, match=r"model 'musicssl-small' is unknown.*\(none here\)"):
        find_checkpoint()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no config.json, so it is not"),
        ({"config.json": CONFIG}, r"has no model\.safetensors, so .*; it has config\.json"),
        ({"config.json": CONFIG, "pytorch_model.bin": b""}, r"only pytorch_model\.bin: a pickle"),
        ({"model.ckpt": b""}, r"only model\.ckpt: a pickle"),
    ],
)
def test_a_folder_must_be_a_whole_checkpoint(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    folder = write(tmp_path / "part", files)
    for call in (find_checkpoint, lambda path: push_folder(path, REPO)):
        with pytest.raises(ModelError, match=message):
            call(str(folder))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", FILES)
    with pytest.raises(ModelError, match="is a file; give the checkpoint folder"):
        find_checkpoint(folder / "model.safetensors")


# downloads


def test_downloads_the_right_bytes(server: Server) -> None:
    found = find_checkpoint(REPO)
    assert right(found.folder)
    assert found.model_id == REPO
    assert found.revision == server.branches[REPO]["main"]
    assert found.folder.is_relative_to(constants.HF_HUB_CACHE)
    assert sorted(path.name for path in found.folder.iterdir()) == sorted(FILES)
    agents = [headers["user-agent"] for _, path, headers in server.requests if "resolve" in path]
    assert all(agent.startswith("musicssl/") for agent in agents)


def test_the_cache_is_asked_first(server: Server, tmp_path: Path) -> None:
    first = find_checkpoint(REPO, cache_dir=tmp_path / "elsewhere")
    assert first.folder.is_relative_to(tmp_path / "elsewhere")
    server.requests.clear()
    assert find_checkpoint(REPO, cache_dir=tmp_path / "elsewhere") == first
    assert server.asked("GET") == []
    assert server.asked("HEAD") == [f"/{REPO}/resolve/main/config.json"]


def test_revisions(server: Server) -> None:
    old = server.branches[REPO]["main"]
    new = server.commit(REPO, {"model.safetensors": weights(1)})
    server.branches[REPO]["v1"] = old
    assert find_checkpoint(REPO).revision == new
    for revision in ("v1", old):
        found = find_checkpoint(REPO, revision=revision)
        assert found.revision == old
        assert right(found.folder)


def test_both_files_are_of_one_commit(server: Server) -> None:
    """A push between the two files cannot mix them."""
    old = server.branches[REPO]["main"]
    get = Repository.get

    def get_then_push(self: Any, file: str, *rest: Any, **more: Any) -> Path:
        path = get(self, file, *rest, **more)
        server.commit(REPO, {"config.json": CONFIG + b" ", "model.safetensors": weights(1)})
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Repository, "get", get_then_push)
        found = find_checkpoint(REPO)
    assert found.revision == old
    assert right(found.folder)


def test_a_pinned_commit_needs_no_network(server: Server, no_sockets_later: Any) -> None:
    commit = server.branches[REPO]["main"]
    first = find_checkpoint(REPO, revision=commit)
    no_sockets_later()
    assert find_checkpoint(REPO, revision=commit) == first


@pytest.fixture
def no_sockets_later(request: pytest.FixtureRequest) -> Any:
    return lambda: request.getfixturevalue("no_sockets")


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_offline(
    server: Server, no_sockets_later: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    first = find_checkpoint(REPO)
    no_sockets_later()
    only = how == "argument"
    go_offline(monkeypatch, not only)
    assert find_checkpoint(REPO, local_files_only=only) == first
    with pytest.raises(ModelError, match=r"other/one at 'main' is not in the cache.*turned off"):
        find_checkpoint("other/one", local_files_only=only)
    with pytest.raises(ModelError, match="someone/encoder at 'v2' is not in the cache"):
        find_checkpoint(REPO, revision="v2", local_files_only=only)


def test_an_unreachable_hub_leaves_the_cache(server: Server, waits: list[float]) -> None:
    first = find_checkpoint(REPO)
    server.fault("HEAD", "config.json", status=503)
    assert find_checkpoint(REPO) == first


def test_the_standard_variables_hold(server: Server, tmp_path: Path) -> None:
    code = (
        "from musicssl.checkpoint.hub import find_checkpoint as f; "
        "print(f('someone/encoder').folder)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    home = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": server.url, "HF_TOKEN": "abc"}
    server.token = "abc"
    for more in ({}, {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}):
        env = kept | home | {"HF_HUB_DISABLE_XET": "1"} | more
        command = [sys.executable, "-c", code]
        out = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        assert out.returncode == 0, out.stderr
        assert Path(out.stdout.strip()).is_relative_to(tmp_path / "hf" / "hub")


def test_a_token_goes_to_the_hub_only(server: Server) -> None:
    server.token = "hf_secret"
    assert right(find_checkpoint(REPO, token="hf_secret").folder)
    for _, path, headers in server.requests:
        assert ("authorization" in headers) == (not path.startswith("/cdn/"))


def test_two_threads_at_once(server: Server) -> None:
    found: list[Checkpoint] = []
    threads = [threading.Thread(target=lambda: found.append(find_checkpoint(REPO))) for _ in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert right(found[0].folder)


# faults


def test_a_broken_transfer_goes_on(server: Server, waits: list[float]) -> None:
    server.fault("GET", "/cdn/", cut=3000, times=2)
    assert right(find_checkpoint(REPO).folder)
    ranges = [headers.get("range") for _, path, headers in server.requests if path[:5] == "/cdn/"]
    assert len(ranges) == 3
    assert ranges[0] is None
    assert all(span.startswith("bytes=") for span in ranges[1:])


def test_a_reset_transfer_starts_again(server: Server, waits: list[float]) -> None:
    server.fault("GET", "/cdn/", cut=3000, reset=True, times=2)
    assert right(find_checkpoint(REPO).folder)


def test_a_transfer_that_never_ends_is_an_error(server: Server, waits: list[float]) -> None:
    server.fault("GET", "/cdn/", cut=0, times=1000)
    with pytest.raises(ModelError, match=r"someone/encoder at '\w+' cannot be reached: .*network"):
        find_checkpoint(REPO)
    assert not list(Path(constants.HF_HUB_CACHE).rglob("model.safetensors"))


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize(("status", "least"), [(429, 7), (503, 0)])
def test_patience(
    server: Server, waits: list[float], method: str, status: int, least: float
) -> None:
    headers = {"Retry-After": "7"} if status == 429 else {}
    path = "config.json" if method == "HEAD" else "/cdn/"
    server.fault(method, path, status=status, headers=headers, times=2)
    assert right(find_checkpoint(REPO).folder)
    assert waits
    assert max(waits) >= least
    assert sum(waits) < 30


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (401, {}, r"no repository someone/encoder, or it is private|valid token \(401\): log in"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, "valid token"),
        (403, {"X-Error-Code": "GatedRepo"}, r"is gated: ask for access at http://127.*, then log"),
        (403, {}, r"forbids this \(403\)"),
        (404, {"X-Error-Code": "RepoNotFound"}, "no repository someone/encoder, or it is private"),
        (404, {"X-Error-Code": "RevisionNotFound"}, r"encoder has no revision '(v9|\w{40})'"),
        (404, {}, "cannot be reached.*404.*check|Check the network, the proxy and HF_ENDPOINT"),
        (429, {}, r"too many requests \(429\); wait, or log in"),
        (500, {}, r"is out of order \(500\); try again later"),
        (504, {}, r"is out of order \(504\); try again later"),
    ],
)
def test_every_refusal_is_one_line(
    server: Server,
    waits: list[float],
    method: str,
    status: int,
    headers: dict[str, str],
    message: str,
) -> None:
    server.branches[REPO]["v9"] = server.branches[REPO]["main"]
    path = "config.json" if method == "HEAD" else "/cdn/"
    server.fault(method, path, status=status, headers=headers, times=1000)
    with pytest.raises(ModelError, match=message) as caught:
        find_checkpoint(REPO, revision="v9")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert sum(waits) < 60


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("someone/nothing", None, "no repository someone/nothing, or it is private"),
        (REPO, "v7", "someone/encoder has no revision 'v7'; see http://127"),
        ("a/b--c", None, "'a/b--c' is not a repository: expected 'owner/name'"),
    ],
)
def test_wrong_names(server: Server, name: str, revision: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        find_checkpoint(name, revision=revision)


def test_a_token_that_is_not_there(server: Server) -> None:
    with pytest.raises(ModelError, match="no token is stored: log in with `hf auth login`"):
        find_checkpoint(REPO, token=True)


def test_no_connection(server: Server, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # and not listened to
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", nobody)
        template = nobody + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        with pytest.raises(ModelError, match=rf"reached: Connect.*HF_ENDPOINT \({nobody}\)"):
            find_checkpoint(REPO)
    assert waits == []


def test_a_login_page_is_not_a_hub(server: Server, waits: list[float]) -> None:
    server.fault("HEAD", "config.json", status=200, times=1000)
    with pytest.raises(
        ModelError, match=r"cannot be reached: the answer has no X-Repo-Commit.*the proxy"
    ):
        find_checkpoint(REPO)


def test_a_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"the cache .*file/cache cannot be used: .*HF_HOME"):
        find_checkpoint(REPO, cache_dir=tmp_path / "file" / "cache")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(download.RemoteRepository, "_receive", full)
        with pytest.raises(ModelError, match=r"used: No space left on device\. Make room"):
            find_checkpoint(REPO)
    free = download.shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: free)
    with pytest.raises(
        ModelError, match=r"safetensors takes [\d,]+ bytes, more than is free in .*"
    ):
        find_checkpoint(REPO)


# what comes is right, or refused


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"pytorch_model.bin": b"x"}, r"only pytorch_model\.bin: a pickle can run any code"),
        ({"config.json": CONFIG, "model.pt": b"x"}, r"only model\.pt: a pickle can run any code"),
        ({"data.csv": b"x"}, r"has no config\.json, so it is not .*; it has data\.csv\."),
        ({"config.json": CONFIG}, r"has no model\.safetensors, so it is not .* it has config"),
        ({"config.json": b"{"}, r"config\.json is not JSON"),
        ({"config.json": b'{"model_type": "hubert"}'}, "lacks 'format' or .*'hubert' of transf"),
        ({"config.json": b"[]"}, "lacks 'format' or 'encoder'"),
    ],
)
def test_other_repositories_are_refused(
    server: Server, files: dict[str, bytes], message: str
) -> None:
    server.commit("other/model", files)
    with pytest.raises(ModelError, match=message):
        find_checkpoint("other/model")
    assert server.asked("GET", "/cdn/") == []


def test_only_two_files_are_fetched(server: Server) -> None:
    extra = {"README.md": b"card", "pytorch_model.bin": b"pickle", "optimizer.safetensors": b"x"}
    server.commit(REPO, extra)
    found = find_checkpoint(REPO)
    assert sorted(path.name for path in found.folder.iterdir()) == sorted(FILES)


def test_wrong_bytes_are_fetched_again(server: Server, waits: list[float]) -> None:
    """Of the right size, and readable: only the hash tells."""
    server.fault("GET", "/cdn/", body=weights(1))
    assert right(find_checkpoint(REPO).folder)
    assert len(server.asked("GET", "/cdn/")) == 2


def test_wrong_bytes_every_time_are_an_error(server: Server, waits: list[float]) -> None:
    server.fault("GET", "/cdn/", body=weights(1), times=1000)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged: its SHA-256 is \w{64},"):
        find_checkpoint(REPO)


def test_weights_that_are_no_safetensors_are_an_error(server: Server) -> None:
    server.commit("other/model", FILES | {"model.safetensors": b"<html>"})
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged: it is a web page"):
        find_checkpoint("other/model")


def test_a_cut_answer_is_asked_for_again(server: Server, waits: list[float]) -> None:
    server.fault("GET", "/cdn/", body=WEIGHTS[:-5])
    assert right(find_checkpoint(REPO).folder)


@pytest.mark.parametrize("data", [WEIGHTS[:-5], weights(1)])
def test_damage_in_the_cache_is_mended_online_and_told_offline(server: Server, data: bytes) -> None:
    path = find_checkpoint(REPO).folder / "model.safetensors"
    path.resolve().write_bytes(data)
    with pytest.raises(ModelError, match=r"is damaged: .* Delete .*model\.safetensors and fetch"):
        find_checkpoint(REPO, local_files_only=True)
    assert right(find_checkpoint(REPO).folder)


# pushing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = FILES | {"README.md": CARD.encode(), "training.json": b"{}", "state.pt": b"secret"}
    return write(tmp_path / "mine", files)


def test_push_and_fetch(server: Server, folder: Path) -> None:
    server.token = "abc"
    url = push_folder(folder, "me/new", token="abc", private=True, commit_message="First")
    assert url == f"{server.url}/me/new"
    files = server.commits[server.branches["me/new"]["main"]]
    assert sorted(files) == [".gitattributes", *sorted(push.PUSHED)]
    assert right(find_checkpoint("me/new", token="abc").folder)
    assert push_folder(folder, "me/new", token="abc") == url


def test_push_to_a_branch(server: Server, folder: Path) -> None:
    for _ in range(2):
        url = push_folder(folder, REPO, revision="v2")
        assert url == f"{server.url}/{REPO}/tree/v2"
    assert right(find_checkpoint(REPO, revision="v2").folder)
    assert "README.md" not in server.commits[server.branches[REPO]["main"]]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/api/repos/create", 401, r"asks for a valid token \(401\): log in"),
        ("POST", "/api/repos/create", 403, r"forbids this \(403\): log in .* that may"),
        ("PUT", "/cdn/", 403, r"forbids this \(403\)"),
        ("POST", "/commit/", 500, r"is out of order \(500\)"),
    ],
)
def test_push_refused(
    server: Server,
    folder: Path,
    waits: list[float],
    method: str,
    path: str,
    status: int,
    message: str,
) -> None:
    server.fault(method, path, status=status, times=1000)
    with pytest.raises(ModelError, match=message):
        push_folder(folder, "me/new")


def test_push_offline(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch, True)
    with pytest.raises(ModelError, match="me/new: the network is turned off; unset HF_HUB_OFFLINE"):
        push_folder(folder, "me/new")
