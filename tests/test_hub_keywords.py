"""Keywords of `huggingface_hub`'s own mixins, and a network that is not there."""

import errno
import os
import re
import socket
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from hub_server import REPO, go_offline, right
from huggingface_hub import ModelHubMixin, constants, file_download

from musicssl.checkpoint.hub import PushKeywords, find_checkpoint, push_folder
from musicssl.checkpoint.names import CONFIG, WEIGHTS
from musicssl.errors import ConfigError, ModelError
from musicssl.model import MusicEncoder, load_model

Server = Any  # hub_server.Hub


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> MusicEncoder:
    return MusicEncoder.read_folder(tiny_model_folder)


def files(server: Server, repo: str, branch: str = "main") -> list[str]:
    return sorted(set(server.commits[server.branches[repo][branch]]) - {".gitattributes"})


# keywords


def test_the_mixins_keywords_are_known() -> None:
    """Of the client that is installed; the configuration and the card are not for the caller."""
    ours = {"config", "model_card_kwargs", "push_to_hub_kwargs", "model_kwargs"}
    meant = {"pretrained_model_name_or_path": "model", "save_directory": "folder"}
    for name in ("from_pretrained", "push_to_hub", "save_pretrained"):
        wanted = signature(getattr(ModelHubMixin, name)).parameters.keys() - ours
        known = signature(getattr(MusicEncoder, name)).parameters.keys()
        known |= PushKeywords.__annotations__.keys() if name == "save_pretrained" else set()
        assert {meant.get(parameter, parameter) for parameter in wanted} <= known


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model: model.from_pretrained(pretrained_model_name_or_path="a/b"),
            "no parameter 'pretrained_model_name_or_path'. Did you mean 'model'",
        ),
        (lambda model: model.from_pretrained(forced_download=True), "mean 'force_download'"),
        (lambda model: model.from_pretrained(force_download="yes"), "force_download must be True"),
        (lambda _: load_model(device_map="cpu"), "load_model has no parameter 'device_map'. Did"),
        (lambda model: model.push_to_hub("a/b", branches="x"), "Did you mean 'branch'"),
        (lambda model: model.push_to_hub("a/b", branch=5), "branch must be a string"),
        (lambda model: model.push_to_hub("a/b", branch="x", revision="y"), "two names of one"),
        (lambda model: model.push_to_hub("a/b", create_pr="no"), "create_pr must be True"),
        (lambda model: model.push_to_hub("a/b", allow_patterns=5), "a pattern or a list of them"),
        (lambda model: model.save_pretrained("x", private=True), "private is for push_to_hub=True"),
        (lambda model: model.save_pretrained("x", repo_id="a/b"), "repo_id is for push_to_hub"),
        (lambda model: model.save_pretrained("x", push_to_hub=True, privat=True), "'private'"),
    ],
)
def test_wrong_keywords(
    model: MusicEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_sockets: None,
    call: Callable[[Any], object],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(message)):
        call(model)
    assert list(tmp_path.iterdir()) == []  # nothing was saved before it was refused


def test_a_forced_download_replaces_what_the_cache_has(server: Server) -> None:
    first = find_checkpoint(REPO)
    for name in (CONFIG, WEIGHTS):
        (first.folder / name).resolve().write_bytes(b"{}")
    server.requests.clear()
    assert find_checkpoint(REPO, force_download=True) == first
    assert right(first.folder)
    assert len(server.asked("GET", "/cdn/")) == 1
    commit = server.branches[REPO]["main"]
    find_checkpoint(REPO, revision=commit, force_download=True)
    assert len(server.asked("GET", "/cdn/")) == 2


def test_a_forced_download_needs_the_network(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_checkpoint(REPO)
    go_offline(monkeypatch, True)
    with pytest.raises(ModelError, match="force_download needs the network, which is turned off"):
        find_checkpoint(REPO, force_download=True)


# pushing


def test_save_and_push(server: Server, model: MusicEncoder, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "mine", push_to_hub=True, private=True)
    assert folder == tmp_path / "mine"
    assert files(server, "me/mine") == [CONFIG, WEIGHTS]  # named after the folder
    (folder / "README.md").write_text("a card")
    model.save_pretrained(folder, push_to_hub=True, repo_id=REPO, branch="v2", commit_message="x")
    assert files(server, REPO, "v2") == ["README.md", CONFIG, WEIGHTS]
    assert "README.md" not in files(server, REPO)


def test_branch_and_proposal(server: Server, model: MusicEncoder) -> None:
    assert model.push_to_hub(REPO, branch="v3") == f"{server.url}/{REPO}/tree/v3"
    before = server.branches[REPO]["main"]
    url = model.push_to_hub(REPO, create_pr=True)
    assert url == f"{server.url}/{REPO}/discussions/1"
    assert server.branches[REPO]["main"] == before


def test_patterns(server: Server, model: MusicEncoder, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "mine")
    (folder / "README.md").write_text("a card")
    (folder / "secret.txt").write_text("secret")
    push_folder(folder, "me/some", allow_patterns=["*.md", "*.txt"])
    assert files(server, "me/some") == ["README.md"]
    push_folder(folder, "me/some", ignore_patterns="*.safetensors", delete_patterns="*.md")
    assert files(server, "me/some") == ["README.md", CONFIG]  # what is sent is not removed
    push_folder(folder, "me/some", allow_patterns=CONFIG, delete_patterns="README*")
    assert files(server, "me/some") == [CONFIG]


# no network

NO_WAY = {
    "no name server": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    "no such name": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "no network": OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH)),
    "no route": OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)),
    "no answer to the call": TimeoutError("timed out"),
}


@pytest.mark.parametrize("why", NO_WAY)
def test_without_a_network_the_answer_comes_at_once(
    server: Server, waits: list[float], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    kept = find_checkpoint(REPO)
    tried = []

    def fail(*_: Any, **__: Any) -> None:
        tried.append(why)
        raise NO_WAY[why]

    elsewhere = "http://hub.invalid/{repo_id}/resolve/{revision}/{filename}"  # no open connection
    for module in (constants, file_download):
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", elsewhere, raising=False)
    monkeypatch.setattr(socket, "create_connection", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ModelError, match=r"other/one at 'main' cannot be reached: .*HF_ENDPOINT"):
        find_checkpoint("other/one")
    assert len(tried) == 1
    assert find_checkpoint(REPO) == kept  # what is in the cache serves
    assert len(tried) == 2
    assert waits == []
