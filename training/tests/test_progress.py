"""Bars on terminals, lines in logs, and nothing printed into a bar."""

import io
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from weakref import WeakSet

import pytest
import torch
from tqdm import tqdm

from musicssl.errors import ConfigError
from musicssl_training import progress
from musicssl_training.cli import main as command
from musicssl_training.pairs import split_pair
from musicssl_training.progress import Lines, Progress, lines_of_warnings, track
from musicssl_training.train import PretrainConfig, loop, write_config


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, to be set."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[io.StringIO], io.StringIO]:
    """Make a stream stderr; a terminal is 60 columns wide, and no bar of another test is on it."""
    monkeypatch.setattr(tqdm, "_instances", WeakSet())
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda stream: (60, 25))

    def make(stream: io.StringIO) -> io.StringIO:
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return make


def frames(screen: io.StringIO) -> list[str]:
    return [text for text in re.split(r"[\r\n]", screen.getvalue()) if text.strip()]


def test_a_log_gets_a_line_a_minute(clock: list[float], on: Callable[..., io.StringIO]) -> None:
    log = on(io.StringIO())
    for _ in track(range(10), "files", "packing"):
        clock[0] += 25
    assert log.getvalue().splitlines() == [
        "packing: 3 of 10 files, 02:55 left",
        "packing: 6 of 10 files, 01:40 left",
        "packing: 9 of 10 files, 00:25 left",
        "packing: 10 of 10 files",
    ]


def test_what_is_soon_done_leaves_a_log_empty(
    clock: list[float], on: Callable[..., io.StringIO]
) -> None:
    log = on(io.StringIO())
    for _ in track(range(10), "files"):
        clock[0] += 1
    assert log.getvalue() == ""


def test_the_time_left_after_going_on_is_that_of_this_run(
    clock: list[float], on: Callable[..., io.StringIO]
) -> None:
    screen = on(Screen())
    with Progress(1000, "steps") as shown:
        clock[0] += 100  # loading
        shown.resume(900, "mean loss 1")
        for _ in range(20):
            clock[0] += 2
            shown.update(note="mean loss 0.123, 10.0 h of audio, 3450 x real time")
    last = frames(screen)[-1]
    assert "920/1000 steps, 02:40 left" in last and len(last) <= 60
    log = on(io.StringIO())
    with Progress(1000, "steps", "pretrain") as shown:
        clock[0] += 100
        shown.resume(900)
        for _ in range(31):
            clock[0] += 2
            shown.update(note="mean loss 0.5")
    assert log.getvalue().splitlines() == [
        "pretrain: 930 of 1,000 steps, 02:20 left, mean loss 0.5",
        "pretrain: 931 of 1,000 steps, 02:18 left, mean loss 0.5",
    ]


def test_logs_and_warnings_stand_above_the_bar(on: Callable[..., io.StringIO]) -> None:
    screen = on(Screen())
    log = logging.getLogger("musicssl_training.test")
    handler = Lines()
    log.addHandler(handler)
    try:
        with lines_of_warnings():
            for i in track(range(3), "files"):
                log.warning("left out: %d.mp3", i)
                warnings.warn("an odd\n  tuning", stacklevel=1)
    finally:
        log.removeHandler(handler)
    whole = screen.getvalue()
    for line in ("left out: 1.mp3", "warning: an odd tuning"):
        assert re.search(rf"\r {{20,}}\r{line}\n", whole), "the bar was not taken away before"
    assert not tqdm._instances  # type: ignore[attr-defined]


def test_a_process_among_others_shows_nothing(on: Callable[..., io.StringIO]) -> None:
    screen = on(Screen())
    with Progress(3, "steps", shown=False) as shown:
        shown.update()
    assert screen.getvalue() == ""


def test_pretraining_that_goes_on_shows_its_step(
    toy_config: PretrainConfig,
    tmp_path: Path,
    on: Callable[..., io.StringIO],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first step of this run, which loads and compiles, does not count for the time left."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(Progress, "resume", lambda self, done, note: told.append((done, 0)))

    def pretrain(config: PretrainConfig, folder: Path, *, show: object, stop: object) -> None:
        assert callable(show)
        from types import SimpleNamespace

        for step in (91, 92, 93):
            progress = SimpleNamespace(step=step, hours_heard=1.0, wall_seconds=36.0)
            result = SimpleNamespace(losses={"chroma": torch.tensor(0.5)})
            show(SimpleNamespace(progress=progress), result)

    monkeypatch.setattr(loop, "pretrain", pretrain)
    on(Screen())
    settings = tmp_path / "a.toml"
    settings.write_text(f"steps = 100\n{sources(toy_config)}")
    assert command.main(["pretrain", str(settings), str(tmp_path / "run")]) == 0
    assert told[0] == (91, 0)


def sources(config: PretrainConfig) -> str:
    data = write_config(config)["data"]
    return f"workers = ['chroma']\n[data]\nsources = {data['sources']}\nshares = [1.0]\n"


def test_a_terminal_shows_a_sign_of_life(
    on: Callable[..., io.StringIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is done, and so before anything heavy is loaded."""
    seen: list[str] = []
    screen = on(Screen())
    what, add, _ = command.COMMANDS["plot"]
    entry = (what, add, lambda args: seen.append(screen.getvalue()))
    monkeypatch.setitem(command.COMMANDS, "plot", entry)
    assert command.main(["plot", str(tmp_path)]) == 0
    assert seen == ["musicssl-train plot: starting\n"]
    log = on(io.StringIO())
    assert command.main(["plot", str(tmp_path)]) == 0
    assert log.getvalue() == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as left:
        command.main(["--print-completion", shell])
    said = capsys.readouterr().out
    assert not left.value.code
    assert all(word in said for word in ("pretrain", "leave-out", "development"))


def test_pairs() -> None:
    assert split_pair("a=b=c", "--at", "NAME=FOLDER") == ("a", "b=c")
    assert split_pair("a=b=c", "--card", "MODEL=FILE", last=True) == ("a=b", "c")
    for text in ("", "a", "=", "a=", "=b"):
        with pytest.raises(ConfigError, match=f"--at '{text}' is not NAME=FOLDER"):
            split_pair(text, "--at", "NAME=FOLDER")


def test_every_bar_is_this_one() -> None:
    """One that is made elsewhere fills a log, and what is logged breaks it."""
    folder = Path(progress.__file__).parent
    found = [file.name for file in folder.rglob("*.py") if "tqdm" in file.read_text("utf-8")]
    assert found == ["progress.py"]
