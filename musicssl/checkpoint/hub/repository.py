"""A repository's checkpoint: from the cache, and from the Hub where that is to be asked."""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from musicssl.checkpoint.hub.download import COMMIT, LOGIN, SHA256, RemoteRepository, endpoint
from musicssl.checkpoint.hub.messages import explain_status, say_lacking
from musicssl.checkpoint.hub.transfer import MismatchError, RefusalError, TransferError
from musicssl.checkpoint.names import CONFIG, WEIGHTS
from musicssl.checkpoint.untrusted import (
    JSON_LIMIT,
    DamageError,
    open_file,
    parse_json,
    read_header,
    read_json,
)
from musicssl.errors import ModelError, shown

WEIGHTS_LIMIT = 10**11  # bytes


@dataclass(frozen=True)
class Repository:
    """A repository on the Hugging Face Hub or in the cache."""

    remote: RemoteRepository
    local_files_only: bool
    force_download: bool = False  # whatever the cache has

    @property
    def name(self) -> str:
        """The repository's."""
        return self.remote.name

    @property
    def offline(self) -> bool:
        """True if the network is not to be used."""
        from huggingface_hub import constants

        return self.local_files_only or bool(constants.HF_HUB_OFFLINE)

    def fetch(self, revision: str) -> tuple[Path, str]:
        """Return a checkpoint's folder in the cache and its commit, after downloading what lacks.

        Raises
        ------
        ModelError
            If it does not come whole.
        """
        if self.force_download and self.offline:
            raise ModelError(
                f"{self.name}: force_download needs the network, which is turned off "
                "(HF_HUB_OFFLINE or local_files_only)."
            )
        config = self.get(CONFIG, revision, again=self.force_download)
        _check_config(config, self.name)
        commit = config.parent.name  # a branch may have moved on since
        weights = self.get(WEIGHTS, commit, again=self.force_download)
        if _damage(weights) and not self.offline:
            weights = self.get(WEIGHTS, commit, again=True)
        if damage := _damage(weights):
            raise ModelError(
                f"{self.name}: {WEIGHTS} is damaged: it {damage}. Delete {weights} and fetch it "
                "again; if it comes back so, tell the repository's owner."
            )
        return config.parent, commit

    def get(self, file: str, revision: str, *, again: bool = False) -> Path:
        """Return the path of a file in the cache.

        Raises
        ------
        ModelError
            If it is not there and does not come.
        """
        kept = None if again else self.look_up(file, revision)
        if kept and (self.offline or COMMIT.fullmatch(revision)):
            return kept
        if self.offline:
            raise ModelError(
                f"{self.name} at {revision!r} is not in the cache, and the network is turned off "
                "(HF_HUB_OFFLINE or local_files_only). Fetch it once online, or give a folder."
            )
        try:
            return self.download(file, revision, kept, again)
        except TransferError as error:
            raise ModelError(self.explain(error, file, revision)) from error
        except OSError as error:
            raise ModelError(
                f"the cache {self.remote.cache} cannot be used: {error.strerror or error}. "
                "Make room or permit writing there, or choose another place with cache_dir= or "
                "HF_HOME."
            ) from error

    def look_up(self, file: str, revision: str) -> Path | None:
        """Return the path of a file that is in the cache already; no network is needed."""
        from huggingface_hub import try_to_load_from_cache

        cache = self.remote.cache
        try:
            found = try_to_load_from_cache(self.name, file, cache_dir=cache, revision=revision)
        except (OSError, ValueError):  # such as a branch's note that is none
            return None
        return Path(found) if isinstance(found, str) else None

    def download(self, file: str, revision: str, kept: Path | None, again: bool) -> Path:
        """Return a file's path after asking the Hub, where that answers, or else `kept`."""
        limit = JSON_LIMIT if file == CONFIG else WEIGHTS_LIMIT
        try:
            found = self.remote.describe(file, revision, limit=limit, patient=not kept)
        except TransferError as error:
            if kept and error.passing:
                return kept
            raise
        path = self.remote.snapshot(found)
        if again or not path.is_file():
            path = self.remote.fetch(found, again=again)
        with suppress(OSError):  # a cache that may only be read
            self.remote.keep_revision(revision, found.commit)
        return path

    def explain(self, error: TransferError, file: str, revision: str) -> str:
        """Say in one line why a file did not come and what to do."""
        name, hub = self.name, endpoint()
        if isinstance(error, MismatchError):
            return f"{name}: {file} is damaged: {error}; if it stays so, tell {name}'s owner."
        if not isinstance(error, RefusalError):
            return (
                f"{name} at {revision!r} cannot be reached: {error}. Check the network, the proxy "
                f"and HF_ENDPOINT ({hub}), then try again."
            )
        codes = {
            "GatedRepo": f"{name} is gated: ask for access at {hub}/{name}, then {LOGIN}.",
            "RepoNotFound": f"{hub} has no repository {name}, or it is private: check the name, "
            f"or {LOGIN}.",
            "RevisionNotFound": f"{name} has no revision {revision!r}; see {hub}/{name}.",
        }
        if error.code in codes:
            return codes[error.code]
        if error.code == "EntryNotFound":
            return say_lacking(name, file, self.list_files(revision))
        if error.status == 401 and "credentials" not in error.message:
            return codes["RepoNotFound"]  # the Hub does not tell strangers what it has
        return explain_status(error.status, f"{name} at {revision!r}")

    def list_files(self, revision: str) -> list[str]:
        """Return the names of the repository's files, none if the Hub does not say."""
        path = f"/api/models/{self.name}/revision/{quote(revision, safe='')}"
        try:
            values = parse_json(self.remote.read(path, JSON_LIMIT))
            return [str(entry["rfilename"]) for entry in values["siblings"]]
        except (TransferError, DamageError, KeyError, TypeError):
            return []  # the message is poorer without


