"""The third way in: a folder of cases through `musicssl-embed`, and what it must say of each."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from reference import MEMORY_MB, peak_mb

from musicssl.audio import AUDIO_EXTENSIONS

LIMIT = 1800  # seconds

# The encoder is not what is tried: a very small one, untrained, leaves the time to the decoders.
TINY = """
import sys
from musicssl.encoders import DilatedConfig
from musicssl.checkpoint import ModelConfig
from musicssl.model import MusicEncoder
shape = dict(dim=16, inner=32, pitch_channels=(2, 2), mel_channels=8, dilations=(1, 2))
MusicEncoder(ModelConfig(encoder=DilatedConfig(**shape))).save_pretrained(sys.argv[1])
"""


def make_model(folder: Path) -> Path:
    """Write the model that the command uses, unless it is there."""
    if not folder.exists():
        subprocess.run([sys.executable, "-P", "-c", TINY, str(folder)], check=True)
    return folder


def embed(
    folder: Path, out: Path, model: Path, jobs: int, passed: set[str]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Run the command; return the manifest's records by file name, and what is wrong as a whole.

    Files in `passed` hold no audio and may be passed over.
    """
    command = [sys.executable, "-P", "-m", "musicssl.cli.main", str(folder), "-o", str(out)]
    command += [
        "--model",
        str(model),
        "--json",
        "--device",
        "cpu",
        "--jobs",
        str(jobs),
        "--offline",
    ]
    errors = out.with_name(out.name + ".stderr")
    printed = out.with_name(out.name + ".stdout")
    with errors.open("wb") as stderr, printed.open("wb") as stdout:
        process = subprocess.Popen(
            command, stdout=stdout, stderr=stderr, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        peak, begun = 0.0, time.monotonic()
        while process.poll() is None:
            peak = max(peak, peak_mb(process.pid))
            time.sleep(0.1)
            if time.monotonic() - begun > LIMIT:
                process.kill()
    code, wrong = process.returncode, []
    if code not in (0, 1):
        wrong.append(f"exit code {code}")
    if "Traceback" in errors.read_text(errors="replace"):
        wrong.append("a traceback on stderr")
    if peak > MEMORY_MB:
        wrong.append(f"{peak:.0f} MB")
    summary: dict[str, Any] = {}
    try:
        summary = json.loads(printed.read_text())
    except ValueError:
        wrong.append(f"stdout is no JSON: {printed.read_text(errors='replace')[:100]!r}")
    if text := _whole(folder, summary, code, passed, out):
        wrong.append(text)
    return {Path(record["source"]).name: record for record in _manifest(out)}, wrong


def differs(record: dict[str, Any], answer: dict[str, Any]) -> str:
    """Return how the command judged a file otherwise than a direct call, or nothing."""
    status = {"ok": "ok", "refused": "failed"}.get(answer["outcome"])
    if status is None:
        return ""
    if record["status"] not in (status, "error" if status == "failed" else status):
        return f"{record['status']} ({record.get('error')}), directly {answer['outcome']}"
    duration = record.get("duration")
    if status == "ok" and duration is not None and abs(duration - answer["seconds"]) > 0.01:
        return f"{duration} s, directly {answer['seconds']:.3f} s"
    return ""


def _manifest(out: Path) -> list[dict[str, Any]]:
    try:
        lines = (out / "manifest.jsonl").read_text().splitlines()
    except OSError:
        return []
    return [json.loads(line) for line in lines if line]


def _whole(folder: Path, summary: dict[str, Any], code: int, passed: set[str], out: Path) -> str:
    """Every file once in the manifest or passed over, and the exit code says whether one failed."""
    records = _manifest(out)
    names = Counter(Path(record["source"]).name for record in records)
    files = {path.name for path in folder.iterdir()}
    expected = {n for n in files - passed if Path(n).suffix.lower() in AUDIO_EXTENSIONS}
    wrong = []
    if missing := sorted(expected - set(names)):
        wrong.append(f"{len(missing)} files not in the manifest: {', '.join(missing[:5])}")
    if foreign := sorted(set(names) - expected):
        wrong.append(f"{len(foreign)} files that it should pass over: {', '.join(foreign[:5])}")
    if double := [name for name, count in names.items() if count > 1]:
        wrong.append(f"{len(double)} files twice in the manifest: {', '.join(double[:5])}")
    failed = any(record["status"] != "ok" for record in records)
    if code != int(failed):
        wrong.append(f"exit code {code}, but {'a' if failed else 'no'} file failed")
    counted = summary.get("done", 0) + summary.get("failed", 0)
    if counted + sum(summary.get("passed_over", {}).values()) != len(files):
        wrong.append(f"{counted} counted and {summary.get('passed_over')} of {len(files)} files")
    return "; ".join(wrong)
