"""Print the peak memory of this process, in MiB, with a model loaded and after a file."""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import torch

import musicssl


def peak() -> float:
    """Return the most memory that this process has ever had, in MiB.

    On Linux from /proc: there, ``ru_maxrss`` of a new process starts at its parent's peak.
    """
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    model = musicssl.load_model(options.model, device="cpu")
    loaded, begin = peak(), time.perf_counter()
    model.embed(options.file)
    took = time.perf_counter() - begin
    print(json.dumps({"loaded": loaded, "peak": peak(), "seconds": took}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
