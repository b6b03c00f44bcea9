"""Measure a list of files, and one long sound, where other work takes the cores."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from timing import MUSIC, ROOT, Row, machine, music, table, usable_cores, write_json
from torch.utils.data import DataLoader

import musicssl
from musicssl.inference.batching import Engine
from musicssl.inference.options import EmbedOptions

FILES = sorted(MUSIC.glob("*.ogg"))
LONG = 240  # seconds, of one sound
RATE = 22_050
WAYS = {
    "default": "as it is",
    "one": "one thread",
    "inside": "threads inside each operation",
}
PROCESSES = "DataLoader", "joblib", "multiprocessing"
CGROUP = f"musicssl-benchmark-{os.getpid()}"


# In a child process


def embed_list(way: str) -> object:
    """Embed the files."""
    if way == "one":
        torch.set_num_threads(1)
    return musicssl.get_embedding(FILES, device="cpu", jobs=1 if way == "one" else None)


def embed_long(way: str) -> object:
    """Embed one long sound."""
    audio = music(RATE, LONG)
    if way == "one":
        torch.set_num_threads(1)
    if way != "inside":
        jobs = 1 if way == "one" else None
        return musicssl.get_embedding(audio, RATE, device="cpu", jobs=jobs)
    model = musicssl.load_model(device="cpu")
    source = musicssl.audio.open_source(audio, RATE, sample_rate=RATE)
    return list(Engine(model, EmbedOptions().resolve(model)).run([source]))


def inside_list() -> object:
    """Embed the files one after the other, torch putting all threads into each operation."""
    model = musicssl.load_model(device="cpu")
    sources = (musicssl.audio.open_source(path, sample_rate=RATE) for path in FILES)
    return list(Engine(model, EmbedOptions().resolve(model)).run(sources))


class _Files(torch.utils.data.Dataset[Any]):
    """The list once for each worker."""

    def __init__(self, way: str, count: int) -> None:
        self.way, self.count = way, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, _: int) -> object:
        return torch.from_numpy(embed_list(self.way))


def in_loader(way: str, workers: int) -> object:
    """Embed the list in every worker of a DataLoader."""
    loader = DataLoader(
        _Files(way, workers),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn",
    )
    return list(loader)


def in_joblib(way: str, workers: int) -> object:
    """Embed the list in every process of joblib."""
    import joblib

    return joblib.Parallel(workers)(joblib.delayed(embed_list)(way) for _ in range(workers))


def in_processes(way: str, workers: int) -> object:
    """Embed the list in every process of multiprocessing."""
    with get_context("spawn").Pool(workers) as pool:
        return pool.map(embed_list, [way] * workers, chunksize=1)


def calls(way: str) -> dict[str, Callable[[], object]]:
    """Return what is timed."""
    workers = usable_cores()
    listed = inside_list if way == "inside" else lambda: embed_list(way)
    return {
        "list": listed,
        "long": lambda: embed_long(way),
        "DataLoader": lambda: in_loader(way, workers),
        "joblib": lambda: in_joblib(way, workers),
        "multiprocessing": lambda: in_processes(way, workers),
    }


def time_here(what: str, way: str) -> float:
    """Return the seconds that something takes, after a run that does not count."""
    call = calls(way)[what]
    if what in ("list", "long"):
        call()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


# Around it


@contextlib.contextmanager
def neighbors(count: int) -> Iterator[None]:
    """Keep `count` processes spinning."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


@contextlib.contextmanager
def quota(cores: float) -> Iterator[Path]:
    """Make a cgroup that allows so many cores.

    Yields
    ------
    Path
        The file that takes its processes.

    Raises
    ------
    OSError
        Where that is not allowed.
    """
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    group = Path("/sys/fs/cgroup") / ("" if unified else "cpu") / CGROUP
    if not unified and not (group.parent / "cpu.cfs_quota_us").exists():
        raise OSError("no cgroups here")
    group.mkdir()
    try:
        if unified:
            (group / "cpu.max").write_text(f"{round(cores * 1e5)} 100000")
        else:
            (group / "cpu.cfs_quota_us").write_text(str(round(cores * 1e5)))
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def child(what: str, way: str, procs: Path | None = None) -> float:
    """Time something in a new process, perhaps in a cgroup."""
    run = [sys.executable, __file__, "--child", what, way]
    if procs is not None:
        run = ["sh", "-c", f'echo $$ > {procs}; exec "$@"', "sh", *run]
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    }
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{what}, {way}: {done.stderr}")
    return float(json.loads(done.stdout))


def compare(situation: str, what: str, repeats: int, procs: Path | None = None) -> Row:
    """Time all ways in turn, several times; the middle one counts."""
    ways = [way for way in WAYS if way != "inside" or what in ("list", "long")]
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            times[way].append(child(what, way, procs))
    middle = {way: sorted(found)[len(found) // 2] for way, found in times.items()}
    return {
        "situation": situation,
        "what": f"one sound of {LONG} s" if what == "long" else f"list of {len(FILES)} files",
        "as it is, s": middle["default"],
        "one thread / as it is": middle["one"] / middle["default"],
        "threads inside each operation / as it is": (
            middle["inside"] / middle["default"] if "inside" in middle else None
        ),
    }


def situations(cores: int) -> dict[str, contextlib.AbstractContextManager[Any]]:
    """Return what goes on meanwhile, by name; a path is that of a cgroup to be in."""
    return {
        "nothing else": contextlib.nullcontext(),
        "a spinning process": neighbors(1),
        f"{cores} spinning processes": neighbors(cores),
        f"quota of {cores / 2:g} cores": quota(cores / 2),
    }


def run(repeats: int, only: str) -> Iterator[Row]:
    """Measure the situations whose names, or the names of what they are for, contain a text.

    Yields
    ------
    dict
        A row of the table.
    """
    cores = usable_cores()
    for what in ("list", "long"):
        for name, meanwhile in situations(cores).items():
            if only in name or only == what:
                try:
                    with meanwhile as procs:
                        yield compare(name, what, repeats, procs)
                except OSError as error:
                    print(f"{name} cannot be had here: {error}", file=sys.stderr)
    for what in PROCESSES:
        name = f"in each of {cores} processes of {what}"
        if only in name:
            yield compare(name, what, repeats)


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of each timing; the middle counts")
    parser.add_argument("--only", default="", metavar="TEXT", help="situations with this in them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    options = build_parser().parse_args(argv)
    if options.child:
        print(json.dumps(time_here(*options.child)))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and clean up
    about, rows = machine(), list[Row]()
    print(table([{"what": name, "is": value} for name, value in about.items()]))
    for row in run(options.repeats, options.only):
        lines = table([row]).splitlines()
        print("\n".join(lines if not rows else lines[2:]), flush=True)
        rows.append(row)
    write_json(options.json, {"machine": about, "busy": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
