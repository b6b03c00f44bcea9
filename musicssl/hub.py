"""Where checkpoints come from: a bundled name, a folder or a Hugging Face repository.

`huggingface_hub` is imported only where it is needed: a bundled model or a folder needs neither it
nor a network.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import safetensors

from musicssl import models
from musicssl.errors import ModelError, nearest
from musicssl.models import CARD, CONFIG, DEFAULT_MODEL, FACTS, MODELS, WEIGHTS

PUSHED = (CONFIG, WEIGHTS, CARD, FACTS)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
WAITS = (1.0, 3.0)  # seconds before asking again for a file
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")
LOGIN = "log in with `hf auth login`, set HF_TOKEN or pass token="


@dataclass(frozen=True)
class Checkpoint:
    """A folder with config.json and model.safetensors, and where it comes from."""

    folder: Path
    model_id: str
    revision: str | None  # of a repository: the commit


def find_checkpoint(
    model: str | Path | None = None,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Checkpoint:
    """Return the folder of a model, downloaded if need be.

    Parameters
    ----------
    model
        None for the bundled default, a bundled model's name, a checkpoint folder, or a repository
        ``owner/name``. A `Path` is always a folder.
    revision
        Branch, tag or commit of a repository. A whole commit hash that is cached needs no network.
    cache_dir, token, local_files_only
        As in `huggingface_hub.hf_hub_download`; the variables HF_HOME, HF_HUB_CACHE, HF_TOKEN,
        HF_ENDPOINT and HF_HUB_OFFLINE hold too.

    Returns
    -------
    Checkpoint
        Of a repository: both files of one commit, the weights compared with the Hub's SHA-256
        where the cache keeps that, and fetched again if they differed.

    Raises
    ------
    ModelError
        If there is no such model, or it cannot be fetched.
    """
    name = DEFAULT_MODEL if model is None else str(model)
    bundled = not isinstance(model, Path) and name in MODELS
    folder = models.CHECKPOINTS / name if bundled else Path(name).expanduser()
    if bundled or (folder / CONFIG).is_file():
        if revision is not None:
            raise ModelError(
                f"revision {revision!r} was given for {name!r}, which is "
                f"{'bundled' if bundled else 'a folder'}; only repositories have revisions."
            )
        _check_folder(folder)
        return Checkpoint(folder, name if bundled else folder.resolve().name, None)
    if isinstance(model, Path) or not REPOSITORY.fullmatch(name):
        raise ModelError(_unknown(name, folder))
    return _Repository(name, cache_dir, token, local_files_only).fetch(revision)


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
    _check_folder(folder)
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
        raise ModelError(_explain(error, repo_id, revision)) from error
    return str(url) if revision is None else f"{url}/tree/{revision}"


@dataclass(frozen=True)
class _Repository:
    """A repository on the Hugging Face Hub, and how to reach it."""

    name: str
    cache_dir: str | Path | None
    token: str | bool | None
    local_files_only: bool

    def fetch(self, revision: str | None) -> Checkpoint:
        """Return the checkpoint in the cache, after downloading what is missing there."""
        config = self.get(CONFIG, revision)
        _check_config(config, self.name)
        commit = config.parent.name  # a branch may have moved on since
        weights = self.get(WEIGHTS, commit)
        if _damage(weights) and not self.offline:
            weights = self.get(WEIGHTS, commit, force_download=True)
        if damage := _damage(weights):
            raise ModelError(
                f"{self.name}: {WEIGHTS} is damaged: {damage}. Delete {weights} and fetch it again;"
                " if it comes back so, tell the repository's owner."
            )
        return Checkpoint(config.parent, self.name, commit)

    @property
    def offline(self) -> bool:
        """Whether the network is not to be used."""
        from huggingface_hub import constants

        return self.local_files_only or constants.HF_HUB_OFFLINE

    def get(
        self,
        file: str,
        revision: str | None,
        waits: tuple[float, ...] = WAITS,
        force_download: bool = False,
    ) -> Path:
        """Return the path of a file in the cache.

        The client itself resumes a transfer that ends early, and asks again after a 429 and, where
        it asks for a file's size, a 5xx. What it gives up on, a 5xx or a reset within the
        transfer, is tried again here.

        Raises
        ------
        ModelError
            If it does not come.
        """
        from huggingface_hub import hf_hub_download

        from musicssl import __version__

        try:
            path = hf_hub_download(
                self.name,
                file,
                revision=revision,
                cache_dir=self.cache_dir,
                token=self.token,
                local_files_only=self.local_files_only,
                force_download=force_download,
                library_name="musicssl",
                library_version=__version__,
            )
            return Path(path)
        except Exception as error:  # of whatever HTTP library this client uses
            if not (waits and _is_passing(error)):
                raise ModelError(self.explain(error, file, revision)) from error
        time.sleep(waits[0])
        return self.get(file, revision, waits[1:], force_download)

    def explain(self, error: Exception, file: str, revision: str | None) -> str:
        """Say in one line why a file did not come and what to do."""
        from huggingface_hub import HfApi, constants, errors

        if isinstance(error, errors.EntryNotFoundError) and not isinstance(
            error, errors.LocalEntryNotFoundError
        ):
            try:
                present = HfApi(token=self.token).list_repo_files(self.name, revision=revision)
            except Exception:  # the message is poorer without
                present = []
            return _lacks(self.name, file, present)
        if (
            isinstance(error, OSError)
            and error.strerror
            and not isinstance(error, (ConnectionError, TimeoutError))
        ):
            return (
                f"the cache {self.cache_dir or constants.HF_HUB_CACHE} cannot be used: "
                f"{error.strerror}. Make room or permit writing there, or choose another place "
                "with cache_dir= or HF_HOME."
            )
        return _explain(error, self.name, revision)


def _check_folder(folder: Path) -> None:
    """Refuse a folder without the files of a checkpoint."""
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            present = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            raise ModelError(_lacks(str(folder), file, present))


def _check_config(config: Path, name: str) -> None:
    """Refuse another library's model before its weights are downloaded."""
    try:
        values = json.loads(config.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{name}: config.json is not JSON: {error}.") from error
    if not isinstance(values, dict) or not {"format", "encoder"} <= values.keys():
        kind = values.get("model_type") if isinstance(values, dict) else None
        raise ModelError(
            f"{name} is not a musicssl checkpoint: its config.json lacks 'format' or 'encoder'"
            f"{f'; it is for a {kind!r} of transformers' if kind else ''}."
        )


def _damage(weights: Path) -> str:
    """Return what is wrong with a cached weights file, or nothing."""
    try:
        with safetensors.safe_open(weights, framework="numpy"):
            pass
    except (OSError, safetensors.SafetensorError) as error:
        return str(error)
    # The cache names what it keeps after the server's ETag, a large file's SHA-256. Follow one
    # link only: what it leads to may be one itself, into a store with other names.
    etag = weights.readlink().name if weights.is_symlink() else ""
    if not SHA256.fullmatch(etag):
        return ""
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if found == etag else f"its SHA-256 is {found}, the Hub's {etag}"


def _unknown(name: str, folder: Path) -> str:
    """Say why `name` is no model."""
    if folder.is_file():
        return f"{name} is a file; give the checkpoint folder that it stands in."
    if folder.is_dir():
        return _lacks(name, CONFIG, [path.name for path in folder.iterdir()])
    return (
        f"model {name!r} is unknown: expected a bundled model ({', '.join(MODELS) or 'none here'}),"
        " a folder with config.json and model.safetensors, or a Hugging Face repository"
        f" 'owner/name'.{nearest(name, list(MODELS))}"
    )


def _lacks(where: str, file: str, present: Iterable[str]) -> str:
    """Say that a folder or repository has no `file`."""
    names = sorted(present)
    pickles = [name for name in names if name.endswith(PICKLES)]
    if pickles and WEIGHTS not in names:
        return (
            f"{where} has no {WEIGHTS}, only {', '.join(pickles[:3])}: a pickle can run any code, "
            "so musicssl opens none. Ask its owner for safetensors."
        )
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    has = f"; it has {shown}" if names else ""
    return f"{where} has no {file}, so it is not a musicssl checkpoint{has}."


def _is_passing(error: Exception) -> bool:
    """Tell whether a fault that the client gave up on may be gone in a moment."""
    breaks = ("ReadError", "RemoteProtocolError", "ChunkedEncodingError")  # httpx's, requests'
    broken = type(error).__name__ in breaks or "Consistency check failed" in str(error)
    return broken or _status(error) >= 500


def _status(error: BaseException) -> int:
    """Return the HTTP status that an error is about, or 0."""
    return int(getattr(getattr(error, "response", None), "status_code", 0))


def _explain(error: BaseException, repo: str, revision: str | None) -> str:
    """Say in one line what the client, the network or the Hub objects to and what to do."""
    from huggingface_hub import constants, errors

    wrappers = (errors.LocalEntryNotFoundError, RuntimeError, ValueError)
    while (cause := error.__cause__) and isinstance(error, wrappers) and not _status(error):
        if isinstance(cause, errors.OfflineModeIsEnabled):
            break
        error = cause
    hub, at = constants.ENDPOINT, f"{repo} at {revision or 'main'!r}"
    offline = (
        f"{at} is not in the cache, and the network is turned off (HF_HUB_OFFLINE or "
        "local_files_only). Fetch it once online, or give a folder."
    )
    kinds: list[tuple[type[BaseException], str]] = [
        (errors.GatedRepoError, f"{repo} is gated: ask for access at {hub}/{repo}, then {LOGIN}."),
        (
            errors.RepositoryNotFoundError,
            f"{hub} has no repository {repo}, or it is private: check the name, or {LOGIN}.",
        ),
        (errors.RevisionNotFoundError, f"{repo} has no revision {revision!r}; see {hub}/{repo}."),
        (errors.LocalEntryNotFoundError, offline),
        (errors.OfflineModeIsEnabled, f"{repo}: the network is turned off; unset HF_HUB_OFFLINE."),
        (errors.LocalTokenNotFoundError, f"no token is stored: {LOGIN}."),
        (errors.HFValidationError, f"{repo!r} is not a repository: expected 'owner/name'."),
    ]
    for kind, text in kinds:
        if isinstance(error, kind):
            return text
    status = _status(error)
    if status >= 500:
        return f"{at}: {hub} is out of order ({status}); try again later."
    statuses = {
        401: f"{at}: {hub} asks for a valid token (401): {LOGIN}.",
        403: f"{at}: {hub} forbids this (403): {LOGIN}, of an account that may.",
        429: f"{at}: {hub} counts too many requests (429); wait, or {LOGIN}.",
    }
    line = next(iter(str(error).strip().splitlines()), "").rstrip(".")
    return statuses.get(status) or (
        f"{at} cannot be reached: {type(error).__name__}: {line}. Check the network, the proxy and "
        f"HF_ENDPOINT ({hub}), then try again."
    )
