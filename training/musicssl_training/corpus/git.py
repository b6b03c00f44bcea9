"""Git repositories, from a mirror or by a shallow fetch of one commit.

Objects are read from an empty repository of our own that borrows them: settings and hooks of the
repository they come from are never read. Nothing is checked out.
"""

import contextlib
import io
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from musicssl_training.corpus.errors import ArchiveError, UnavailableError
from musicssl_training.corpus.extraction import MAX_FILE, MAX_SOURCE, Wanted
from musicssl_training.corpus.members import Member, Members, Refused
from musicssl_training.corpus.patterns import safe_path
from musicssl_training.corpus.recipe import HASHES, GitSource
from musicssl_training.provenance import ELSEWHERE

log = logging.getLogger(__name__)
MAX_WAIT = 3600  # seconds for one repository
OBJECTS = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES")
REGULAR = ("100644", "100755")  # modes of files; others are links and repositories in it


@dataclass(frozen=True)
class Objects:
    """A repository of our own, whose objects may be borrowed."""

    repository: Path

    def run(self, *command: str, data: bytes = b"") -> bytes:
        """Return what a git command answers.

        Raises
        ------
        ArchiveError
            If it fails.
        """
        done = subprocess.run(
            self.command(*command),
            input=data,
            env=self.environment,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise ArchiveError(f"git {command[0]}: {said[-1] if said else 'failed'}")
        return done.stdout

    def command(self, *command: str) -> list[str]:
        """Return the command line; nothing of the user's settings can run a program by it."""
        return [
            "git",
            f"--git-dir={self.repository}",
            "-c",
            f"core.hooksPath={os.devnull}",
            *command,
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which git runs."""
        kept = {key: value for key, value in os.environ.items() if key not in ELSEWHERE + OBJECTS}
        return kept | {
            "GIT_ALLOW_PROTOCOL": "https",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }


def find_mirror(spec: GitSource, mirror: Path | None) -> Path | None:
    """Return the git directory of a repository below a mirror: see `docs/corpus.md`."""
    if mirror is None:
        return None
    owner_name = spec.repository.removesuffix(".git").removeprefix("https://github.com/")
    flat = owner_name.removeprefix("https://").replace("/", "+")
    for place in (mirror / flat, mirror / owner_name.removeprefix("https://")):
        for folder in (place, place.with_name(f"{place.name}.git"), place / ".git", place / "repo"):
            if (folder / "objects").is_dir() and (folder / "HEAD").is_file():
                return folder
    return None


def open_objects(spec: GitSource, mirror: Path | None, into: Path) -> Objects:
    """Make the objects of the commit readable, from the mirror's or by fetching them.

    Raises
    ------
    UnavailableError
        If git is not here, the mirror does not hold the commit, or it cannot be fetched.
    """
    if shutil.which("git") is None:
        raise UnavailableError("git is not on this machine.")
    found = Objects(into)
    form = f"--object-format={HASHES[len(spec.commit)]}"
    command = ["git", "init", "--quiet", "--bare", "--template=", form, str(into)]
    subprocess.run(command, env=found.environment, check=True, capture_output=True)
    if mirror is None:
        _fetch(spec, found)
        return found
    alternates = into / "objects" / "info" / "alternates"
    alternates.parent.mkdir(exist_ok=True)
    alternates.write_text(f"{(mirror / 'objects').resolve()}\n", encoding="utf-8")
    if not has_commit(found, spec.commit):
        raise UnavailableError(f"{mirror} does not hold the commit {spec.commit}.")
    return found


def has_commit(objects: Objects, commit: str) -> bool:
    """Tell whether a commit is there."""
    try:
        return objects.run("cat-file", "-t", commit).strip() == b"commit"
    except ArchiveError:
        return False


def _fetch(spec: GitSource, objects: Objects) -> None:
    """Fetch one commit without its history, watching time and size."""
    settings = ["-c", "fetch.fsckObjects=true", "-c", "http.lowSpeedLimit=1000"]
    settings += ["-c", "http.lowSpeedTime=60", "-c", "gc.auto=0", "-c", "credential.helper="]
    command = objects.command(*settings, "fetch", "--quiet", "--depth=1", "--no-tags")
    command += ["--no-recurse-submodules", "--no-write-fetch-head", spec.url, spec.commit]
    process = subprocess.Popen(
        command,
        env=objects.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    began, reason = time.monotonic(), ""
    try:
        while process.poll() is None and not reason:
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                if folder_size(objects.repository) > MAX_SOURCE:
                    reason = f"it has more than {MAX_SOURCE:,} bytes"
                elif time.monotonic() - began > MAX_WAIT:
                    reason = "it took more than an hour"
    finally:
        if process.poll() is None:
            process.kill()
        said = process.communicate()[1].decode("utf-8", "replace").strip().splitlines()
    if reason or process.returncode:
        fatal = [line for line in said if line.startswith("fatal:")] or said
        reason = reason or (fatal[0] if fatal else "git fetch failed")
        raise UnavailableError(f"{spec.url} at {spec.commit}: {reason}.")


def folder_size(folder: Path) -> int:
    """Return the bytes of the files in a folder, of which some may vanish meanwhile."""
    size = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += file.stat().st_size if file.is_file() else 0
    return size


def git_members(objects: Objects, commit: str, wanted: Wanted, missing: dict[str, str]) -> Members:
    """Yield the wanted files of a commit; of those that the repository lacks, note why.

    Yields
    ------
    Member or Refused
        In the order of their paths.

    Raises
    ------
    ArchiveError
        If the repository is damaged or has been emptied.
    """
    blobs = []
    for line in objects.run("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]:
        facts, name = line.split(b"\t", 1)
        mode, _, identity = facts.decode().split()
        text = name.decode("utf-8", "surrogateescape")
        path = safe_path(text)
        if path is None:
            yield Refused(text, "its name is not safe")
        elif wanted.any(path) and mode in REGULAR:
            blobs.append((identity, path))
        elif wanted.music(path) or wanted.evidence(path):
            yield Refused(path, "a link, or a repository of its own")  # or excluded, see `take`
    yield from _read_blobs(objects, _there(objects, blobs, missing))


def _there(
    objects: Objects, blobs: list[tuple[str, str]], missing: dict[str, str]
) -> list[tuple[str, str]]:
    """Return the blobs that can be read, and note which cannot."""
    asked = "".join(f"{identity}\n" for identity, _ in blobs).encode()
    answers = objects.run("cat-file", "--batch-check", data=asked).decode().splitlines()
    there = []
    for (identity, path), answer in zip(blobs, answers, strict=True):
        if not answer.split()[-1].isdigit():
            missing[path] = "the repository at hand lacks this file"
        elif int(answer.split()[-1]) > MAX_FILE:
            missing[path] = f"it has more than {MAX_FILE:,} bytes"
        else:
            there.append((identity, path))
    return there


def _read_blobs(objects: Objects, blobs: list[tuple[str, str]]) -> Iterator[Member]:
    """Yield files with their content, read one after the other from one process of git."""
    process = subprocess.Popen(
        objects.command("cat-file", "--batch"),
        env=objects.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        for identity, path in blobs:
            process.stdin.write(f"{identity}\n".encode())
            process.stdin.flush()
            answer = process.stdout.readline().split()
            if len(answer) != 3:
                raise ArchiveError(f"{path} cannot be read from the repository.")
            data = _read(process.stdout, int(answer[2]), path)
            yield Member(path, lambda data=data: io.BytesIO(data))  # type: ignore[misc]
    finally:
        process.kill()
        process.communicate()


def _read(stream: IO[bytes], size: int, path: str) -> bytes:
    data = stream.read(size)
    if len(data) < size or stream.read(1) != b"\n":
        raise ArchiveError(f"{path} ends before its time in the repository.")
    return data
