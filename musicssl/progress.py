"""What `musicssl-embed` says while it works, all of it on stderr."""

import logging
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

from musicssl.folder.listing import Listing
from musicssl.folder.summary import Summary

BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} files{postfix}, {remaining} left"
_SHOWN_FAILURES = 5


class Progress(logging.Handler):
    """A bar where there is a terminal, lines for what went wrong, and a line at the end.

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
        self.bar: tqdm[Any] | None = None
        self.total: int | None = None
        self.done = self.failed = self.skipped = 0
        self.audio_seconds = 0.0
        self.started = time.perf_counter()

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self.quiet:
            self.bar = tqdm(
                bar_format=BAR, dynamic_ncols=True, smoothing=0.05, leave=False, file=sys.stderr
            )
            threading.Thread(target=self._count, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _count(self) -> None:
        self.total = sum(1 for _ in self.listing)

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        if self.bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            tqdm.write(text, file=sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Show what the package logs."""
        self.line(f"musicssl-embed: {record.levelname.lower()}: {record.getMessage()}")

    def warn(self, message: Warning | str, *_: Any, file: TextIO | None = None, **__: Any) -> None:
        """Show a warning, in place of `warnings.showwarning`."""
        if not self.quiet:
            self.line(f"musicssl-embed: warning: {message}")

    def add(self, record: dict[str, Any]) -> None:
        """Take one file's manifest entry."""
        if record["status"] == "skipped":
            self.skipped += 1
        elif record["status"] == "failed":
            self.failed += 1
            self.line(f"musicssl-embed: failed: {record['source']}: {record['error']}")
        else:
            self.done += 1
            self.audio_seconds += record["duration"]
            if self.verbose:
                seconds, took = record["duration"], record["seconds"]
                self.line(f"{record['source']}: {seconds:.1f} s in {took:.2f} s")
        if self.bar is not None:
            self._draw(self.bar, moved=record["status"] != "skipped")

    def _draw(self, bar: "tqdm[Any]", *, moved: bool) -> None:
        took = max(time.perf_counter() - self.started, 1e-9)
        hours, speed = self.audio_seconds / 3600, self.audio_seconds / took
        rate = (self.done + self.failed) / took
        bar.total = None if self.total is None else max(self.total - self.skipped, bar.n)
        text = f"{rate:.1f} files/s, {hours:.2f} h of audio, {speed:.0f} x real time"
        failed = f", {self.failed} failed" if self.failed else ""
        bar.set_postfix_str(text + failed, refresh=False)
        bar.update(1 if moved else 0)

    def end(self, summary: Summary) -> None:
        """Say what was done."""
        if self.quiet:
            return
        counts = [f"{summary.done} embedded"]
        if summary.skipped:
            counts.append(f"{summary.skipped} there already")
        if summary.failed:
            counts.append(f"{summary.failed} failed")
        word = "interrupted: " if summary.interrupted else ""
        self.line(
            f"{word}{', '.join(counts)}; {summary.audio_seconds / 3600:.2f} h of audio in "
            f"{clock(summary.wall_seconds)}, {summary.times_real_time:.0f} x real time; "
            f"results are in {summary.out} ({summary.space})"
        )
        if summary.failed:
            names = ", ".join(source for source, _ in summary.failures[:_SHOWN_FAILURES])
            more = " and more" if summary.failed > _SHOWN_FAILURES else ""
            self.line(f"failed: {names}{more}; see {summary.out / 'manifest.jsonl'}")
        if summary.interrupted:
            self.line("run the same command again to go on")


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
