"""A worker: hear files, one after the other, and tell of each what came of it.

Reads a JSON line for each: {"path", "way": "path" | "object", "save"}; answers with one. It imports
no torch, so that its memory is that of decoding.
"""

import hashlib
import io
import json
import logging
import os
import resource
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import musicssl
from musicssl.audio import open_source

RATE = 22_050
LONGEST = 3600  # seconds; no file here is that long
ADDRESSES = 12 << 30  # a last net under the limit that is measured


def main() -> None:
    """Answer until the input ends. Decoders may print: answers have a descriptor of their own."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    notes: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger()
    log.addHandler(handler)
    for line in sys.stdin:
        notes.clear()
        answer = hear(**json.loads(line))
        answer["notes"] = [note[-200:] for note in notes[:5]]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os._exit(0)


def hear(path: str, way: str, save: str | None) -> dict[str, Any]:
    """Decode one file."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # begin the peak of memory anew
    start = time.process_time()
    answer: dict[str, Any] = {"outcome": "ok"}
    blocks: list[Any] = []
    try:
        target = path if way == "path" else io.BytesIO(Path(path).read_bytes())
        _collect(target, blocks, answer)
    except musicssl.AudioError as error:
        answer |= {"outcome": "refused", "message": _tail(str(error), path)}
    except BaseException as error:  # whatever it is, it is a finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        answer |= {"outcome": "raised", "message": text[:300]}
    audio = np.concatenate(blocks) if blocks else np.empty(0, np.float32)
    answer |= {
        "seconds": len(audio) / RATE,
        "finite": bool(np.isfinite(audio).all()),
        "digest": hashlib.sha256(audio.tobytes()).hexdigest()[:16],
        "cpu": round(time.process_time() - start, 3),
        "peak_mb": _peak_mb(),
    }
    if save:
        np.save(save, audio)
    return answer


def _collect(target: Any, blocks: list[Any], answer: dict[str, Any]) -> None:
    with open_source(target, sample_rate=RATE) as source:
        answer |= {"rate": source.native_rate, "channels": source.channels}
        total = 0
        for block in source.blocks():
            blocks.append(block.copy())
            total += len(block)
            if total > LONGEST * RATE:
                answer["outcome"] = "endless"
                break
        answer["truncated"] = bool(source.truncated)
        answer["damaged"] = int(getattr(source, "damaged", 0))
        promised = getattr(source, "promised", None)
        answer["promised"] = None if promised is None else round(float(promised), 3)


def _tail(message: str, path: str) -> str:
    return message.replace(path, "FILE")[:300]


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)


if __name__ == "__main__":
    main()
