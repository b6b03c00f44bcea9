"""Summary of a run."""

from bisect import insort
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicssl.folder.keys import order

KEPT_FAILURES = 20


@dataclass(kw_only=True)
class Summary:
    """Counts and failures of a run of `embed_folder`."""

    out: Path | str  # a string where it is a URL
    space: str = ""
    format: str = "npz"
    done: int = 0  # files embedded, or for a dry run, to be embedded
    skipped: int = 0  # files embedded by an earlier run
    failed: int = 0
    moved: int = 0  # files whose result was there under the name they had before
    pruned: int = 0  # results removed because their sources are gone
    passed_over: Counter[str] = field(default_factory=Counter)  # in folders, by kind
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0
    interrupted: bool = False
    failures: list[tuple[str, str]] = field(
        default_factory=list
    )  # by name, the first: source, error

    def count(self, record: dict[str, Any]) -> None:
        """Take note of what was done with a file, as the records of `embed_folder` say it."""
        status = record["status"]
        if status == "skipped":
            self.skipped += 1
        elif status == "moved":
            self.moved += 1
        elif status == "passed over":
            self.passed_over[record["reason"]] += 1
        elif status == "failed":
            self.failed += 1
            failure = record["source"], record["error"]
            # by name: which of them comes first depends on the threads
            insort(self.failures, failure, key=lambda one: order(one[0]))
            del self.failures[KEPT_FAILURES:]
        else:
            self.done += 1
            self.audio_seconds += record.get("duration", 0.0)

    @property
    def found(self) -> int:
        """Number of files that were looked at."""
        return self.done + self.skipped + self.failed + self.moved

    @property
    def times_real_time(self) -> float:
        """Seconds of audio a second."""
        return self.audio_seconds / self.wall_seconds if self.wall_seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        extra = {"found": self.found, "times_real_time": round(self.times_real_time, 2)}
        named = [{"source": source, "error": error} for source, error in self.failures]
        passed = dict(sorted(self.passed_over.items(), key=lambda kind: (-kind[1], kind[0])))
        values = {name: value for name, value in vars(self).items() if name != "passed_over"}
        return values | extra | {"out": str(self.out), "failures": named, "passed_over": passed}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after everything was put in order; `summary` says how far the run came."""

    def __init__(self, summary: Summary) -> None:
        super().__init__()
        self.summary = summary
