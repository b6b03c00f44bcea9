"""Patterns of paths, and names from archives that are safe to write."""

import re
from collections.abc import Callable, Iterable

from musicssl.errors import ConfigError, shown

INSIDE = "!/"  # between an archive and a path inside of it, as in Java
MAX_ALTERNATIVES = 1000  # of one pattern


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a path matches one of the patterns.

    ``*`` and ``?`` match within a name, ``**/`` any folders or none, ``**`` anything, and
    ``{a,b}`` either; all else, brackets too, stands for itself.

    Examples
    --------
    >>> wanted = matcher(["music/**/*.{ogg,mp3}"])
    >>> wanted("music/a.ogg"), wanted("music/b/c/d.mp3"), wanted("sounds/a.ogg")
    (True, True, False)
    """
    expressions = [_expression(one) for pattern in patterns for one in expand_braces(pattern)]
    compiled = re.compile("|".join(f"(?:{each})" for each in expressions) or r"(?!)", re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def expand_braces(pattern: str) -> list[str]:
    """Return a pattern's alternatives: ``a{b,c}`` gives ``ab`` and ``ac``.

    Raises
    ------
    ConfigError
        If there are more than `MAX_ALTERNATIVES`.
    """
    expanded: list[str] = []
    waiting = [pattern]
    while waiting:
        if len(expanded) + len(waiting) > MAX_ALTERNATIVES:
            raise ConfigError(
                f"the pattern {shown(pattern)} has more than {MAX_ALTERNATIVES:,} alternatives in "
                "braces; use * in place of some."
            )
        one = waiting.pop()
        found = re.search(r"\{([^{}]*,[^{}]*)\}", one)
        if found is None:
            expanded.append(one)
            continue
        before, after = one[: found.start()], one[found.end() :]
        waiting += [before + choice + after for choice in reversed(found.group(1).split(","))]
    return expanded


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meanings = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(meanings.get(part, re.escape(part)) for part in parts)


def safe_path(name: str) -> str | None:
    """Return the name of an archive's member as a path that stays where it is put, or None.

    Absolute names, ``..``, backslashes, control characters and what is not Unicode are refused.
    """
    name = name.removeprefix("./")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in name or not name.isprintable():
        return None
    return name if not re.match(r"[A-Za-z]:", name) else None  # a drive, on Windows
