"""A linear probe on a folder of labelled recordings of your own; needs scikit-learn.

ITEMS.csv has a column `path` (from its own folder on), labels, and what may not stand on both sides
of a split: the artist, the player, the machine. Text labels are classified; columns of numbers are
predicted by ridge regression.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from models import load, random_model
from numpy.typing import NDArray
from probes import add_options, interval, log_mel
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sounds import RATE
from threadpoolctl import threadpool_limits

from musicssl import MusicEncoder, MusicSSLError
from musicssl.audio import open_source

FOLDS = 5
GRID = (0.001, 0.01, 0.1)  # C of the logistic regression
ALPHAS = (10.0, 100.0, 1e3, 1e4, 1e5)  # of the ridge regression

Array = NDArray[np.float64]


def folds(groups: NDArray[np.str_], seed: int, count: int) -> Iterator[tuple[Array, Array]]:
    """Yield what trains and what tests; every group is tested once."""
    names = np.random.default_rng([seed, 11]).permutation(np.unique(groups))
    for part in np.array_split(names, min(count, len(names))):
        test = np.isin(groups, part)
        assert not set(groups[test]) & set(groups[~test])
        yield np.flatnonzero(~test), np.flatnonzero(test)


def classify(x: Array, y: Array, groups: NDArray[np.str_], seed: int) -> Array:
    """Return 1 for every item that is named rightly, 0 for the others."""
    right = np.zeros(len(y))
    for train, test in folds(groups, seed, FOLDS):
        fit, held = next(folds(groups[train], seed, FOLDS))
        inner, outer = y[train], x[train]
        scores = [_fit(outer[fit], inner[fit], c).score(outer[held], inner[held]) for c in GRID]
        best = _fit(x[train], y[train], GRID[int(np.argmax(scores))])
        right[test] = best.predict(x[test]) == y[test]
    return right


def _fit(x: Array, y: Array, c: float):
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300)).fit(x, y)


def regress(x: Array, y: Array, groups: NDArray[np.str_], seed: int) -> Array:
    """Return the prediction for every item, shape (items, labels)."""
    out = np.zeros_like(y)
    for train, test in folds(groups, seed, FOLDS):
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS)).fit(x[train], y[train])
        out[test] = model.predict(x[test])
    return out


def correlation(a: Array, b: Array) -> float:
    """Return Pearson's r, averaged over the columns."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    r = (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return float(r.mean())


def judge(
    x: Array, labels: Array, groups: NDArray[np.str_], numeric: bool, seeds: int
) -> tuple[float, list[float]]:
    """Return accuracy or mean r over seeds, and its 95 % interval over re-drawn groups."""
    found = [(regress if numeric else classify)(x, labels, groups, s) for s in range(seeds)]

    def score(items: NDArray[np.int64]) -> float:
        if numeric:
            return float(np.mean([correlation(f[items], labels[items]) for f in found]))
        return float(np.mean([f[items].mean() for f in found]))

    members = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    random = np.random.default_rng(0)
    draws = [
        score(
            np.concatenate([members[i] for i in random.integers(len(members), size=len(members))])
        )
        for _ in range(1000)
    ]
    return score(np.arange(len(labels))), interval(np.array(draws))


def read(path: Path) -> NDArray[np.float32]:
    """Return a recording, mono, at 22,050 Hz."""
    with open_source(path, sample_rate=RATE) as source:
        return np.concatenate(list(source.blocks()))


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("items", type=Path, metavar="ITEMS.csv")
    add("--label", action="append", required=True, help="column, or several of numbers: a,b,c")
    add("--group", action="append", required=True, help="for each label; several joined: a,b")
    add_options(parser)
    options = parser.parse_args(argv)
    if len(options.label) != len(options.group):
        parser.error("give one --group for each --label.")
    torch.set_num_threads(options.threads)
    try:
        with threadpool_limits(options.threads):
            results = run(options)
    except MusicSSLError as error:
        print(f"recordings.py: {error}", file=sys.stderr)
        return 2
    for label, rows in results.items():
        for name, (value, (low, high)) in rows.items():
            print(f"| {label} | {name} | {value:.3f} [{low:.3f}, {high:.3f}] |")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    return 0


def run(options: argparse.Namespace) -> dict[str, dict[str, tuple[float, list[float]]]]:
    """Return score and interval by label and embedding."""
    with options.items.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    clips = [read(options.items.parent / row["path"]) for row in rows]
    model = load(options.model)

    def embed(model: MusicEncoder) -> Array:
        return np.asarray(model.embed(clips, RATE, layer=options.layer, pooling=options.pooling))

    features = {
        model.model_id: embed(model),
        "its architecture, random weights": embed(random_model(model.config, 1)),
        "log-mel statistics": log_mel([np.pad(c, (0, max(0, 2048 - len(c)))) for c in clips]),
    }
    results: dict[str, dict[str, tuple[float, list[float]]]] = {}
    for label, group in zip(options.label, options.group, strict=True):
        columns = label.split(",")
        groups = np.array(["/".join(row[g] for g in group.split(",")) for row in rows])
        numeric = len(columns) > 1
        labels = np.array([[row[c] for c in columns] for row in rows])
        y = labels.astype(float) if numeric else labels[:, 0]
        results[label] = {
            name: judge(x.astype(np.float64), y, groups, numeric, options.seeds)
            for name, x in features.items()
        }
        print(f"done: {label}", file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
