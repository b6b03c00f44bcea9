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
from musicssl.model import ModelConfig, MusicEncoder
shape = dict(dim=16, inner=32, pitch_channels=(2, 2), mel_channels=8, dilations=(1, 2))
MusicEncoder(ModelConfig(encoder=DilatedConfig(**shape))).save_pretrained(sys.argv[1])
"""


def make_model(folder: Path) -> Path:
    """Write the model that the command uses, unless it is there."""
    if not folder.exists():
        subprocess.run([sys.executable, "-P", "-c", TINY, str(folder)], check=True)
    return folder


def embed(
    folder: Path, out: Path, model: Path, jobs: int
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Run the command; return the manifest's records by file name, and what is wrong as a whole."""
    command = [sys.executable, "-P", "-m", "musicssl.cli", str(folder), "-o", str(out)]
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
    records = _manifest(out)
    wrong += _whole(folder, [record["source"] for record in records], summary, code, records)
    return {Path(record["source"]).name: record for record in records}, wrong


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


def _whole(
    folder: Path,
    sources: list[str],
    summary: dict[str, Any],
    code: int,
    records: list[dict[str, Any]],
) -> list[str]:
    """Every file once in the manifest, and the exit code says whether one failed."""
    names = Counter(Path(source).name for source in sources)
    expected = {p.name for p in folder.iterdir() if p.suffix.lower() in AUDIO_EXTENSIONS}
    wrong = []
    if missing := sorted(expected - set(names)):
        wrong.append(f"{len(missing)} files not in the manifest: {', '.join(missing[:5])}")
    if foreign := sorted(set(names) - expected):
        wrong.append(f"{len(foreign)} files that it should pass over: {', '.join(foreign[:5])}")
    if double := [name for name, count in names.items() if count > 1]:
        wrong.append(f"{len(double)} files twice in the manifest: {', '.join(double[:5])}")
    failed = any(record["status"] != "ok" for record in records)
    if records and code != int(failed):
        wrong.append(f"exit code {code}, but {'a' if failed else 'no'} file failed")
    if summary and summary.get("found") not in (None, len(expected)):
        wrong.append(f"found {summary['found']} files of {len(expected)}")
    return wrong
