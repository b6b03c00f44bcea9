"""Whose commit a run records: its own code's, or none."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from musicssl_training.provenance import git_commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *command: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *who, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Somebody's repository, with one commit."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "thesis.txt").write_text("theirs")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "theirs")
    return folder


def test_a_package_installed_inside_a_repository_has_no_commit(repository: Path) -> None:
    source = repository / ".venv" / "site-packages" / "package" / "run.py"
    source.parent.mkdir(parents=True)
    source.write_text("")
    assert git_commit(source) is None
    git(repository, "add", "-f", str(source))
    assert git_commit(source) is None  # about to be committed, but in no commit yet
    git(repository, "commit", "-q", "-m", "with its source")
    assert git_commit(source) == git(repository, "rev-parse", "HEAD")


def test_a_package_outside_of_any_commit_has_none(tmp_path: Path) -> None:
    source = tmp_path / "run.py"
    source.write_text("")
    git(tmp_path, "init", "-q")
    assert git_commit(source) is None


def test_the_repository_of_a_hook_is_not_asked(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(repository))
    (tmp_path / "thesis.txt").write_text("of the same name, but not theirs")
    assert git_commit(tmp_path / "thesis.txt") is None
    assert git_commit(repository / "thesis.txt") is not None
