"""Measure the memory that a long list of files takes while a folder of embeddings is made of it.

    python benchmarks/lists.py [--files 100000] [--format parquet]

Nothing is decoded or encoded: the manifest is written as a run would have written it, results come
out of the air. Each stage is a process of its own; figures are MiB above what imports take.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from timing import Row, child, table

from musicssl.folder.columns import Columns
from musicssl.folder.formats import FORMATS
from musicssl.folder.ledger import Ledger
from musicssl.folder.listing import Listing
from musicssl.folder.manifest import Manifest
from musicssl.folder.output import Row as Result
from musicssl.folder.path_lists import PathLines
from musicssl.folder.records import json_line

SPACE, DIM = "benchmark/l6/mean/00000000", 512


def name(i: int) -> str:
    """Return a source's name."""
    return f"{i // 1000:06d}/{i:09d} a title of a song.flac"


def write_manifest(out: Path, count: int) -> None:
    """Write what a run notes of each file."""
    with (out / "manifest.jsonl").open("wb") as file:
        for i in range(count):
            record = {
                "source": name(i),
                "path": f"/mnt/music/{name(i)}",
                "size": 30_000_000 + i,
                "mtime_ns": 10**18 + i,
                "inode": i,
                "ctime_ns": 10**18 + i,
                "status": "ok",
                "space": SPACE,
                "duration": 240.0,
                "sample_rate": 44_100,
                "channels": 2,
                "content": f"{i:032x}",
            }
            file.write(json_line(record))


def stages(out: Path, count: int, format: str) -> dict[str, Callable[[], object]]:
    """Return what a run does with all of a list, by name."""
    manifest = out / "manifest.jsonl"

    def store() -> None:
        output = FORMATS[format](out, SPACE)
        output.columns = lambda: Columns([manifest], None)
        output.open()
        values = np.arange(DIM, dtype=np.float32)
        for i in range(count):
            output.write(Result(name(i), values, None), lambda: None)
        output.close(finished=True)

    def again() -> None:
        output = FORMATS[format](out, SPACE)
        output.open()
        if not all(output.has(name(i)) for i in range(count)):
            raise RuntimeError("a result is missing")
        output.close(finished=True)

    def paths() -> None:
        lines = PathLines("".join(f"/mnt/music/{name(i)}\n" for i in range(count)).encode())
        if sum(1 for _ in Listing(lines, extensions=(), listed=True)) != count:
            raise RuntimeError("a path is missing")

    return {
        "a list of paths": paths,
        "what earlier runs did": lambda: Ledger([manifest], SPACE),
        "records that count": lambda: sum(1 for _ in Manifest(out).last()),
        "columns of the table": lambda: Columns([manifest], None),
        "results written and merged": store,
        "looked for again": again,
    }


def resident(what: str) -> float:
    """Return the MiB of memory now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def measure(stage: str, out: Path, count: int, format: str) -> float:
    """Return how much memory a stage takes at most."""
    call = stages(out, count, format)[stage]
    warm = out / "warm"
    warm.mkdir(exist_ok=True)
    write_manifest(warm, 1)
    stages(warm, 1, format)["results written and merged"]()  # imports
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    kept = call()
    del kept
    return resident("VmHWM") - before


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--format", default="parquet", choices=list(FORMATS))
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.stage:
        stage, out = options.stage
        print(json.dumps(measure(stage, Path(out), options.files, options.format)))
        return 0
    rows: dict[str, Row] = {}
    for count in (options.files // 4, options.files):
        with tempfile.TemporaryDirectory() as out:
            write_manifest(Path(out), count)
            for stage in stages(Path(out), count, options.format):
                run = [__file__, "--files", str(count), "--format", options.format]
                wall, found = child(*run, "--stage", stage, out)
                row = rows.setdefault(stage, {"MiB at most": stage})
                row |= {f"{count:,} files": json.loads(found), f"s, {count:,}": wall}
    for row in rows.values():
        few, many = (row[f"{count:,} files"] for count in (options.files // 4, options.files))
        row["bytes a file more"] = (many - few) * 2**20 / (options.files * 3 / 4)
    print(table(list(rows.values())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
