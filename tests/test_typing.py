"""A user's script under strict type checkers."""

import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import get_type_hints

import pytest

import musicssl
from musicssl.inference.keywords import EmbedKeywords
from musicssl.inference.options import EmbedOptions
from musicssl.inference.running import RunOptions

SCRIPTS = Path(__file__).parent / "typing"


CHECKERS = {
    "mypy": ["--strict", "--config-file="],
    "basedpyright": ["--level", "error", "--pythonpath", sys.executable],
}


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_users_script_needs_no_cast(checker: str, script: Path, tmp_path: Path) -> None:
    if find_spec(checker) is None:
        pytest.skip(f"needs {checker}")
    options = [*CHECKERS[checker], *([f"--cache-dir={tmp_path}"] if checker == "mypy" else [])]
    command = [sys.executable, "-m", checker, *options, str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_options_are_the_same_everywhere() -> None:
    options = {field.name: field.default for field in fields(EmbedOptions)}
    run = {field.name: field.default for field in fields(RunOptions)}
    typed_apart = {"level", "pooling", "window", "hop", "batch_seconds", "on_error"}
    other_names = {"sampling_rate"}
    typed = get_type_hints(EmbedKeywords).keys() - other_names
    assert typed | typed_apart == options.keys() | run.keys()
    for function in (musicssl.get_embedding, musicssl.MusicEncoder.embed):
        parameters = signature(function).parameters
        assert {name: parameters[name].default for name in run} == run
    for function in (musicssl.get_embedding, musicssl.MusicEncoder.embed, musicssl.embed_folder):
        parameters = signature(function).parameters
        shared = options.keys() & parameters.keys()
        assert {name: parameters[name].default for name in shared} == {
            name: options[name] for name in shared
        }
    assert signature(musicssl.MusicEncoder.embed).parameters.keys() >= options.keys()
