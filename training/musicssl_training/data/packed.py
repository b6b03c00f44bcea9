"""What became of packing: what there is, and what was left out."""

from dataclasses import dataclass

from musicssl.errors import AudioError
from musicssl_training.data.decode import IncompleteError
from musicssl_training.data.recordings import Row


@dataclass(frozen=True)
class LeftOut:
    """A recording that is not in the pack."""

    path: str
    reason: str  # "unreadable" or "incomplete"
    seconds: float | None  # how long it should be; None: unknown


@dataclass(frozen=True)
class Packed:
    """Result of packing: what there is, and what was left out."""

    recordings: int  # in the pack
    seconds: float  # of these
    left_out: tuple[LeftOut, ...]

    def __str__(self) -> str:
        """Say in one line how much there is, and what is missing and why."""
        asked = self.seconds + sum(one.seconds or 0 for one in self.left_out)
        text = (
            f"{self.recordings} of {self.recordings + len(self.left_out)} recordings, "
            f"{self.seconds / 3600:.2f} of {asked / 3600:.2f} hours"
        )
        missing = []
        for reason in sorted({one.reason for one in self.left_out}):
            some = [one.seconds for one in self.left_out if one.reason == reason]
            known = sum(seconds for seconds in some if seconds is not None)
            parts = [f"{known / 3600:.2f} hours"] if known else []
            if unknown := some.count(None):
                parts.append(f"{unknown} of unknown length")
            missing.append(f"{len(some)} {reason} ({', '.join(parts)})")
        return f"{text}; left out: {', '.join(missing)}" if missing else text


def left_out(row: Row, error: AudioError) -> LeftOut:
    """Return why a recording is left out, and how long it should be."""
    seconds = row.get("seconds")
    if isinstance(error, IncompleteError):
        return LeftOut(row["path"], "incomplete", error.seconds if seconds is None else seconds)
    return LeftOut(row["path"], "unreadable", seconds)
