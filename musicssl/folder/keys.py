"""Names of results: their order, and their form where only Unicode will do."""

import re

# What in a name would pass for an escaped byte; its backslash is escaped.
_LIKE_ESCAPES = re.compile(r"\\((?:x5c)*x[89a-f][0-9a-f])")


def order(key: str) -> tuple[bytes, ...]:
    """Sort as trees are walked: folder by folder."""
    return tuple(part.encode("utf-8", "surrogateescape") for part in key.split("/"))


def unicode_key(key: str) -> str:
    """Escape what is no Unicode in a file's name, so that no two names become the same."""
    return unicode_text(_LIKE_ESCAPES.sub(r"\\x5c\1", key))


def unicode_text(text: str) -> str:
    """Escape what is no Unicode: neither parquet nor HDF5 can hold it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
