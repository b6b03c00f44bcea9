"""Every audio file of given folders, decoded by us and by FFmpeg: how they differ, what is said.

    python tests/fuzz/differential.py FOLDER ... --out RESULTS.jsonl

Files are taken by their extension; a result that is there is not made again. FFmpeg is the command,
which may be older than the one inside PyAV: a difference is a question, not yet a fault.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import reference
from compare import RATE, WINDOW, Samples, alike, found, seconds
from judge import said
from reference import Worker, ffmpeg
from tables import versions

from musicssl.audio import AUDIO_EXTENSIONS

EXTRA = (".bit", ".mpp", ".ofr", ".ofs", ".tak", ".spx", ".mod", ".s3m", ".xm", ".it", ".mp+")

KINDS = {
    "same": "same length within 3 %, and the same sound",
    "neither": "neither reads it",
    "said": "shorter than FFmpeg's, and `truncated` or `damaged` says so",
    "silent": "shorter than FFmpeg's by 3 % and 0.1 s, and nothing says so",
    "longer": "longer than FFmpeg's by 3 % and 0.1 s",
    "other sound": "same length, but less than half of the sound is found in FFmpeg's",
    "refused": "FFmpeg decodes it, we refuse",
    "ours alone": "we decode it, FFmpeg does not",
    "fault": "another exception than AudioError, a crash, a hang, more than 1 GB",
    "no answer": "FFmpeg did not end in time",
}


def compare(answer: dict[str, Any], ours: Samples, theirs: Samples, words: str) -> str:
    """Name the kind of difference."""
    if answer["outcome"] not in ("ok", "refused") or answer.get("peak_mb", 0) > 1024:
        return "fault"
    if words == "timed out":
        return "no answer"
    if answer["outcome"] == "refused":
        return "refused" if len(theirs) else "neither"
    if not len(theirs):
        return "ours alone"
    tolerance = 0.03 * seconds(theirs) + 0.1
    if seconds(theirs) - seconds(ours) > tolerance:
        return "said" if said(answer) else "silent"
    if seconds(ours) - seconds(theirs) > tolerance:
        return "longer"
    return "same" if alike(ours, theirs) or _shared(ours, theirs) >= 0.5 else "other sound"


def _shared(ours: Samples, theirs: Samples) -> float:
    """Return the share of our sounding half seconds that FFmpeg has too; of a short file, 1."""
    step = max(1, len(ours) // (60 * WINDOW))  # of long files, half seconds here and there
    windows = ours[: len(ours) // WINDOW * WINDOW].reshape(-1, WINDOW)[::step]
    loud = windows[np.abs(windows).max(1, initial=0) > 1e-3]
    return float(found(loud.reshape(-1), theirs).mean()) if len(loud) else 1.0


def one(path: Path, worker: Worker, folder: Path) -> dict[str, Any]:
    """Decode a file in both ways."""
    save = folder / "ours.npy"
    save.unlink(missing_ok=True)
    answer = worker.hear(path, "path", save)
    by_object = worker.hear(path, "object", None)
    ours = np.load(save) if save.exists() else np.empty(0, np.float32)
    theirs, words = ffmpeg(path)
    return {
        "file": str(path),
        "kind": compare(answer, ours, theirs, words),
        "ours": round(seconds(ours), 3),
        "ffmpeg": round(len(theirs) / RATE, 3),
        "words": words,
        "path": answer,
        "object": by_object["outcome"],
        "ways": by_object.get("digest") == answer.get("digest"),
    }


def main() -> None:
    """Read the command line, compare, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="results, a JSON line a file")
    parser.add_argument("--ffmpeg", default="ffmpeg", help="the command to compare with")
    args = parser.parse_args()
    reference.command_name = args.ffmpeg
    records = {}
    if args.out.exists():
        lines = map(json.loads, args.out.read_text().splitlines())
        records = {record["file"]: record for record in lines}
    wanted = AUDIO_EXTENSIONS.union(EXTRA)
    everything = (p for folder in args.folders for p in sorted(folder.rglob("*")) if p.is_file())
    files = [path.resolve() for path in everything if path.suffix.lower() in wanted]
    worker = Worker()
    with tempfile.TemporaryDirectory() as folder, args.out.open("a") as out:
        for path in files:
            if str(path) not in records:
                record = records[str(path)] = one(path, worker, Path(folder))
                out.write(json.dumps(record) + "\n")
                out.flush()
    worker.close()
    _print([records[str(path)] for path in files])


def _print(records: list[dict[str, Any]]) -> None:
    print(f"{len(records)} files; {versions()}\n\n| kind | files | what it means |\n|---|---|---|")
    kinds = Counter(record["kind"] for record in records)
    for kind, meaning in KINDS.items():
        print(f"| {kind} | {kinds[kind]} | {meaning} |")
    order = list(KINDS)
    for record in sorted(records, key=lambda r: (-order.index(r["kind"]), r["file"])):
        answer = record["path"]
        marks = [key for key in ("truncated", "damaged") if answer.get(key)]
        marks += [] if record["ways"] else [f"object differs ({record['object']})"]
        if record["kind"] not in ("same", "neither") or not record["ways"]:
            print(
                f"{record['kind']}: {record['file']}: {record['ours']} s, "
                f"FFmpeg {record['ffmpeg']} s; {', '.join(marks)} {answer.get('message', '')} "
                f"{answer.get('chatter', '')[:80]!r}"
            )


if __name__ == "__main__":
    main()
