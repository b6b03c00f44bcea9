"""Debian packages, from a folder or by apt; they are read, never installed."""

import hashlib
import logging
import shutil
import subprocess
from pathlib import Path

from musicssl_training.corpus.errors import ArchiveError, UnavailableError
from musicssl_training.corpus.members import deb_facts
from musicssl_training.corpus.recipe import DebianSource

log = logging.getLogger(__name__)
MAX_WAIT = 3600  # seconds for one package


def find_deb(spec: DebianSource, folder: Path | None) -> Path | None:
    """Return the package's file in a folder, under any of the names that it goes by."""
    if folder is None:
        return None
    versions = {spec.version, spec.version.replace(":", "%3a"), spec.version.partition(":")[2]}
    names = [f"{spec.package}_{version}_" for version in versions if version]
    found = [f for f in sorted(folder.glob("*.deb")) if f.name.startswith(tuple(names))]
    return found[0] if found else None


def download_deb(spec: DebianSource, into: Path) -> Path:
    """Download the package into an empty folder.

    Raises
    ------
    UnavailableError
        If apt is not here, does not know this version, or does not get it.
    """
    apt = shutil.which("apt-get")
    if apt is None:
        raise UnavailableError(
            "apt-get is not on this machine; download it on one that has it, and say --debs."
        )
    wanted = f"{spec.package}={spec.version}"
    into.mkdir(parents=True)
    try:
        done = subprocess.run(
            [apt, "-q", "download", wanted],
            cwd=into,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=MAX_WAIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"apt-get download {wanted} took more than an hour.") from error
    found = list(into.glob("*.deb"))
    if done.returncode or len(found) != 1:
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise UnavailableError(
            f"apt-get download {wanted}: {' '.join(said) or 'nothing came'} "
            "(apt-get update; a release that has this version?)"
        )
    return found[0]


def known_to_apt(spec: DebianSource) -> bool:
    """Tell whether apt knows the package in this version; nothing is downloaded."""
    cache = shutil.which("apt-cache")
    if cache is None:
        return False
    command = [cache, "show", f"{spec.package}={spec.version}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


def check_deb(spec: DebianSource, file: Path) -> None:
    """Make sure that a file is the package that the recipe means.

    Raises
    ------
    ArchiveError
        If its SHA-256 differs; the message says what it is.
    """
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    if digest != spec.sha256:
        facts = deb_facts(file)
        raise ArchiveError(
            f"{file.name} (of {facts.get('Package')}, version {facts.get('Version')}) has SHA-256 "
            f"{digest}, the recipe says {spec.sha256}: damaged, or another build."
        )
