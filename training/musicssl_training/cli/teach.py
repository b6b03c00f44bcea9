"""The sub-command `musicssl-train teach`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from musicssl.errors import DependencyError, MusicSSLError
from musicssl_training.cli.arguments import count

if TYPE_CHECKING:
    from musicssl_training.teachers import Teacher


def add_teach(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add = parser.add_argument
    add("packs", nargs="+", type=Path, metavar="PACK", help="of pack or render")
    add(
        "--teacher",
        required=True,
        metavar="NAME",
        help="or musicssl:MODEL, efficientat:FILE, or MODULE:FUNCTION that returns one",
    )
    add("--jobs", type=count, default=1, help="recordings at a time (default: %(default)s)")


def run_teach(args: argparse.Namespace) -> int:
    """Ask a teacher about packs, with one thread of torch a job.

    Returns
    -------
    int
        0; 1 if recordings or packs were left out; 2 if no pack could be asked about.
    """
    from musicssl.inference.crew import one_thread
    from musicssl_training.teachers import load_teacher

    sys.path.append(str(Path.cwd()))  # teachers of one's own, behind all that is installed
    with one_thread():
        teacher = load_teacher(args.teacher)
        complete = [_teach(pack, teacher, args.jobs) for pack in args.packs]
    if all(one is None for one in complete):
        return 2
    return int(not all(complete))


def _teach(pack: Path, teacher: "Teacher", jobs: int) -> bool | None:
    """Ask a teacher about one pack and tell whether all is known; None if it cannot be asked."""
    from musicssl_training.teachers.teach import teach

    try:
        done = teach(pack, teacher, jobs)
    except DependencyError:
        raise  # the next pack would need it too
    except (MusicSSLError, OSError) as error:
        print(f"musicssl-train: error: {error}", file=sys.stderr)
        return None
    left = f"; {len(done.left_out)} recordings were left out, see above" if done.left_out else ""
    print(
        f"{pack}: {done.rows:,} rows of {teacher.facts.name}, of {done.known:,} recordings{left}",
        file=sys.stderr,
    )
    if not done.rows and not done.left_out:
        print(f"{pack}: no recording is long enough for this teacher", file=sys.stderr)
    return bool(done.rows and not done.left_out)
