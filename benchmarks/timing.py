"""Clocks, child processes and test music that the benchmarks share."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from musicssl.audio import open_source
from musicssl.cores import usable_cores
from musicssl.inference.device import cpu_has_bf16

ROOT = Path(__file__).resolve().parents[1]
MUSIC = ROOT / "examples" / "music"
CLI = "import sys; from musicssl.cli.main import main; sys.exit(main())"
Row = dict[str, Any]


class Took(NamedTuple):
    """Seconds on the wall clock, and of all threads of this process."""

    wall: float
    cpu: float


def best(call: Callable[[], object], repeats: int) -> Took:
    """Return the least of `repeats` times, of each clock, after one run that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times.append(Took(time.perf_counter() - wall, time.process_time() - cpu))
    return Took(*(min(column) for column in zip(*times, strict=True)))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch compute with `n` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def child(*arguments: str) -> tuple[float, str]:
    """Run Python in a new process; return its wall time and what it printed.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return wall, done.stdout


def machine() -> Row:
    """Return what the figures depend on."""
    name = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return {
        "processor": name or platform.machine(),
        "cores": usable_cores(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16 in hardware": cpu_has_bf16(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


@cache
def _examples(sample_rate: int) -> NDArray[np.float32]:
    """Return the example recordings, one after the other, as mono."""
    paths = sorted(MUSIC.glob("*.ogg"))
    if not paths:
        raise RuntimeError(f"no music in {MUSIC}; run from a checkout of the repository.")
    parts: list[NDArray[np.float32]] = []
    for path in paths:
        with open_source(path, sample_rate=sample_rate) as source:
            parts += source.blocks()
    return np.concatenate(parts)


def music(sample_rate: int, seconds: float, *, start: float = 0) -> NDArray[np.float32]:
    """Return mono music of any length: the examples, repeated, from `start` seconds on."""
    audio = _examples(sample_rate)
    audio = np.roll(audio, -round(start * sample_rate))
    return np.resize(audio, round(seconds * sample_rate))


def table(rows: list[Row]) -> str:
    """Return rows of the same keys as a Markdown table."""
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def write_json(path: Path | None, results: Any) -> None:
    """Write results where asked to."""
    if path is not None:
        path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
