"""How long a search among many vectors takes: made, opened from the disk, asked once and 100 times.

    python benchmarks/search.py [--sizes 100000 1000000] [--method exact] [--threads 1]

The vectors are 2,000 clusters of random numbers, 512 values each. Nothing is left on the disk.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

SHOWN = 20  # searches, of which the median counts


def vectors(n: int, dim: int = 512) -> Any:
    """Return clusters, in pieces, so that no second copy is in memory."""
    import numpy as np

    random = np.random.default_rng(0)
    centers = random.standard_normal((2000, dim), dtype=np.float32)
    values = np.empty((n, dim), np.float32)
    for start in range(0, n, 50_000):
        part = values[start : start + 50_000]
        part[:] = centers[random.integers(0, 2000, len(part))]
        part += random.standard_normal(part.shape, dtype=np.float32)
    return values


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds, and what came of it."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure(n: int, method: str, folder: Path) -> list[str]:
    """Return a line of the table."""
    from musicssl import Index

    values = vectors(n)
    built, index = timed(partial(Index, values, method=method))
    saved, _ = timed(lambda: index.save(folder))
    del index
    loaded, index = timed(lambda: Index.load(folder, method=method))
    index.search("0")
    once = median(timed(lambda i=i: index.search(str(i)))[0] for i in range(SHOWN))
    names = [str(i) for i in range(100)]
    many, found = timed(lambda: index.search_many(names))
    exact = Index.load(folder).search_many(names)
    shared = sum(
        len({a.row for a in one} & {b.row for b in other})
        for one, other in zip(found, exact, strict=True)
    )
    return [
        f"{n:,}",
        method,
        f"{built:.1f} s",
        f"{saved:.1f} s",
        f"{loaded:.2f} s",
        f"{1000 * once:.1f} ms",
        f"{10 * many:.1f} ms",
        f"{shared / 10:.1f} %",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--method", default="exact")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)  # before numpy is imported
    head = ["vectors", "method", "made", "saved", "opened", "one search", "of 100 at once", "found"]
    print("| " + " | ".join(head) + " |\n|" + "---:|" * len(head))
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            print("| " + " | ".join(measure(n, args.method, Path(folder) / "index")) + " |")


if __name__ == "__main__":
    main()
