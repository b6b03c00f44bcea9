"""Number of cores: affinity, and quotas of cgroups of both versions, nested and in containers."""

import os
from pathlib import Path

import pytest

from musicssl import cores

UNIFIED = "30 24 0:26 {root} {top} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
LEGACY = "31 24 0:27 {root} {top} rw - cgroup cgroup rw,cpu,cpuacct"
OTHER = "32 24 0:28 / {top}/memory rw - cgroup cgroup rw,memory"


def process(folder: Path, groups: str, *mounts: str) -> Path:
    """Write what /proc says of a process."""
    proc = folder / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + "\n".join(mounts))
    return proc


def limit(group: Path, quota: object, period: int = 100_000) -> None:
    """Set a group's quota, as version 2 says it."""
    group.mkdir(parents=True, exist_ok=True)
    (group / "cpu.max").write_text(f"{quota} {period}\n")


def limit_legacy(group: Path, quota: int, period: int = 100_000) -> None:
    """Set a group's quota, as version 1 says it."""
    group.mkdir(parents=True, exist_ok=True)
    (group / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (group / "cpu.cfs_period_us").write_text(f"{period}\n")


def test_the_least_quota_of_nested_groups_counts(tmp_path: Path) -> None:
    top = tmp_path / "cg roup"
    limit(top / "a", 150_000)
    limit(top / "a" / "b", "max")
    limit(top / "a" / "b" / "c", 400_000, 50_000)
    where = UNIFIED.format(root="/", top=str(top).replace(" ", r"\040"))
    proc = process(tmp_path, "0::/a/b/c\n", where)
    assert cores.cpu_quota(proc) == 1.5


def test_a_group_of_version_1_is_found_beside_others(tmp_path: Path) -> None:
    top = tmp_path / "cpu"
    limit_legacy(top, -1)
    limit_legacy(top / "jobs", 250_000)
    limit_legacy(top / "jobs" / "7", -1)
    mounts = [OTHER.format(top=tmp_path), LEGACY.format(root="/", top=top)]
    text = "5:memory:/elsewhere\n4:cpu,cpuacct:/jobs/7\n0::/\n"
    assert cores.cpu_quota(process(tmp_path, text, *mounts)) == 2.5


@pytest.mark.parametrize(
    ("group", "root"), [("/", "/"), ("/docker/x", "/docker/x"), ("/../..", "/"), ("/else", "/d")]
)
def test_in_a_container_the_mounted_group_counts(tmp_path: Path, group: str, root: str) -> None:
    top = tmp_path / "top"
    limit(top, 300_000)
    proc = process(tmp_path, f"0::{group}\n", UNIFIED.format(root=root, top=top))
    assert cores.cpu_quota(proc) == 3.0


@pytest.mark.parametrize("said", ["max 100000", "", "nonsense", "0 0", "12", "-1 100000"])
def test_what_is_no_quota_limits_nothing(tmp_path: Path, said: str) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "cpu.max").write_text(said)
    proc = process(tmp_path, "0::/\n", UNIFIED.format(root="/", top=top))
    assert cores.cpu_quota(proc) is None


def test_without_a_proc_nothing_is_known(tmp_path: Path) -> None:
    assert cores.cpu_quota(tmp_path / "none") is None
    assert cores.cpu_quota(process(tmp_path, "no groups here\n", "nor mounts")) is None


@pytest.mark.parametrize(
    ("quota", "count"), [(None, 8), (0.3, 1), (1.0, 1), (1.5, 2), (2.0, 2), (64.0, 8)]
)
def test_a_part_of_a_core_counts_as_one(
    quota: float | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert cores.usable_cores() == count
