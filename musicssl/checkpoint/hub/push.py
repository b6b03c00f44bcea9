"""Checkpoints to a Hugging Face repository."""

from pathlib import Path

from musicssl.checkpoint.hub.find import check_folder
from musicssl.checkpoint.hub.messages import explain_status
from musicssl.checkpoint.names import CARD, CONFIG, TRAINING_INFO, WEIGHTS
from musicssl.errors import ModelError

PUSHED = (CONFIG, WEIGHTS, CARD, TRAINING_INFO)


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    commit_message: str | None = None,
    revision: str | None = None,
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

    Raises
    ------
    ModelError
        If the folder is not a whole checkpoint, or the upload fails.
    """
    from huggingface_hub import HfApi

    from musicssl import __version__

    folder = Path(folder)
    check_folder(folder)
    api = HfApi(token=token, library_name="musicssl", library_version=__version__)
    try:
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None and not revision.startswith("refs/"):
            api.create_branch(url.repo_id, branch=revision, exist_ok=True)
        api.upload_folder(
            repo_id=url.repo_id,
            folder_path=folder,
            allow_patterns=list(PUSHED),
            commit_message=commit_message or "Upload a musicssl checkpoint",
            revision=revision,
        )
    except Exception as error:  # of whatever HTTP library this client uses
        raise ModelError(_explain_push(error, repo_id)) from error
    return str(url) if revision is None else f"{url}/tree/{revision}"


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