def open_repository(
    name: str,
    cache_dir: str | Path | None,
    token: str | bool | None,
    *,
    local_files_only: bool,
    force_download: bool,
) -> Repository:
    """Check what leads to a repository, and where the cache is."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ModelError(f"{shown(name)} is not a repository: expected 'owner/name'.") from error
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    return Repository(RemoteRepository(name, cache, token), local_files_only, force_download)


def check_revision(revision: str | None) -> str:
    """Return a branch, tag or commit, "main" for None; the cache keeps a file of that name."""
    if revision is None:
        return "main"
    parts = revision.split("/") if isinstance(revision, str) else []
    if (
        not parts
        or not revision.isprintable()
        or len(os.fsencode(revision)) > 255
        or "\\" in revision
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise ModelError(f"revision {shown(revision)} is no branch, tag or commit.")
    return revision


def _check_config(config: Path, name: str) -> None:
    """Refuse another library's model before its weights are downloaded."""
    try:
        values = read_json(config)
    except (DamageError, OSError) as error:
        raise ModelError(f"{name}: {CONFIG} {error}.") from error
    if not isinstance(values, dict) or not {"format", "encoder"} <= values.keys():
        kind = values.get("model_type") if isinstance(values, dict) else None
        raise ModelError(
            f"{name} is not a musicssl checkpoint: its config.json lacks 'format' or 'encoder'"
            f"{f'; it is for a {shown(kind)} of transformers' if kind else ''}."
        )


def _damage(weights: Path) -> str:
    """Return what is wrong with a cached weights file, or nothing."""
    try:
        with open_file(weights) as file:
            read_header(file)
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except DamageError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error}"
    # The cache names what it keeps after the server's ETag, a large file's SHA-256. Follow one
    # link only: what it leads to may be one itself, into a store with other names.
    etag = weights.readlink().name if weights.is_symlink() else ""
    right = found == etag or not SHA256.fullmatch(etag)
    return "" if right else f"has the SHA-256 {found}, the Hub's is {etag}"
