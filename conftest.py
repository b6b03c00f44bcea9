"""Run what the README and the docs print: their code is part of the tests.

A document's blocks share one namespace and one temporary folder, also its home, which holds
`examples/`, two clips in `Music/`, and `song.flac`. Python runs as it stands, and a `text` block
under it is what it must have printed. Of shell commands `musicssl-embed` runs; `musicssl-train`,
whose commands take minutes to days, only has its arguments read; nothing is installed. Settings
(TOML) must be accepted by the training package. What cannot run here says why, in a comment above
it: ``<!--- skip: next "reason" -->``.
"""

import contextlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import SkipTest

# before numpy and torch are imported: for models this small, threads only cost
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import soundfile
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).parent
CONFIGS = ROOT / "training" / "configs"
collect_ignore = ["docs/conf.py", "docs/_build", "docs/api", "docs/more"]
ADDED = {  # to the tables of these modules, by the documents
    "musicssl_training.workers": ("WORKERS", "level"),
    "musicssl_training.weighting": ("WEIGHTINGS", "power"),
}
SHIMS = {
    "pip": "exit 0",
    "apt-get": "exit 0",
    "musicssl-train": f'exec "{sys.executable}" -c '
    "'from musicssl_training.cli.main import build_parser; build_parser().parse_args()' \"$@\"",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Return how many processes ``pytest -n auto`` is: each takes 1.5 GB, and 15 s to begin."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # xdist reads it
    usable = getattr(os, "sched_getaffinity", None)
    return min(8, len(usable(0)) if usable else os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process of ``pytest -n`` whole files: blocks of a document share a namespace.

    In the order in which they are collected, which puts the long ones of few tests before the end.
    """
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


class PrintingParser(PythonCodeBlockParser):
    """Python blocks, of which it is kept what they print."""

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in super().__call__(document):
            region.evaluator = _printing(region.evaluator)
            yield region


def _printing(evaluate: Callable[[Example], str | None]) -> Callable[[Example], str | None]:
    def run(example: Example) -> str | None:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            problem = evaluate(example)
        example.namespace["printed"] = printed.getvalue()
        return problem

    return run


def check_printed(example: Example) -> None:
    """Compare a block of text with what the code before it printed.

    Raises
    ------
    SkipTest
        If that code was skipped.
    """
    if "printed" not in example.namespace:
        raise SkipTest("the code before it did not run")
    assert example.namespace.pop("printed") == example.parsed


def run_shell(example: Example) -> None:
    """Run commands in the document's folder, with the commands of this environment.

    Raises
    ------
    SkipTest
        On Windows, whose shell is another.
    """
    if sys.platform == "win32":
        raise SkipTest("needs a POSIX shell")
    folder = Path.cwd()
    path = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {
        "PATH": os.pathsep.join(path),
        "HOME": str(folder),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", str(example.parsed)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    example.namespace["printed"] = done.stdout


def check_settings(example: Example) -> None:
    """Read a block of TOML as settings of a run or, as it says, of a release, a study or a corpus.

    Raises
    ------
    SkipTest
        If the training package, which reads them, is not there.
    """
    if not (installed("musicssl_training") and CONFIGS.is_dir()):
        raise SkipTest("musicssl-training is not there")
    from musicssl.config import from_dict
    from musicssl_training.corpus import read_recipe
    from musicssl_training.midi.instruments import parse_instruments
    from musicssl_training.release.export import ReleaseConfig
    from musicssl_training.study.config import read_study
    from musicssl_training.train.config import read_config

    values = tomllib.loads(example.parsed)
    if example.parsed.startswith("# about.toml"):
        from_dict(ReleaseConfig, values, "about")
    elif example.parsed.startswith("# study.toml"):
        Path("study.toml").write_text(example.parsed, encoding="utf-8")
        read_study(Path("study.toml"))
    elif example.parsed.startswith("# recipe.toml"):
        Path("recipe.toml").write_text(example.parsed, encoding="utf-8")
        read_recipe(Path("recipe.toml"))
    elif example.parsed.startswith("# instruments.toml"):
        parse_instruments(values)
    else:
        whole = tomllib.loads((CONFIGS / "own-music.toml").read_text(encoding="utf-8"))
        named = {"weighting", "encoder"}  # one with another name has other keys
        for key, value in values.items():
            merge = isinstance(value, dict) and key not in named
            whole[key] = whole.get(key, {}) | value if merge else value
        read_config(whole)


def set_up(namespace: dict[str, Any]) -> None:
    """Lay out a document's folder, and go there."""
    home = Path(tempfile.mkdtemp(prefix="musicssl-docs-"))
    shutil.copytree(ROOT / "examples" / "music", home / "examples" / "music")
    (home / "Music").mkdir()
    for clip in sorted((home / "examples" / "music").glob("piano-*.ogg")):
        shutil.copy(clip, home / "Music")
    soundfile.write(home / "song.flac", np.zeros(44_100), 44_100)
    (home / "bin").mkdir()
    shims = SHIMS if installed("musicssl_training") else SHIMS | {"musicssl-train": "exit 0"}
    for name, line in shims.items():
        shim = home / "bin" / name
        shim.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        shim.chmod(0o755)
    namespace.update(before=Path.cwd(), home=home, installed=installed, exports=exports)
    os.chdir(home)


def tear_down(namespace: dict[str, Any]) -> None:
    """Leave a document's folder, and remove it."""
    for module, (table, name) in ADDED.items():
        if module in sys.modules:
            getattr(sys.modules[module], table).pop(name, None)
    os.chdir(namespace["before"])
    shutil.rmtree(namespace["home"], ignore_errors=True)


def installed(*modules: str) -> bool:
    """Tell whether all `modules` can be imported."""
    return all(importlib.util.find_spec(module) for module in modules)


def exports() -> bool:
    """Tell whether models can be exported to ONNX here."""
    release = tuple(int(part) for part in version("torch").split("+")[0].split(".")[:2])
    return installed("onnx", "onnxscript", "onnxruntime") and release >= (2, 7)


pytest_collect_file = Sybil(
    parsers=[
        PrintingParser(),
        CodeBlockParser("text", check_printed),
        CodeBlockParser("bash", run_shell),
        CodeBlockParser("toml", check_settings),
        SkipParser(),
    ],
    patterns=["*.md"],
    setup=set_up,
    teardown=tear_down,
).pytest()
