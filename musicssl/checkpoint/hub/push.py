"""Checkpoints to a Hugging Face repository."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from musicssl import arguments
from musicssl.checkpoint.hub.find import check_folder
from musicssl.checkpoint.hub.messages import explain_status
from musicssl.checkpoint.names import CARD, CONFIG, TRAINING_INFO, WEIGHTS
from musicssl.errors import ConfigError, ModelError, shown

PUSHED = (CONFIG, WEIGHTS, CARD, TRAINING_INFO)


Patterns = str | Sequence[str] | None


class PushKeywords(TypedDict, total=False):
    """Keywords of `push_folder`, of which `huggingface_hub`'s mixins call the revision a branch."""

    token: str | bool | None
    private: bool | None
    commit_message: str | None
    revision: str | None
    branch: str | None
    create_pr: bool | None
    allow_patterns: Patterns
    ignore_patterns: Patterns
    delete_patterns: Patterns


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    commit_message: str | None = None,
    revision: str | None = None,
    create_pr: bool | None = None,
    allow_patterns: Patterns = None,
    ignore_patterns: Patterns = None,
    delete_patterns: Patterns = None,
) -> str:
    """Upload a checkpoint to the Hugging Face Hub and return its address.

    Only config.json, model.safetensors, README.md and training.json are sent.

    Parameters
    ----------
    folder
        A checkpoint.
    repo_id
        ``owner/name``; made if it does not exist.
    token
        Must permit writing; None for that of ``hf auth login`` or HF_TOKEN.
    private
        Whether a new repository is; None for its owner's default.
    commit_message
        One line.
    revision
        Branch, made if it does not exist.
    create_pr
        Propose the change to the repository's owner; the address is then the proposal's.
    allow_patterns, ignore_patterns
        Of the four files, those that are sent, as in `huggingface_hub.HfApi.upload_folder`.
    delete_patterns
        Files of the repository to remove in the same commit, as there.

    Raises
    ------
    ModelError
        If the folder is not a whole checkpoint, or the upload fails.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    from musicssl import __version__

    folder = Path(folder)
    check_folder(folder)
    allow, ignore = _several(allow_patterns), _several(ignore_patterns)
    files = list(filter_repo_objects(PUSHED, allow_patterns=allow, ignore_patterns=ignore))
    api = HfApi(token=token, library_name="musicssl", library_version=__version__)
    try:
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None and not revision.startswith("refs/"):
            api.create_branch(url.repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=url.repo_id,
            folder_path=folder,
            allow_patterns=files,
            delete_patterns=_several(delete_patterns),
            commit_message=commit_message or "Upload a musicssl checkpoint",
            revision=revision,
            create_pr=create_pr,
        )
    except Exception as error:  # of whatever HTTP library this client uses
        raise ModelError(_explain_push(error, repo_id)) from error
    if create_pr and commit.pr_url:
        return str(commit.pr_url)
    return str(url) if revision is None else f"{url}/tree/{revision}"


def check_push(repo_id: Any, keywords: PushKeywords) -> dict[str, Any]:
    """Return keywords for `push_folder`, checked.

    Raises
    ------
    ConfigError
        If one is of a type that it cannot have, or both `branch` and `revision` are given.
    """
    given: dict[str, Any] = {name: value for name, value in keywords.items() if value is not None}
    arguments.text(repo_id, "repo_id")
    for name in given.keys() & {"commit_message", "revision", "branch"}:
        arguments.text(given[name], name)
    for name in given.keys() & {"private", "create_pr"}:
        arguments.flag(given[name], name)
    for name in given.keys() & {"allow_patterns", "ignore_patterns", "delete_patterns"}:
        patterns = given[name]
        if not isinstance(patterns, (str, Sequence)):
            what = shown(patterns, kind=True)
            raise ConfigError(f"{name} must be a pattern or a list of them, got {what}.")
        given[name] = [arguments.text(one, name) for one in _several(patterns) or ()]
    if "branch" in given:
        branch = given.pop("branch")
        if given.setdefault("revision", branch) != branch:
            raise ConfigError("branch and revision are two names of one thing; give one of them.")
    return given | {"token": arguments.token(given.get("token"))}


def _several(patterns: Patterns) -> list[str] | None:
    if patterns is None:
        return None
    return [patterns] if isinstance(patterns, str) else list(patterns)


def _explain_push(error: Exception, repo: str) -> str:
    """Say in one line why an upload failed and what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{repo}: the network is turned off; unset HF_HUB_OFFLINE."
    cause: BaseException | None = error
    while cause is not None:
        if status := getattr(getattr(cause, "response", None), "status_code", 0):
            return explain_status(status, repo)
        cause = cause.__cause__
    line = next(iter(str(error).strip().splitlines()), "").rstrip(".")
    return f"{repo} could not be pushed: {type(error).__name__}: {line}."
