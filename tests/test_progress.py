"""What `musicssl-embed` shows while it works, and what it completes and prints for a shell."""

import io
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folder_trees import noise
from test_terminal import Broken

import musicssl
from musicssl.cli import commands, options, progress
from musicssl.cli.completion import SHELLS, completion
from musicssl.cli.main import main
from musicssl.cli.progress import Progress
from musicssl.cli.terminal import loading
from musicssl.errors import ConfigError, DependencyError
from musicssl.folder.api import embed_folder
from musicssl.folder.dataset import FORMAT as DATASET
from musicssl.folder.formats import FORMATS
from musicssl.folder.listing import Item

ROOT = Path(musicssl.__file__).parent.parent
OK = {"status": "ok", "source": "a", "path": "/m/a", "duration": 90.0, "seconds": 1.0}


FOUND = [Item(name, Path(name)) for name in "abcd"]


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, to be set."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Progress]:
    """Return the display of four files, of which none is counted by itself."""

    def make(stream: Any, *, quiet: bool = False) -> Progress:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(progress, "REDRAWN", 1000.0)
        return Progress(FOUND, quiet=quiet, verbose=False)  # type: ignore[arg-type]

    return make


# Where there is no terminal


def test_a_log_gets_a_line_now_and_then(
    shown: Callable[..., Progress], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = threading.Event()
    line = Progress.say_how_far

    def say(self: Progress) -> None:
        line(self)
        said.set()

    monkeypatch.setattr(Progress, "say_how_far", say)
    monkeypatch.setattr(progress, "SAID", 0.01)
    log = io.StringIO()
    with shown(log) as display:
        clock[0] += 10
        display.add(OK)
        display.add({"status": "skipped", "source": "b"})
        assert said.wait(30)
    first = log.getvalue().splitlines()[0]
    assert first == (
        "musicssl-embed: 1 of 3 files, 20.0 s left, 0.1 files/s, 1:30 of audio, 9 x real time"
    )
    assert "\r" not in log.getvalue()


def test_a_quiet_log_gets_none(
    shown: Callable[..., Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SAID", 0.0)
    before = threading.active_count()
    with shown(log := io.StringIO(), quiet=True):
        assert threading.active_count() == before
    assert log.getvalue() == ""


# Where there is one


def test_nothing_done_has_no_speed(shown: Callable[..., Progress], clock: list[float]) -> None:
    display = shown(io.StringIO())
    clock[0] += 5
    display.add({"status": "skipped", "source": "a"})
    assert display.facts() == []
    display.add({"status": "failed", "source": "b", "error": "is damaged"})
    assert display.facts() == ["1 failed"]
    display.add(OK)
    assert display.facts() == ["0.4 files/s", "1:30 of audio", "18 x real time", "1 failed"]


def test_a_file_that_takes_long_is_named(
    shown: Callable[..., Progress], clock: list[float]
) -> None:
    with shown(screen := Screen()) as display:
        display.begin("/m/first \x1b[2J of hours.flac")
        clock[0] += 2
        display.begin("/m/" + "n" * 200)
        display.draw()
        assert display.long_file() == ""
        clock[0] += 9
        display.draw()
        assert display.long_file() == r"first \x1b[2J of hours.flac"
        display.add(OK | {"path": "/m/first \x1b[2J of hours.flac"})
        clock[0] += 2
        assert display.long_file() == "n" * 36 + " ..."
        display.add({"status": "failed", "source": "n", "path": "/m/" + "n" * 200, "error": "bad"})
        assert display.long_file() == ""
    assert r"in first \x1b[2J of hours.flac" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()


def test_what_is_said_stands_above_the_bar(
    shown: Callable[..., Progress], clock: list[float]
) -> None:
    with shown(screen := Screen()) as display:
        display.emit(logging.LogRecord("m", logging.WARNING, "", 0, "left out", None, None))
    lines = re.split(r"[\r\n]", screen.getvalue())
    assert "musicssl-embed: warning: left out" in lines  # alone: the bar was taken away


def test_every_file_is_told_of_when_it_begins(tmp_path: Path, tiny_model_folder: Path) -> None:
    paths = [str(noise(tmp_path / "in" / f"{i}.wav", seed=i)) for i in range(3)]
    told: list[tuple[str, str]] = []
    for _ in range(2):
        embed_folder(
            tmp_path / "in",
            tmp_path / "out",
            model=tiny_model_folder,
            jobs=1,
            on_start=lambda path: told.append(("start", path)),
            on_file=lambda record: told.append((record["status"], record["path"])),
        )
    assert sorted(path for what, path in told if what == "start") == paths
    assert all(told.index(("start", path)) < told.index(("ok", path)) for path in paths)
    with pytest.raises(ConfigError, match="on_start must be callable, got 5"):
        embed_folder(tmp_path / "in", tmp_path / "out", on_start=5)  # type: ignore[arg-type]


def test_a_sign_of_life_is_taken_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    with loading("musicssl-embed"):
        assert screen.getvalue() == "musicssl-embed: loading ..."
    assert screen.getvalue().endswith("\r" + " " * len("musicssl-embed: loading ...") + "\r")
    for stream in (io.StringIO(), None, Broken(OSError(5, "gone"), terminal=True)):
        monkeypatch.setattr(sys, "stderr", stream)
        with loading("musicssl-embed"):
            pass
        assert not isinstance(stream, io.StringIO) or stream.getvalue() == ""


# Help


@pytest.mark.parametrize("command", [main, commands.main])
@pytest.mark.parametrize("option", ["--help", "--version"])
@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left on device"), 2), (BrokenPipeError(32, "x"), 0)]
)
def test_help_that_is_not_taken(
    command: Callable[[list[str]], int],
    option: str,
    error: OSError,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(error))
    with pytest.raises(SystemExit) as left:
        command([option])
    assert (left.value.code or 0) == code
    assert ("cannot write to stdout: No space left" in capsys.readouterr().err) == (code == 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_help_of_a_process_to_a_full_disk() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "musicssl.cli.main", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            cwd=ROOT,
        )
    assert done.returncode == 2
    assert done.stderr == (
        b"musicssl-embed: error: cannot write to stdout: No space left on device\n"
    )


# Completion


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["musicssl", "musicssl-embed"])
def test_completion_names_all_options(
    shell: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("shtab")
    command = {"musicssl": commands.main, "musicssl-embed": main}[name]
    with pytest.raises(SystemExit) as left:
        command(["--print-completion", shell])
    script = capsys.readouterr().out
    assert not left.value.code and name in script
    for word in {"musicssl": ["similar", "dups", "m3u"], "musicssl-embed": ["pooling", "meanstd"]}[
        name
    ]:
        assert word in script


def completed(script: str, line: str, folder: Path) -> list[str]:
    """Return what bash offers at the end of a line, in a folder."""
    words = " ".join(f"'{word}'" for word in line.split(" "))
    function = re.search(r"complete .*-F (\w+)", script)
    assert function
    ask = f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); {function[1]}"
    done = subprocess.run(
        ["bash", "-c", f'{script}\n{ask}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return sorted(done.stdout.split())


@pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="needs bash")
def test_bash_completes(tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    (tmp_path / "song.flac").touch()
    (tmp_path / "songs").mkdir()
    script = completion(options.build_parser(), "bash")
    assert completed(script, "musicssl-embed --form", tmp_path) == ["--format"]
    assert completed(script, "musicssl-embed --format ", tmp_path) == sorted([*FORMATS, DATASET])
    assert completed(script, "musicssl-embed so", tmp_path) == ["song.flac", "songs"]
    for option in ("-o", "--model", "--cache-dir"):
        assert completed(script, f"musicssl-embed {option} so", tmp_path) == ["songs"], option
    for option in ("--segments", "--metadata", "--files-from"):
        both = ["song.flac", "songs"]
        assert completed(script, f"musicssl-embed {option} so", tmp_path) == both, option
    script = completion(commands.build_parser(), "bash")
    assert completed(script, "musicssl sim", tmp_path) == ["similar"]
    assert completed(script, "musicssl map --method t", tmp_path) == ["tsne"]


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
def test_fish_completes(tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    (tmp_path / "song.flac").touch()
    (tmp_path / "songs").mkdir()

    def offered(line: str) -> list[str]:
        ask = f"source -; complete -C '{line}' < /dev/null"
        done = subprocess.run(
            ["fish", "--no-config", "-c", ask],
            **{"input": script, "capture_output": True, "text": True, "check": True},
            **{"cwd": tmp_path, "env": os.environ | {"HOME": str(tmp_path)}},
        )
        return [found.partition("\t")[0] for found in done.stdout.splitlines()]

    script = completion(options.build_parser(), "fish")
    assert offered("musicssl-embed --form") == ["--format"]
    assert offered("musicssl-embed --format pa") == ["parquet"]
    assert offered("musicssl-embed --segments so") == ["song.flac", "songs/"]
    assert offered("musicssl-embed -o so") == ["songs/"]
    script = completion(commands.build_parser(), "fish")
    assert offered("musicssl sim") == ["similar"]
    assert offered("musicssl map --method t") == ["tsne"]


def test_completion_needs_shtab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="shell 'basch' is unknown; choose from bash"):
        completion(options.build_parser(), "basch")
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(DependencyError, match=r"pip install 'musicssl\[completion\]'"):
        completion(options.build_parser(), "bash")
    with pytest.raises(SystemExit) as left:
        main(["--print-completion", "bash"])
    assert left.value.code == 2 and "needs shtab" in capsys.readouterr().err
