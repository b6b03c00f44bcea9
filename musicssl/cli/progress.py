"""Progress of `musicssl-embed`, all of it on stderr."""

import contextlib
import logging
import math
import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

from musicssl.cli.terminal import one_line, printable, say
from musicssl.errors import MusicSSLError
from musicssl.folder.archives import is_archive
from musicssl.folder.listing import Listing
from musicssl.folder.summary import Summary

# A narrow terminal cuts off the end, so what is left to wait comes first.
BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} files, {remaining} left{postfix}"
_SHOWN_FAILURES = 5
_SHOWN_KINDS = 8
REDRAWN = 1.0  # seconds between two looks at a bar
SAID = 60.0  # between two lines, where there is no terminal
LONG = 10.0  # after which a file is named
_NAME = 40  # characters


class Progress(logging.Handler):
    """A bar on a terminal or a line a minute, lines for what went wrong, and a line at the end.

    Nothing that becomes of stderr raises here: the work goes on.

    Parameters
    ----------
    listing
        What will be done; counted meanwhile, for the time that is left.
    quiet, verbose
        Errors only; a line for each file.
    """

    def __init__(self, listing: Listing, *, quiet: bool, verbose: bool) -> None:
        super().__init__(logging.ERROR if quiet else logging.WARNING)
        self.listing, self.quiet, self.verbose = listing, quiet, verbose
        self.stream = sys.stderr
        self.bar: tqdm[Any] | None = None
        self.total: int | None = None
        self.done = self.failed = self.skipped = 0
        self.listed = False  # are failures on the manifest?
        self.audio_seconds = 0.0
        self.started = time.perf_counter()
        self.under_way: dict[str, float] = {}  # paths, and when they began
        self.over = threading.Event()

    def __enter__(self) -> Self:
        self.stream = sys.stderr
        with contextlib.suppress(OSError, ValueError):
            if self.stream is None or self.quiet:
                return self
            if self.stream.isatty():
                self.bar = tqdm(
                    bar_format=BAR,
                    dynamic_ncols=True,
                    smoothing=0.05,
                    leave=False,
                    position=0,  # whatever bars there were on a terminal that is gone
                    file=self.stream,
                )
            watch = self._watch_bar if self.bar is not None else self._watch
            threading.Thread(target=watch, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self._close_bar()

    def _close_bar(self) -> None:
        """Take the bar away, also where it can no longer be drawn."""
        bar, self.bar = self.bar, None
        with contextlib.suppress(OSError, ValueError):
            if bar is not None:
                bar.close()

    def _count(self) -> None:
        with contextlib.suppress(OSError, MusicSSLError):
            total = 0
            for item in self.listing:
                if is_archive(item):
                    return  # what is in it shows when it is read
                total += 1
            self.total = total

    def _watch_bar(self) -> None:
        """Keep the bar moving while nothing comes to its end."""
        self._count()
        while not self.over.wait(REDRAWN):
            self.draw()

    def _watch(self) -> None:
        """Say now and then how far the work is."""
        if self.over.wait(SAID):
            return
        self._count()
        self.say_how_far()
        while not self.over.wait(SAID):
            self.say_how_far()

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        try:
            if self.bar is not None:
                tqdm.write(text, file=self.stream)
                return
        except (OSError, ValueError):  # the terminal is gone
            self._close_bar()
        say(text, self.stream)

    def emit(self, record: logging.LogRecord) -> None:
        """Show what the package logs."""
        message = one_line(record.getMessage())
        self.line(f"musicssl-embed: {record.levelname.lower()}: {message}")

    def warn(self, message: Warning | str, *_: Any, file: TextIO | None = None, **__: Any) -> None:
        """Show a warning, in place of `warnings.showwarning`."""
        if not self.quiet:
            self.line(f"musicssl-embed: warning: {one_line(str(message))}")

    def add(self, record: dict[str, Any]) -> None:
        """Take one file's manifest entry."""
        status, name = record["status"], printable(record["source"])
        if status in ("skipped", "moved", "passed over"):
            self.skipped += 1
            if self.verbose and status == "moved":
                self.line(f"{name}: was {printable(record['before'])}")
        elif status == "failed":
            self.failed += 1
            self.listed |= record.get("listed", True)
            self.line(f"musicssl-embed: failed: {name}: {one_line(record['error'])}")
        else:
            self.done += 1
            self.audio_seconds += record["duration"]
            if self.verbose:
                seconds, took = record["duration"], record["seconds"]
                self.line(f"{name}: {seconds:.1f} s in {took:.2f} s")
        self.under_way.pop(record.get("path", ""), None)
        self.draw(1 if status in ("ok", "failed") else 0)

    def begin(self, path: str) -> None:
        """Note that a file's reading begins."""
        self.under_way[path] = time.perf_counter()

    def draw(self, moved: int = 0) -> None:
        """Draw the bar, if there is one, `moved` files further."""
        if (bar := self.bar) is None:
            return
        try:
            bar.total = self._of(int(bar.n))
            text = ", ".join(self.facts())
            bar.set_postfix_str(text, refresh=False)
            if moved:
                bar.update(moved)
            else:
                bar.refresh()
        except (OSError, ValueError):  # the terminal is gone
            self._close_bar()

    def say_how_far(self) -> None:
        """Write a line that says how far the work is."""
        finished, took = self.done + self.failed, time.perf_counter() - self.started
        parts = [f"{finished:,} files"]
        if (total := self._of(finished)) is not None:
            parts = [f"{finished:,} of {total:,} files"]
            parts += [f"{clock(took / finished * (total - finished))} left"] if finished else []
        self.line(f"musicssl-embed: {', '.join([*parts, *self.facts()])}")

    def facts(self) -> list[str]:
        """Return what is known beside the number of files."""
        took = max(time.perf_counter() - self.started, 1e-9)
        facts = [f"in {name}"] if (name := self.long_file()) else []
        if self.done:
            facts += [f"{(self.done + self.failed) / took:.1f} files/s"]
            facts += [f"{clock(self.audio_seconds)} of audio"]
            facts += [f"{self.audio_seconds / took:.0f} x real time"]
        if self.failed:
            facts += [f"{self.failed} failed"]
        return facts

    def long_file(self) -> str:
        """Return the name of the file that has taken longest, if that is long, or else nothing."""
        under_way = list(self.under_way.items())  # threads add to it
        path, began = min(under_way, key=lambda entry: entry[1], default=("", math.inf))
        if time.perf_counter() - began < LONG:
            return ""
        name = printable(os.path.basename(path))  # noqa: PTH119 - of any characters
        return name if len(name) <= _NAME else f"{name[: _NAME - 4]} ..."

    def _of(self, least: int) -> int | None:
        """Return how many files there are to do, if that is known."""
        return None if self.total is None else max(self.total - self.skipped, least)

    def plan(self, summary: Summary) -> None:
        """Say what there is to do."""
        counts = [f"{summary.done} to embed", f"{summary.skipped} there already"]
        counts += [f"{summary.moved} moved"] if summary.moved else []
        counts += [f"{summary.pruned} to prune"] if summary.pruned else []
        counts += [f"{summary.failed} would fail"] if summary.failed else []
        self.line(", ".join(counts))
        if passed := passed_over(summary):
            self.line(passed)

    def end(self, summary: Summary) -> None:
        """Say what was done."""
        if self.quiet:
            return
        counts = [f"{summary.done} embedded"]
        for number, what in (
            (summary.skipped, "there already"),
            (summary.moved, "moved"),
            (summary.pruned, "pruned"),
            (summary.failed, "failed"),
        ):
            counts += [f"{number} {what}"] if number else []
        word = "interrupted: " if summary.interrupted else ""
        speed = (
            f"{clock(summary.audio_seconds)} of audio in {clock(summary.wall_seconds)}, "
            f"{summary.times_real_time:.0f} x real time; "
        )
        out = printable(str(summary.out))
        self.line(
            f"{word}{', '.join(counts)}; {speed if summary.done else ''}"
            f"results are in {out} ({printable(summary.space)})"
        )
        if passed := passed_over(summary):
            self.line(passed)
        if summary.failed:
            names = ", ".join(printable(name) for name, _ in summary.failures[:_SHOWN_FAILURES])
            more = " and more" if summary.failed > _SHOWN_FAILURES else ""
            where = summary.out
            if isinstance(where, Path) and summary.format != "dataset":
                where /= "manifest.jsonl"
            manifest = printable(str(where))
            self.line(f"failed: {names}{more}" + (f"; see {manifest}" if self.listed else ""))
        if summary.interrupted:
            self.line("run the same command again to go on")


def passed_over(summary: Summary) -> str:
    """Return, in a line, what of folders was not taken; empty if that is nothing."""
    kinds = summary.to_dict()["passed_over"]
    if not (total := sum(kinds.values())):
        return ""
    shown = [f"{count} {printable(kind)}" for kind, count in list(kinds.items())[:_SHOWN_KINDS]]
    rest = total - sum(list(kinds.values())[:_SHOWN_KINDS])
    shown += [f"{rest} others"] if rest else []
    return f"passed over {total} file{'s' if total > 1 else ''}: {', '.join(shown)}"


def clock(seconds: float) -> str:
    """Return a time as a reader would say it.

    Examples
    --------
    >>> clock(7.26), clock(4000)
    ('7.3 s', '1:06:40')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
