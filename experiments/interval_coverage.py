"""How often the evaluation's 95 % intervals hold the truth, on made-up collections.

    python experiments/interval_coverage.py

Every trial draws a new collection of a given number of groups, and two embeddings that are equally
good, and evaluates both as the suite does. The truth for a score is its mean over all trials: what
other music, to train and to test on, would give. The truth for the difference is 0.
"""

import argparse
import sys
import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from musicssl_training.evaluation.protocol.labels import (
    Labels,
    Multiclass,
    Multilabel,
    Regression,
)
from musicssl_training.evaluation.protocol.regimes import Regime
from musicssl_training.evaluation.protocol.scoring import Drawn, make_instance, measure
from musicssl_training.evaluation.report.builder import ReportBuilder
from musicssl_training.evaluation.report.results import Report

DIM, CLASSES = 24, 4
CELLS = {  # groups, items in each, kind of labels, share of the labels
    "single recordings": (200, 1, "item", "100%"),
    "groups of few": (130, 3, "group", "100%"),
    "class of a whole group": (40, 10, "group", "100%"),
    "few groups": (12, 40, "item", "100%"),
    "very few groups": (9, 60, "item", "100%"),
    "numbers": (40, 10, "numbers", "100%"),
    "tags": (40, 10, "tags", "100%"),
    "a tenth of the labels": (40, 10, "item", "10%"),
}
METRICS = {"group": "accuracy", "item": "accuracy", "tags": "roc_auc", "numbers": "pearson_r"}


def make_labels(
    groups: int, items: int, kind: str, rng: np.random.Generator
) -> tuple[Labels, np.ndarray]:
    """Return labels, and what of them both embeddings hold, (items, DIM)."""
    fixed = np.random.default_rng(99)
    index = np.repeat(np.arange(groups), items)
    if kind in ("group", "item"):
        centers = fixed.normal(size=(CLASSES, DIM))
        centers *= 3 / np.linalg.norm(centers, axis=1, keepdims=True)
        y = rng.permutation(groups)[index] if kind == "group" else rng.permutation(len(index))
        return Multiclass(y % CLASSES, tuple("abcd")), centers[y % CLASSES]
    values = 0.6 * rng.normal(size=(groups, 3))[index] + 0.8 * rng.normal(size=(len(index), 3))
    directions = 2 * fixed.normal(size=(3, DIM)) / np.sqrt(DIM)
    if kind == "numbers":
        return Regression(values, tuple("abc")), values @ directions
    tags = (values > 0).astype(float)
    return Multilabel(tags, tuple("abc")), 2 * tags @ directions


def make_trial(cell: tuple[int, int, str, str], seeds: int, trial: int) -> list[list[Drawn]]:
    """Return the results of two embeddings of a collection."""
    groups, items, kind, regime = cell
    rng = np.random.default_rng([trial, groups, items])
    labels, signal = make_labels(groups, items, kind, rng)
    index = np.repeat(np.arange(groups), items)
    ids = [str(i) for i in range(len(index))]
    instance = make_instance(
        "t", (METRICS[kind],), ids, labels, index.astype(str), None, range(seeds)
    )
    shared = rng.normal(size=(groups, DIM))[index] + rng.normal(size=(len(index), DIM))
    found = []
    for name in ("a", "b"):
        own = rng.normal(size=(groups, DIM))[index] + rng.normal(size=(len(index), DIM))
        x = (signal + (shared + own) / np.sqrt(2)).astype(np.float32)
        found.append(measure(x, instance, name, "linear", Regime.parse(regime)))
    return found


def cover(cell: tuple[int, int, str, str], seeds: int, trials: int) -> dict[str, float]:
    """Return the shares of intervals that hold the truth, and their mean width."""
    scores: list[Any] = []
    differences: list[Any] = []
    for trial in range(trials):
        (a,), (b,) = make_trial(cell, seeds, trial)
        builder = ReportBuilder(Report())
        builder.add([a, b])
        scores += [(r.score, r.low, r.high) for r in builder.report.results]
        differences += [(d.difference, d.low, d.high) for d in builder.report.differences]
    score, low, high = np.array(scores).T
    _, low_d, high_d = np.array(differences).T
    truth = score.mean()
    return {
        "score": truth,
        "holds": float(np.mean((low <= truth) & (truth <= high))),
        "width": float(np.mean(high - low)),
        "difference holds": float(np.mean((low_d <= 0) & (high_d >= 0))),
    }


def main(argv: list[str] | None = None) -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1, help="of splits and probes")
    parser.add_argument("--cell", action="append", choices=CELLS, help="default: all")
    args = parser.parse_args(argv)
    print("| collection | groups x items | metric | score | holds | width | difference holds |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    with threadpool_limits(1):
        for name in args.cell or CELLS:
            begin = time.perf_counter()
            groups, items, kind, _ = cell = CELLS[name]
            found = cover(cell, args.seeds, args.trials)
            figures = " | ".join(f"{100 * value:.1f}" for value in found.values())
            print(f"| {name} | {groups} x {items} | {METRICS[kind]} | {figures} |", flush=True)
            print(f"{time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
