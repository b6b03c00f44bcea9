"""Number of cores that this process may really use: its affinity, and the quotas of its cgroups."""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_PROCESS = Path("/proc/self")


def usable_cores() -> int:
    """Return how many cores this process may use.

    A container's quota counts, which leaves all cores to be seen but not to be used at once. A
    part of a core counts as one.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(process: Path | None = None) -> float | None:
    """Return the least quota of this process's cgroups and of those around them, in cores.

    Parameters
    ----------
    process
        Its folder in /proc; None for this process's own.

    Returns
    -------
    float or None
        None where nothing limits it, or nothing can be known.
    """
    process = process or _PROCESS
    found: list[float] = []
    with contextlib.suppress(OSError, ValueError):
        groups = _groups((process / "cgroup").read_text(encoding="utf-8", errors="surrogateescape"))
        text = (process / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        for mount in _mounts(text):
            group = groups.get("" if mount.unified else "cpu")
            if group is not None:
                found += _quotas(mount, group)
    return min(found, default=None)


class _Mount(NamedTuple):
    """A hierarchy of cgroups, as it is seen from here."""

    unified: bool  # version 2
    root: PurePosixPath  # which of the groups stands at the mount's top
    top: Path


def _groups(text: str) -> dict[str, PurePosixPath]:
    """Return the group of a process in each hierarchy, by controller; "" is that of version 2."""
    groups = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            groups[name] = PurePosixPath(path)
    return groups


def _mounts(text: str) -> Iterator[_Mount]:
    """Yield the hierarchies that limit the CPU, from what /proc/self/mountinfo says.

    Yields
    ------
    _Mount
        In its order.
    """
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(maxsplit=2)
        unified = kind == "cgroup2"
        if unified or (kind == "cgroup" and "cpu" in options.strip().split(",")):
            root, top = (_unescape(field) for field in fields[3:5])
            yield _Mount(unified, PurePosixPath(root), Path(top))


def _unescape(field: str) -> str:
    r"""Return a path of mountinfo, where a space is written \040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _quotas(mount: _Mount, group: PurePosixPath) -> Iterator[float]:
    """Yield the quotas of a group and of those around it, as far as they can be seen.

    Yields
    ------
    float
        Cores.
    """
    # Seen from inside a container, the group may lie outside of what is mounted.
    inner = group.relative_to(mount.root) if group.is_relative_to(mount.root) else group
    path = mount.top.joinpath(*(part for part in inner.parts if part not in ("/", "..")))
    while True:
        with contextlib.suppress(OSError, ValueError):
            if mount.unified:
                quota, period = (path / "cpu.max").read_text(encoding="ascii").split()
            else:
                names = "cpu.cfs_quota_us", "cpu.cfs_period_us"
                quota, period = ((path / name).read_text(encoding="ascii") for name in names)
            if quota != "max" and int(quota) > 0 and int(period) > 0:
                yield int(quota) / int(period)
        if path == mount.top or path == path.parent:
            return
        path = path.parent
