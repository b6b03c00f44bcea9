"""What smaller vectors lose: how many of the ten nearest neighbors stay, by bytes of a vector.

    python experiments/compression.py vectors.npz

holds `values`, shape (n, dim), and `groups`, the recording of each vector: neighbors from the same
recording do not count. `--music FOLDER` makes such a file of pieces of 10 s. faiss is needed for
product quantization.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import musicssl
from musicssl.search.standardize import Standardizer

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
from timing import Row, table, write_json

Matrix = NDArray[np.float32]
NEAR = 10
PIECE = 10.0  # seconds
CENTERS = 256  # of a part of a product code; as many vectors are needed to find them


def pieces(folder: Path, model: str) -> tuple[Matrix, NDArray[np.int64]]:
    """Embed pieces of every file below a folder; files that cannot be read are left out."""
    encoder = musicssl.load_model(model)
    values, groups = [], []
    for group, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        try:
            found = encoder.embed(path, window=PIECE, hop=PIECE).values
        except musicssl.MusicSSLError as error:
            print(error, file=sys.stderr)
            continue
        values.append(found)
        groups.append(np.full(len(found), group))
    return np.concatenate(values).astype(np.float32), np.concatenate(groups)


def unit(x: Matrix) -> Matrix:
    """Return rows of length 1."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def whole_numbers(x: Matrix, levels: int) -> Matrix:
    """Round every value to one of `levels` steps between its column's 0.1 and 99.9 percentile."""
    low, high = np.percentile(x, [0.1, 99.9], axis=0)
    step = np.maximum(high - low, 1e-9) / (levels - 1)
    return (low + step * np.clip(np.rint((x - low) / step), 0, levels - 1)).astype(np.float32)


def principal(x: Matrix, fitted: Matrix, dim: int) -> Matrix:
    """Keep the first `dim` principal components of `fitted`."""
    _, _, axes = np.linalg.svd(fitted - fitted.mean(axis=0), full_matrices=False)
    return np.asarray((x - fitted.mean(axis=0)) @ axes[:dim].T, np.float32)


def product_codes(x: Matrix, fitted: Matrix, parts: int) -> Matrix:
    """Replace vectors by those that their product-quantization codes stand for (8 bits a part)."""
    import faiss

    coder = faiss.ProductQuantizer(x.shape[1], parts, 8)
    coder.cp.min_points_per_centroid = 1  # faiss would warn of each part
    coder.train(fitted)
    return np.asarray(coder.decode(coder.compute_codes(x)), np.float32)


def neighbors(queries: Matrix, x: Matrix, same: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """Return the k nearest rows by cosine, leaving out those of the query's own recording."""
    near = unit(queries) @ unit(x).T
    near[same] = -np.inf
    return np.argsort(-near, axis=1, kind="stable")[:, :k]


def forms(dim: int) -> dict[str, tuple[float, Callable[[Matrix, Matrix], Matrix]]]:
    """Return, by name, a vector's bytes and what remains of it; codes are fitted to the second."""
    chosen: dict[str, tuple[float, Callable[[Matrix, Matrix], Matrix]]] = {
        "fp32": (4 * dim, lambda x, _: x),
        "fp16": (2 * dim, lambda x, _: x.astype(np.float16).astype(np.float32)),
        "int8": (dim, lambda x, _: whole_numbers(x, 256)),
        "4 bits": (dim / 2, lambda x, _: whole_numbers(x, 16)),
        "signs": (dim / 8, lambda x, _: np.sign(x)),
    }
    for kept in (256, 128, 64):
        if kept < dim:
            chosen[f"PCA {kept}, int8"] = (
                kept,
                lambda x, fitted, kept=kept: whole_numbers(principal(x, fitted, kept), 256),
            )
    for parts in (128, 64, 32, 16):
        chosen[f"PQ, {parts} codes"] = (
            parts,
            lambda x, fitted, parts=parts: product_codes(x, fitted, parts),
        )
    return chosen


def measure(values: Matrix, groups: NDArray[Any], queries: int, seed: int) -> list[Row]:
    """Return the table. Codes are fitted to one half of the recordings; the other half asks."""
    random = np.random.default_rng(seed)
    units, _ = Standardizer.fit(values).units(values)
    names = random.permutation(np.unique(groups))
    fitted = np.isin(groups, names[: len(names) // 2])
    asked = random.permutation(np.flatnonzero(~fitted))[:queries]
    same = groups[asked][:, None] == groups[None, :]
    truth = neighbors(units[asked], units, same, NEAR)
    rows: list[Row] = []
    for name, (size, form) in forms(units.shape[1]).items():
        if name.startswith("PQ") and fitted.sum() < CENTERS:
            continue
        try:
            kept = form(units, units[fitted])
        except ImportError:
            print(f"{name}: left out, faiss is not installed", file=sys.stderr)
            continue
        found = neighbors(kept[asked], kept, same, 10 * NEAR)
        stay = [len(set(a) & set(b[:NEAR])) for a, b in zip(truth, found, strict=True)]
        among = [len(set(a) & set(b)) for a, b in zip(truth, found, strict=True)]
        rows.append(
            {
                "form": name,
                "bytes": size,
                "nearest stays, %": 100
                * float(np.mean([a[0] == b[0] for a, b in zip(truth, found, strict=True)])),
                f"of the nearest {NEAR}, %": 10 * float(np.mean(stay)),
                f"among the nearest {10 * NEAR}, %": 10 * float(np.mean(among)),
            }
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; 2 for wrong use."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("vectors", type=Path, help="npz file, read, or written with --music")
    parser.add_argument("--music", type=Path, help="folder whose files are embedded first")
    parser.add_argument("--model", default="musicssl-small")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args(argv)
    if options.music:
        values, groups = pieces(options.music, options.model)
        np.savez(options.vectors, values=values, groups=groups)
    with np.load(options.vectors) as data:
        values, groups = data["values"], data["groups"]
    recordings = len(np.unique(groups))
    print(f"{len(values)} vectors of {recordings} recordings, {values.shape[1]} values\n")
    rows = measure(values, groups, options.queries, options.seed)
    print(table(rows))
    if options.json:
        write_json(options.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
