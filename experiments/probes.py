"""Probe the embeddings for music that a linear classifier can read; needs no data.

Needs scikit-learn. Every clip is made by `sounds.py` and `drums.py`: no pre-training heard them.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drums import drum_loop
from numpy.random import Generator
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sounds import INSTRUMENTS, RATE, play
from threadpoolctl import threadpool_limits

from musicssl import MusicEncoder, MusicSSLError

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
from models import MODEL_HELP, load, random_model

CHORDS = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
    "sus4": (0, 5, 7),
    "dominant 7": (0, 4, 7, 10),
}
TEMPI = np.geomspace(70, 180, 8)  # beats a minute
GRID = (0.001, 0.01, 0.1, 1.0)  # C of the logistic regression
FOLDS = 3

Features = NDArray[np.float32]  # (clips, values)
Labels = NDArray[np.int64]  # (clips,)
Clips = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Task:
    """Clips with what to predict; no value of a grouping stands on both sides of a split."""

    name: str
    unseen: str  # what is new in the test
    labels: Labels
    groupings: tuple[Labels, ...]
    units: Labels  # what the bootstrap draws


def notes(seed: int, copies: int) -> tuple[Clips, list[Task]]:
    """Return single notes, C3-B5 on every instrument: pitch class and instrument."""
    clips, rows = [], []
    for copy in range(copies):
        for i, draw in enumerate(INSTRUMENTS.values()):
            for pitch in range(36):
                rng = np.random.default_rng([seed, 0, copy, i, pitch])
                midi = 48 + pitch + rng.uniform(-0.18, 0.18)
                clips.append(play(draw(rng), [midi], RATE, rng))
                rows.append((pitch, i))
    pitch, family = np.array(rows, np.int64).T
    octave = pitch // 12
    return clips, [
        Task("pitch class", "timbres", pitch % 12, (family,), family),
        Task("pitch class", "timbres and octave", pitch % 12, (family, octave), family),
        Task("instrument", "octave and patches", family, (octave,), pitch),
    ]


def chords(seed: int, copies: int) -> tuple[Clips, list[Task]]:
    """Return chords of 1.5 s: random root and voicing, every instrument."""
    clips, rows = [], []
    for copy in range(copies):
        for i, draw in enumerate(INSTRUMENTS.values()):
            for quality, intervals in enumerate(CHORDS.values()):
                rng = np.random.default_rng([seed, 1, copy, i, quality])
                midi = _voicing(intervals, rng)
                strum = rng.uniform(0, 0.03)
                clips.append(play(draw(rng), midi, 3 * RATE // 2, rng, strum=strum))
                rows.append((quality, i, round(midi[0]) % 12))
    quality, family, bass = np.array(rows, np.int64).T
    return clips, [
        Task("chord's bass note", "timbres", bass, (family,), family),
        Task("chord quality", "timbres", quality, (family,), family),
    ]


def _voicing(intervals: tuple[int, ...], rng: Generator) -> list[float]:
    """Return MIDI numbers in any inversion, close or open, sometimes with one note doubled."""
    midi = 48 + rng.integers(12) + np.array(intervals) + rng.uniform(-0.15, 0.15)
    midi = midi + 12 * rng.integers(0, 2, len(midi))
    if rng.random() < 0.5:
        midi = np.append(midi, midi[rng.integers(len(midi))] + 12)
    return sorted(midi)


def loops(seed: int, styles: int, copies: int) -> tuple[Clips, list[Task]]:
    """Return drum and bass loops of 5 s; a style is a kit with a pattern."""
    clips, rows = [], []
    for style in range(styles):
        for tempo, bpm in enumerate(TEMPI):
            for copy in range(copies):
                rng = np.random.default_rng([seed, 2, style, tempo, copy])
                same = np.random.default_rng([seed, 3, style])
                clips.append(drum_loop(same, bpm * rng.uniform(0.98, 1.02), 5 * RATE, rng))
                rows.append((tempo, style))
    tempo, style = np.array(rows, np.int64).T
    return clips, [Task("tempo", "drums and patterns", tempo, (style,), style)]


def log_mel(clips: Clips) -> Features:
    """Return mean and standard deviation over time of 128 log-mel bands: the baseline."""
    n_fft, hop, bands = 2048, 512, 128
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.arange(n_fft // 2 + 1) * RATE / n_fft
    below = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    above = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    bank = torch.from_numpy(np.maximum(0, np.minimum(below, above))).float()
    window = torch.hann_window(n_fft)
    rows = []
    for clip in clips:
        audio = torch.from_numpy(clip)
        spectrum = torch.stft(audio, n_fft, hop, window=window, return_complex=True)
        mel = torch.log10(bank @ spectrum.abs().square() + 1e-6)
        rows.append(torch.cat([mel.mean(1), mel.std(1, correction=0)]).numpy())
    return np.stack(rows)


Split = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # which clips train, which test


def split(groupings: tuple[Labels, ...], seed: int) -> Split:
    """Hold out a third of each grouping; clips on one side by one and not by another drop out.

    `FOLDS` seeds in a row hold out every value once.
    """
    train = test = np.ones(len(groupings[0]), bool)
    for groups in groupings:
        order = np.random.default_rng([seed // FOLDS, 7]).permutation(np.unique(groups))
        parts = np.array_split(order, min(FOLDS, len(order)))
        held = np.isin(groups, parts[seed % len(parts)])
        train, test = train & ~held, test & held
    for groups in groupings:
        assert not set(groups[train]) & set(groups[test])
    return train, test


def predict(x: Features, y: Labels, groupings: tuple[Labels, ...], outer: Split) -> Labels:
    """Train a standardised logistic regression on one side, and predict the other.

    Its C is the best on clips held out of the training side in the same manner.
    """
    train, test = outer
    inner_x, inner_y = x[train], y[train]
    inner_groupings = tuple(groups[train] for groups in groupings)
    scores = np.zeros(len(GRID))
    for seed in range(FOLDS):
        fit, held = split(inner_groupings, seed)
        for i, model in enumerate(_fits(inner_x[fit], inner_y[fit], GRID)):
            scores[i] += np.sum(model(inner_x[held]) == inner_y[held])
    (best,) = _fits(inner_x, inner_y, (GRID[int(scores.argmax())],))
    found: Labels = best(x[test])
    return found


def _fits(x: Features, y: Labels, grid: tuple[float, ...]) -> Iterator[Any]:
    """Yield a trained prediction function for each C."""
    scaler = StandardScaler().fit(x)
    for c in grid:
        model = LogisticRegression(C=c, max_iter=500).fit(scaler.transform(x), y)
        yield lambda new, model=model: model.predict(scaler.transform(new))


def hits(x: Features, task: Task, seeds: int) -> tuple[NDArray[np.float64], Labels]:
    """Return 1 or 0 for every test clip of every seed, and its unit for the bootstrap."""
    right, units = [], []
    for seed in range(seeds):
        outer = split(task.groupings, seed)
        test = outer[1]
        right.append(predict(x, task.labels, task.groupings, outer) == task.labels[test])
        units.append(task.units[test])
    return np.concatenate(right).astype(float), np.concatenate(units)


def bootstrap(right: NDArray[np.float64], units: Labels, draws: int = 2000) -> NDArray[np.float64]:
    """Return accuracies of re-draws of whole units; the same draws for every embedding."""
    names, index = np.unique(units, return_inverse=True)
    total, count = np.bincount(index, right), np.bincount(index)
    drawn = np.random.default_rng(0).integers(len(names), size=(draws, len(names)))
    scores: NDArray[np.float64] = total[drawn].sum(1) / count[drawn].sum(1)
    return scores


def embeddings(
    clips: Clips, models: list[tuple[str, MusicEncoder]], layer: Any, pooling: str | None
) -> Iterator[tuple[str, Features]]:
    """Yield the features to compare, under the name of their row; a row may come repeatedly."""
    yield "log-mel statistics", log_mel(clips)
    for name, model in models:
        yield name, np.asarray(model.embed(clips, RATE, layer=layer, pooling=pooling))


def interval(scores: NDArray[np.float64]) -> list[float]:
    """Return the middle 95 %."""
    return [float(edge) for edge in np.quantile(scores, [0.025, 0.975])]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Return every accuracy with its interval, by task and embedding."""
    model = load(options.model)
    models = [(f"{model.model_id}", model)]
    models += [
        ("its architecture, random weights", random_model(model.config, 1 + seed))
        for seed in range(options.random_seeds)
    ]
    copies = 1 if options.quick else 2
    makers = {
        "notes": lambda: notes(options.seed, copies),
        "chords": lambda: chords(options.seed, 9 * copies),
        "loops": lambda: loops(options.seed, 12 if options.quick else 36, copies),
    }
    results: dict[str, Any] = {}
    for what, make in makers.items():
        begin = time.perf_counter()
        clips, tasks = make()
        _say(f"{len(clips)} {what} in {time.perf_counter() - begin:.0f} s")
        gathered: dict[str, list[Features]] = {}
        for name, x in embeddings(clips, models, options.layer, options.pooling):
            gathered.setdefault(name, []).append(x)
        _say(f"embedded by {time.perf_counter() - begin:.0f} s")
        for task in tasks:
            results[f"{task.name}, unseen {task.unseen}"] = judge(task, gathered, options.seeds)
        _say(f"probed by {time.perf_counter() - begin:.0f} s")
    return {
        "model": model.model_id,
        "weights_sha256": model.weights_sha256,
        "layer": options.layer,
        "pooling": options.pooling,
        "seeds": options.seeds,
        "random_seeds": options.random_seeds,
        "synthesis_seed": options.seed,
        "tasks": results,
    }


