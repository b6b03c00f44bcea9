"""Files of a Hugging Face Hub, into the client's cache, from servers that need not be trusted.

`huggingface_hub` gives addresses, the token and the cache's layout. Its own downloads write where
an ETag says, as much as comes, for as long as it comes; so the transfer itself is done here.
"""

import hashlib
import os
import re
import shutil
import sys
import time
import uuid
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from io import BufferedRandom
from pathlib import Path
from typing import Any

from musicssl.checkpoint.hub.transfer import (
    Head,
    MismatchError,
    Pieces,
    TransferError,
    ask,
    in_time,
    persist,
)
from musicssl.checkpoint.untrusted import JSON_LIMIT
from musicssl.errors import ModelError, shown

WAITS = (1.0, 3.0)  # seconds before asking again
LEAP = 1_000_000  # bytes after which a transfer has earned all its tries again
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
LOGIN = "log in with `hf auth login`, set HF_TOKEN or pass token="
ETAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=-]{0,127}")  # a file's name in the cache


@dataclass(frozen=True)
class RemoteFile:
    """Facts that the Hub tells of a file before it is fetched."""

    name: str
    commit: str
    etag: str
    size: int  # bytes, as announced, or else the most that is allowed
    announced: bool


@dataclass(frozen=True)
class RemoteRepository:
    """A repository of the Hub, and its place in the cache."""

    name: str
    cache: Path
    token: str | bool | None = field(default=None, repr=False)

    @property
    def folder(self) -> Path:
        """Folder in the cache."""
        return self.cache / f"models--{self.name.replace('/', '--')}"

    @cached_property
    def secret(self) -> str | None:
        """The token itself. The client may have to ask the network for it, so only requests do.

        Raises
        ------
        ModelError
            If there is none, but `token` says so, or it cannot be one.
        """
        from huggingface_hub import constants, get_token

        silent = constants.HF_HUB_DISABLE_IMPLICIT_TOKEN
        secret = self.token if isinstance(self.token, str) else None
        if self.token is True or (self.token is None and not silent):
            asking = (found() or "" for found in (get_token,))
            secret = next(in_time(asking, constants.HF_HUB_ETAG_TIMEOUT))
        if self.token is True and not secret:
            raise ModelError(f"no token is stored: {LOGIN}.")
        if secret and not (secret.isascii() and secret.isprintable()):
            raise ModelError("the token has characters that no token has.")
        return secret

    def snapshot(self, file: RemoteFile) -> Path:
        """Return where the cache shows a file."""
        return self.folder / "snapshots" / file.commit / file.name

    def describe(self, name: str, revision: str, *, limit: int, patient: bool) -> RemoteFile:
        """Return what the Hub says of a file, asking again if `patient`.

        Raises
        ------
        ModelError
            If that cannot be: names that would lead out of the cache, a size above `limit`.
        TransferError
            If it says nothing.
        """
        head = persist(lambda: self._head(name, revision), WAITS if patient else ())
        headers, hub = head.headers, endpoint()
        etag = headers.get("X-Linked-Etag") or headers.get("ETag", "")
        commit, etag = headers.get("X-Repo-Commit", ""), etag.removeprefix("W/").strip('"')
        size = headers.get("X-Linked-Size") or (
            "" if head.target else headers.get("Content-Length", "")
        )
        for what, value, form in (("commit", commit, COMMIT), ("ETag", etag, ETAG)):
            if not form.fullmatch(value):
                raise ModelError(
                    f"{self.name}: {hub} gives {name} the {what} {shown(value)}, which is none; "
                    "nothing was downloaded. Check HF_ENDPOINT."
                )
        if COMMIT.fullmatch(revision) and commit != revision:
            raise ModelError(f"{self.name}: {hub} answers with commit {commit} for {revision}.")
        if not size and limit == JSON_LIMIT:
            return RemoteFile(name, commit, etag, limit, announced=False)
        if not (size.isascii() and size.isdecimal()) or int(size[:20]) > limit:
            raise ModelError(
                f"{self.name}: {name} takes {shown(size)} bytes by {hub}; {limit:,} are allowed."
            )
        return RemoteFile(name, commit, etag, int(size), announced=True)

    def fetch(self, file: RemoteFile, *, again: bool = False) -> Path:
        """Download a file, `again` if the cache has it, and return where the cache shows it.

        Raises
        ------
        ModelError
            If there is no room, or more comes than was announced.
        TransferError
            If it does not come whole.
        """
        blob = self.folder / "blobs" / file.etag
        if again or not blob.is_file():
            blob.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(blob.parent).free < file.size:
                raise ModelError(
                    f"{self.name}: {file.name} takes {file.size:,} bytes, more than is free in "
                    f"{self.cache}; make room, or choose another place with cache_dir= or HF_HOME."
                )
            part = blob.with_name(f"{file.etag}.{uuid.uuid4().hex}.incomplete")
            try:
                with part.open("xb+") as out:
                    self._receive(file, out)
                part.replace(blob)
            finally:
                part.unlink(missing_ok=True)
        return _link(blob, self.snapshot(file))

    def keep_revision(self, revision: str, commit: str) -> None:
        """Note which commit a branch or tag is, for when there is no network."""
        if revision != commit:
            path = self.folder / "refs" / revision
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(commit, "ascii")

    def read(self, path: str, limit: int) -> bytes:
        """Return an answer of the Hub's API, cut off at `limit` bytes.

        Raises
        ------
        TransferError
            If there is none.
        """
        data = b""
        _, pieces = self._ask("GET", f"{endpoint()}{path}")
        with closing(pieces):
            while len(data) < limit and (piece := next(pieces, b"")):
                data += piece
        return data[:limit]

    def _head(self, name: str, revision: str) -> Head:
        """Return the head of an answer that has what the Hub's have."""
        head, _ = self._ask("HEAD", _address(self.name, name, revision))
        for keys in (("X-Repo-Commit",), ("ETag", "X-Linked-Etag")):
            if not any(key in head.headers for key in keys):
                raise TransferError(f"the answer has no {keys[0]}, unlike a Hub's", passing=False)
        return head

    def _receive(self, file: RemoteFile, out: BufferedRandom) -> None:
        """Write a file's bytes, going on where a transfer broke off."""
        waits = list(WAITS)
        while True:
            begin = out.seek(0, os.SEEK_END)
            try:
                self._go_on(file, out, begin)
                return
            except TransferError as error:
                if out.tell() - begin >= LEAP:
                    waits = list(WAITS)
                if not waits or not error.passing:
                    raise
                time.sleep(max(waits.pop(0), error.wait))

    def _go_on(self, file: RemoteFile, out: BufferedRandom, begin: int) -> None:
        """Write what is missing from byte `begin` on, and compare the whole with its hash."""
        span = f"bytes={begin}-" if begin else ""
        head, pieces = self._ask("GET", _address(self.name, file.name, file.commit), span)
        if begin and not head.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            out.truncate(out.seek(0))
        with closing(pieces), _bar(file) as bar:
            for piece in pieces:
                if out.tell() + len(piece) > file.size:
                    raise ModelError(
                        f"{self.name}: {file.name} is longer than {file.size:,} bytes, which "
                        f"{f'{endpoint()} announced' if file.announced else 'are allowed'}."
                    )
                out.write(piece)
                bar.update(out.tell() - bar.n)
        if file.announced and out.tell() < file.size:
            raise TransferError(f"{file.name} ended after {out.tell():,} of {file.size:,} bytes")
        if SHA256.fullmatch(file.etag):
            out.seek(0)
            found = hashlib.file_digest(out, "sha256").hexdigest()
            if found != file.etag:
                out.truncate(out.seek(0))
                raise MismatchError(f"its SHA-256 is {found}, the Hub's {file.etag}")

    def _ask(self, method: str, url: str, span: str = "") -> tuple[Head, Pieces]:
        """Ask the Hub, in its client's time limits."""
        from huggingface_hub import __version__ as client
        from huggingface_hub import constants

        from musicssl import __version__

        headers = {
            "User-Agent": f"musicssl/{__version__}; hf_hub/{client}",
            "Accept-Encoding": "identity",  # lengths are those of files
        }
        if span:
            headers["Range"] = span
        etag, body = constants.HF_HUB_ETAG_TIMEOUT, constants.HF_HUB_DOWNLOAD_TIMEOUT
        seconds = etag if method == "HEAD" else body
        return ask(method, url, headers, token=self.secret, seconds=seconds)


def _bar(file: RemoteFile) -> Any:
    """Return a progress bar, for a long download that somebody looks at."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    bar: Any = tqdm  # the client's, which heeds HF_HUB_DISABLE_PROGRESS_BARS
    unseen = sys.stderr is None or not sys.stderr.isatty() or file.size < 10 * LEAP
    return bar(total=file.size, unit="B", unit_scale=True, desc=file.name, disable=unseen)


def endpoint() -> str:
    """Return the Hub's address."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _address(repo: str, name: str, revision: str) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repo, name, revision=revision)


def _link(blob: Path, snapshot: Path) -> Path:
    """Show a file in a snapshot, as the client does."""
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    link = snapshot.with_name(f".{uuid.uuid4().hex}")
    try:
        link.symlink_to(Path("..", "..", "blobs", blob.name))
    except OSError:  # Windows, without the permission to make links
        return blob.replace(snapshot)
    return link.replace(snapshot)
