"""FFmpeg's own decoding, to compare with, and the process that hears for us."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from compare import RATE, Samples

PATIENCE = 60  # seconds of CPU without an answer: a hang
MEMORY_MB = 1024  # beyond twice that the worker is ended
LONGEST = 3600  # seconds
LOUDEST = 64.0  # as ours


command_name = "ffmpeg"  # `--ffmpeg` names another one


def ffmpeg(path: Path, *, limit: float = 120) -> tuple[Samples, str]:
    """Return what FFmpeg hears, mono, and its last words; "timed out" if it did not end."""
    command = [
        command_name,
        "-v",
        "error",
        "-nostdin",
        "-threads",
        "1",
        "-protocol_whitelist",
        "file",
    ]
    command += ["-i", f"file:{path}", "-map", "0:a:0", "-ac", "1", "-ar", str(RATE)]
    command += ["-t", str(LONGEST), "-f", "f32le", "pipe:1"]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return np.empty(0, np.float32), "timed out"
    words = ended.stderr.decode(errors="replace").strip().splitlines()
    usable = len(ended.stdout) // 4 * 4
    samples = np.frombuffer(ended.stdout[:usable], np.float32)
    return np.clip(np.nan_to_num(samples), -LOUDEST, LOUDEST), words[-1][-200:] if words else ""


class Worker:
    """A `hear.py` process, started again when it ends or is ended."""

    def __init__(self) -> None:
        self._chatter = tempfile.TemporaryFile()  # noqa: SIM115  (until the process ends)
        self._process: subprocess.Popen[str] | None = None

    def hear(self, path: Path, way: str, save: Path | None) -> dict[str, Any]:
        """Return the worker's answer, or how it failed to answer."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        self._chatter.seek(0)
        self._chatter.truncate()
        job = {"path": str(path), "way": way, "save": str(save) if save else None}
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        except OSError:
            pass
        answer = self._answer(process)
        self._chatter.seek(0)
        if printed := self._chatter.read(2000).decode(errors="replace"):
            answer["chatter"] = printed[:500]
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("hear.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._chatter,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def _answer(self, process: "subprocess.Popen[str]") -> dict[str, Any]:
        assert process.stdout is not None
        start = _cpu_seconds(process.pid)
        since = time.monotonic()
        while not select.select([process.stdout], [], [], 0.5)[0]:
            used = _cpu_seconds(process.pid) - start
            if used > PATIENCE or time.monotonic() - since > 10 * PATIENCE:
                self.close()
                return {"outcome": "hang", "cpu": used}
            if _resident_mb(process.pid) > 2 * MEMORY_MB:
                self.close()
                return {"outcome": "memory", "peak_mb": 2 * MEMORY_MB}
        line = process.stdout.readline()
        if line.endswith("\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = process.wait()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return {"outcome": "crash", "message": name}


def peak_mb(pid: int | str) -> float:
    """Return the highest memory of a running process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)
    except (OSError, IndexError):
        return 0.0


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