def judge(task: Task, gathered: dict[str, list[Features]], seeds: int) -> dict[str, Any]:
    """Return accuracy and interval for each row, and the first model's lead over the others."""
    classes = len(np.unique(task.labels))
    rows, draws = {}, {}
    for name, versions in gathered.items():
        found = [hits(x, task, seeds) for x in versions]
        right, units = np.mean([f[0] for f in found], axis=0), found[0][1]
        draws[name] = bootstrap(right, units)
        rows[name] = {
            "accuracy": float(right.mean()),
            "interval": interval(draws[name]),
            "each": [float(f[0].mean()) for f in found],
            "dim": versions[0].shape[1],
        }
    baseline, first, *others = rows
    lead = {
        name: {
            "difference": rows[first]["accuracy"] - rows[name]["accuracy"],
            "interval": interval(draws[first] - draws[name]),
        }
        for name in (baseline, *others)
    }
    return {
        "classes": classes,
        "chance": float(np.bincount(task.labels).max() / len(task.labels)),
        "clips": len(task.labels),
        "units": len(np.unique(task.units)),
        "rows": rows,
        "lead": lead,
    }


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown: accuracy in per cent, 95 % interval in brackets."""
    tasks = results["tasks"]
    baseline, model, *others = next(iter(tasks.values()))["rows"]
    order = [model, *others, baseline]
    head = ["task", *order, "chance", *[f"lead over {name}" for name in order[1:]]]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for name, task in tasks.items():
        cells = [
            _cell(task["rows"][row]["accuracy"], task["rows"][row]["interval"]) for row in order
        ]
        cells += [f"{100 * task['chance']:.1f}"]
        leads = [task["lead"][row] for row in order[1:]]
        cells += [_cell(lead["difference"], lead["interval"], "+") for lead in leads]
        lines.append(_row([f"{name} ({task['classes']})", *cells]))
    return "\n".join(lines)


def _cell(value: float, edges: list[float], sign: str = "") -> str:
    low, high = edges
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse_layer(text: str) -> Any:
    """Read "all", "5" or "2,5,8"."""
    return text if text == "all" else [int(number) for number in text.split(",")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every probing script takes."""
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--layer", type=parse_layer, help="as 5, 2,5,8 or all; default the model's")
    parser.add_argument("--pooling", help="mean, max or meanstd; default the model's")
    parser.add_argument("--seeds", type=int, default=3, help="of the splits; default %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--random-seeds", type=int, default=3, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the synthesis")
    parser.add_argument("--quick", action="store_true", help="fewer clips: a check, not a result")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.seeds < 1 or options.random_seeds < 1 or options.threads < 1:
        parser.error("--seeds, --random-seeds and --threads must be at least 1.")
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    try:
        with threadpool_limits(options.threads):
            results = run(options)
    except MusicSSLError as error:
        print(f"probes.py: {error}", file=sys.stderr)
        return 2
    _say(f"{time.perf_counter() - begin:.0f} s in all")
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
