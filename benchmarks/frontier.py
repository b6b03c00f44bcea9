"""Size, speed and score of embeddings in one table: what a score costs.

MODEL is all that `musicssl-train evaluate` takes; the scores are those of its ``results.json``.
"""

import argparse
import sys
from pathlib import Path

from timing import Row, best, machine, music, table, threads, usable_cores, write_json

from musicssl import MusicSSLError
from musicssl.errors import pick
from musicssl_training.evaluation.datasets import Clip
from musicssl_training.evaluation.embedders.adapters import ModelEmbedder
from musicssl_training.evaluation.embedders.base import Embedder
from musicssl_training.evaluation.embedders.spec import make_embedder
from musicssl_training.evaluation.protocol.metrics import MEAN
from musicssl_training.evaluation.report.results import Report, read_report
from musicssl_training.evaluation.report.tables import rows

CLIP_SECONDS, CLIPS = 30, 8


def measure(embedder: Embedder, report: Report | None, cores: int, repeats: int) -> Row:
    """Return a row; scores are those of the linear probe with all labels."""
    clips = [Clip(str(i), Path(str(i))) for i in range(CLIPS)]
    sound = [music(embedder.sample_rate, CLIP_SECONDS, start=7.3 * i) for i in range(CLIPS)]
    values = len(embedder.embed(clips[:1], sound[:1])[0])
    with threads(cores):
        took = best(lambda: embedder.embed(clips, sound), repeats).wall
    count = None
    if isinstance(embedder, ModelEmbedder):
        count = sum(p.numel() for p in embedder.model.encoder.parameters())
    row: Row = {
        "model": embedder.name,
        "parameters, M": count and count / 1e6,
        "MB in fp16": count and 2 * count / 1e6,
        "values a clip": values,
        f"x real time, {cores} cores": CLIPS * CLIP_SECONDS / took,
    }
    if report is None:
        return row
    means = next((found.cells for found in rows(report) if found.task == MEAN), {})
    mean = pick(means, embedder.name, "model with a mean in the report")
    interval = f"[{100 * mean.low:.1f}, {100 * mean.high:.1f}]"
    return row | {f"mean of {len(mean.per_class)} tasks": f"{100 * mean.score:.1f} {interval}"}


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; 2 for wrong use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--report", type=Path, help="results.json with scores of these models")
    parser.add_argument("--cores", type=int, default=min(2, usable_cores()), help="to compute with")
    parser.add_argument("--repeats", type=int, default=5, help="of each timing; the least counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args(argv)
    try:
        report = read_report(options.report) if options.report else None
        embedders = [make_embedder(name) for name in options.models]
        found = [measure(e, report, options.cores, options.repeats) for e in embedders]
    except MusicSSLError as error:
        print(f"frontier.py: {error}", file=sys.stderr)
        return 2
    print(table([{"what": name, "is": value} for name, value in machine().items()]), end="\n\n")
    print(table(found))
    write_json(options.json, {"machine": machine(), "rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
