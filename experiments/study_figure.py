"""Draw what the settings of a study do to each task, as one picture for the research notes.

    python experiments/study_figure.py out/cells --rows weighting --within workers=music \
        --against equal -o weightings.png
    python experiments/study_figure.py out/cells --rows encoder workers -o encoders.png

Each row is a level of one factor, or a pair of levels of two, each column a task. With
``--against`` numbers are points of a hundred beside that level, over the seeds that both have;
without it, scores.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from musicssl import MusicSSLError
from musicssl.errors import pick

TASKS = {
    "genre": "genre",
    "emotions": "emotions",
    "emotion tags": "emotion tags",
    "drum class": "drums",
    "instrument": "instrument",
    "pitch class": "pitch class",
    "octave": "octave",
    "key": "key",
    "tempo": "tempo",
    "instrument families": "families",
    "onsets": "onsets",
    "beats": "beats",
    "sounding pitch classes": "pitches",
}
MEAN = "mean of 13"
Scores = dict[str, NDArray[np.float64]]  # by seed


def read_cells(folder: Path, rows: list[str], within: dict[str, str]) -> dict[str, Scores]:
    """Return the scores of each row by seed, in points, the mean of the tasks last.

    What differs in other factors is averaged.

    Raises
    ------
    MusicSSLError
        If no cell matches, or one cannot be read.
    """
    found: dict[str, dict[str, list[NDArray[np.float64]]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(folder.glob("*.json")):
        try:
            cell: dict[str, Any] = json.loads(file.read_text("utf-8"))
            levels = cell["levels"]
            scores = [100 * cell["scores"][task]["score"] for task in TASKS]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise MusicSSLError(f"{file} is no finished cell of a study: {error!r}.") from error
        if any(levels.get(factor) != level for factor, level in within.items()):
            continue
        for factor in rows:
            pick(levels, factor, "--rows")
        name = ", ".join(levels[factor] for factor in rows)
        found[name][levels["seed"]].append(np.array([*scores, np.mean(scores)]))
    if not found:
        raise MusicSSLError(f"{folder} has no cells that match.")
    return {
        name: {seed: np.mean(cells, axis=0) for seed, cells in seeds.items()}
        for name, seeds in found.items()
    }


def compare(rows: dict[str, Scores], against: str) -> dict[str, Scores]:
    """Return the rows but one, less that one, of the seeds that both have."""
    reference = pick(rows, against, "--against")
    return {
        name: {seed: x - reference[seed] for seed, x in scores.items() if seed in reference}
        for name, scores in rows.items()
        if name != against
    }


def draw(rows: dict[str, Scores], title: str, *, differences: bool) -> Figure:
    """Return the picture, the best row on top."""
    means = {name: np.mean(list(scores.values()), axis=0) for name, scores in rows.items()}
    names = sorted(means, key=lambda name: -means[name][-1])
    values = np.array([means[name] for name in names])
    shade = values if differences else values - values.mean(axis=0)
    limit = max(2.0, np.quantile(np.abs(shade), 0.97))
    figure = Figure(figsize=(10.5, 1.5 + 0.36 * len(names)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shade, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    for i, j in np.ndindex(values.shape):
        text = f"{values[i, j]:+.1f}" if differences else f"{values[i, j]:.1f}"
        dark = abs(shade[i, j]) > 0.65 * limit
        weight = "bold" if j == len(TASKS) else "normal"
        color = "white" if dark else "black"
        axes.text(j, i, text, ha="center", va="center", color=color, weight=weight, size=8.5)
    axes.set_xticks(range(len(TASKS) + 1), [*TASKS.values(), MEAN], rotation=35, ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    seeds = [f"{name}  ({len(rows[name])})" for name in names]
    axes.set_yticks(range(len(names)), seeds)
    axes.axvline(len(TASKS) - 0.5, color="white", linewidth=4)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(title, loc="left", size=10)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", type=Path, help="folder of a study's cells")
    parser.add_argument("--rows", nargs="+", required=True, metavar="FACTOR")
    parser.add_argument("--within", nargs="*", default=[], metavar="FACTOR=LEVEL")
    parser.add_argument("--against", metavar="LEVEL")
    parser.add_argument("--title", default="")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args(argv)
    if strange := [one for one in options.within if "=" not in one]:
        parser.error(f"--within takes FACTOR=LEVEL, got {strange[0]}.")
    within = dict(one.split("=", 1) for one in options.within)
    rows = read_cells(options.cells, options.rows, within)
    if options.against:
        rows = compare(rows, options.against)
    mpl.rcParams["font.size"] = 9
    draw(rows, options.title, differences=bool(options.against)).savefig(options.out)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MusicSSLError as error:
        sys.exit(f"study_figure: {error}")
