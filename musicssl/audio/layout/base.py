"""`Layout`: begin and end of a file's sound."""

from dataclasses import dataclass, field

UNHEARD = 4096  # bytes behind the samples that are worth a word


@dataclass(frozen=True)
class Layout:
    """Begin and end of a file's sound, and headers as they should be."""

    stop: int | None = None  # where another file begins that was joined to this one
    patches: dict[int, bytes] = field(default_factory=dict)  # lengths as they should be
    stated: float = 1.0  # part of the true length that the header states
    unheard: bool = False  # something follows that is neither music nor a tag
    mark: bytes = b""  # with which such a file begins, wherever that is
    after: int = 0  # where it can be, at the earliest
