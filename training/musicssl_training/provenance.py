"""The code that a run was computed by: its commit and the versions of what it uses."""

import os
import platform
import subprocess
from pathlib import Path

import torch

from musicssl import __version__

ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {
        "musicssl": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def git_commit(source: Path = Path(__file__)) -> str | None:
    """Return the commit of the repository that holds `source`, a file of this package.

    None where no commit holds it: an environment inside somebody's repository is not that
    repository's code.
    """
    if not _git(source, "ls-tree", "--name-only", "HEAD", "--", source.name):
        return None
    return _git(source, "rev-parse", "HEAD")


def _git(source: Path, *command: str) -> str | None:
    """Return what git answers in the folder of `source`; None if nothing, or if it fails."""
    # a git hook that calls us would else lead git to the hook's own repository
    environment = {key: value for key, value in os.environ.items() if key not in ELSEWHERE}
    try:
        done = subprocess.run(
            ["git", *command],
            cwd=source.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
