"""`musicssl similar`: songs like a song."""

import argparse
import json
import os
import sys

from musicssl.cli.stdout import DONE, NOTHING, print_lines, to_stdout
from musicssl.cli.terminal import printable, say
from musicssl.errors import ConfigError
from musicssl.search import Index, Neighbor
from musicssl.search.files import ABOUT
from musicssl.source_names import is_url


def similar(args: argparse.Namespace) -> int:
    """Print the songs that are most like one."""
    if args.json and args.m3u:
        raise ConfigError("give --json or --m3u, not both.")
    open_index = Index.load if os.path.isfile(args.index / ABOUT) else Index.from_folder  # noqa: PTH113 - raises nothing
    index = open_index(args.index, model=args.model, device=args.device)
    found = index.search(args.song, k=args.k)
    if not found:
        say(f"musicssl similar: there is nothing else in {printable(str(args.index))}")
        return NOTHING
    if note := moved_note([neighbor.path for neighbor in found]):
        say(f"musicssl similar: {note}")
    if args.json:
        query = os.fsdecode(args.song)
        values = {"query": query, "space": index.space, "similar": [n._asdict() for n in found]}
        return print_lines([json.dumps(values, indent=2)])
    if args.m3u:
        return print_m3u(found)
    return print_lines([f"{n.score:6.3f}  {_told(n)}" for n in found])


def moved_note(paths: list[str]) -> str | None:
    """Say that files are no longer where they were embedded; URLs are not asked."""
    gone = [path for path in paths if not is_url(path) and not os.path.lexists(path)]
    if not gone:
        return None
    return (
        f"{len(gone)} of {len(paths)} files are no longer where they were embedded, such as "
        f"{printable(gone[0])}. Moved? musicssl-embed NEW-PLACE -o EMBEDDINGS notes where they are "
        "now, and embeds nothing twice."
    )


def _told(neighbor: Neighbor) -> str:
    """Return the path of a neighbor, and what it is called if that is no end of it, as of parts."""
    path, name = printable(neighbor.path), printable(neighbor.name)
    return path if path.endswith(name) else f"{path}  ({name})"


def print_m3u(found: list[Neighbor]) -> int:
    r"""Print a playlist: paths as the bytes that they are.

    A line's end would begin another entry, so a name with one cannot be in a playlist. One that
    begins with "#" would be a comment; paths are absolute. A file of which several parts are like
    the song is there once: only VLC would play parts.
    """
    lines = [b"#EXTM3U"]
    for file in dict.fromkeys(neighbor.path for neighbor in found):
        path = os.fsencode(file if is_url(file) else os.path.abspath(file))  # noqa: PTH100
        if b"\n" in path or b"\r" in path:
            say(f"musicssl similar: left out, no playlist can hold it: {printable(file)}")
            continue
        lines.append(path)
    data = b"".join(line + b"\n" for line in lines)
    with to_stdout():
        if sys.stdout is None:
            return DONE
        sys.stdout.flush()
        if (buffer := getattr(sys.stdout, "buffer", None)) is None:
            sys.stdout.write(data.decode("utf-8", "backslashreplace"))
        else:
            buffer.write(data)
        sys.stdout.flush()
    return DONE
