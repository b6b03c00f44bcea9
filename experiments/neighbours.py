"""Who is near whom: how often the nearest sounds share a label, and some of them by name.

FOLDER has an ``items.csv``: a column ``path``, the others labels. Vectors are standardised over the
folder and compared by cosine, as the README does.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicssl import MusicSSLError
from musicssl_training.evaluation.datasets import Collection, read_items
from musicssl_training.evaluation.embedders.cache import embed_collection
from musicssl_training.evaluation.embedders.spec import make_embedder

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
from timing import Row, table, write_json

NEAR = (1, 5)  # neighbours that are counted


def nearest(x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the other items of every item, the nearest first: (items, items - 1)."""
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.argsort(-(x @ x.T) + 9 * np.eye(len(x)), axis=1)[:, :-1]


def shares(data: Collection, order: NDArray[np.int64], labels: list[str], model: str) -> list[Row]:
    """Return how many of the nearest have the item's own label, and how many of any have it."""
    rows = []
    for label in labels:
        y = data.column(label)
        same = y[order] == y[:, None]
        near: Row = {f"of the nearest {k}, %": 100 * float(same[:, :k].mean()) for k in NEAR}
        rows.append(
            {"model": model, "same": label} | near | {"of any, %": 100 * float(same.mean())}
        )
    return rows


def examples(data: Collection, order: NDArray[np.int64], show: list[str], count: int) -> list[Row]:
    """Return some items, evenly spread over the folder, and the three nearest of each."""
    columns = [data.column(name) for name in show]
    texts = [" · ".join(map(str, row)) for row in zip(*columns, strict=True)]
    return [
        {"of": texts[i]} | {f"nearest {k + 1}": texts[order[i, k]] for k in range(3)}
        for i in np.linspace(0, len(texts) - 1, count).round().astype(int)
    ]


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; 2 for wrong use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="as for `evaluate`")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--label", action="append", required=True, help="column; may repeat")
    parser.add_argument("--show", action="append", help="column that names an item; may repeat")
    parser.add_argument("--count", type=int, default=12, help="items that are shown")
    parser.add_argument("--cache", type=Path, required=True, help="folder for embeddings")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args(argv)
    rows: list[Row] = []
    shown: list[Row] = []
    try:
        data = read_items(options.folder, options.folder.resolve().name)
        embedders = [make_embedder(name) for name in options.models]
        for name, found in embed_collection(data, embedders, options.cache).items():
            if isinstance(found, MusicSSLError):
                raise found
            order = nearest(found.values)
            rows += shares(data, order, options.label, name)
            shown = examples(data, order, options.show or options.label, options.count)
    except MusicSSLError as error:
        print(f"neighbours.py: {error}", file=sys.stderr)
        return 2
    print(table(rows))
    print(f"\n{options.models[-1]}:\n\n{table(shown)}")
    write_json(options.json, {"shares": rows, "examples": shown})
    return 0


if __name__ == "__main__":
    sys.exit(main())
