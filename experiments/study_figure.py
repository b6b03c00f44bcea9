"""Draw what the settings of a study do to each task, as one picture for the research notes.

    python experiments/study_figure.py study.toml out --rows weighting --within workers=music \
        --against equal -o weightings.png
    python experiments/study_figure.py study.toml out --rows encoder workers -o encoders.png
    python experiments/study_figure.py study.toml out --parts -o parts.png

Each row is a level of one factor, or a pair of levels of two, each column a task. With
``--against`` numbers are points of a hundred beside that level, over the seeds that both have;
without it, scores. ``--parts`` shows what each part that is screened adds, in bold where its
interval excludes 0.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from musicssl import MusicSSLError
from musicssl.errors import pick
from musicssl.folder.paths import writing
from musicssl_training.study.config import SEED, Study, read_study
from musicssl_training.study.folder import StudyFolder
from musicssl_training.study.report.words import excludes_zero
from musicssl_training.study.summary import summarize

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
Sure = list[bool]  # by task


def read_cells(
    study: Study, folder: StudyFolder, rows: list[str], within: dict[str, str]
) -> dict[str, Scores]:
    """Return the scores of each row by seed, in points, the mean of the tasks last.

    What differs in other factors is averaged.

    Raises
    ------
    MusicSSLError
        If a factor or level is not known, or no finished cell matches.
    """
    levels = {factor.name: dict.fromkeys(factor.labels) for factor in study.factors}
    for factor in rows:
        pick(levels, factor, "--rows")
    for factor, level in within.items():
        pick(pick(levels, factor, "--within"), level, f"--within: level of {factor}")
    found: dict[str, dict[str, list[NDArray[np.float64]]]] = defaultdict(lambda: defaultdict(list))
    for cell in study.cells:
        if any(cell.levels[factor] != level for factor, level in within.items()):
            continue
        if result := folder.result(cell):
            scores = [100 * pick(result["scores"], task, "task")["score"] for task in TASKS]
            name = ", ".join(cell.levels[factor] for factor in rows)
            found[name][cell.levels[SEED]].append(np.array([*scores, np.mean(scores)]))
    if not found:
        raise MusicSSLError(f"{folder.root} has no finished cells that match.")
    return {
        name: {seed: np.mean(cells, axis=0) for seed, cells in seeds.items()}
        for name, seeds in found.items()
    }


def read_parts(study: Study, folder: StudyFolder) -> tuple[dict[str, Scores], dict[str, Sure]]:
    """Return what each part adds, in points, and where its interval excludes 0.

    Raises
    ------
    MusicSSLError
        If the study has no parts, cells of other tasks, or too few to tell what they add.
    """
    if not study.parts:
        raise MusicSSLError("the study screens no parts: --parts has nothing to show.")
    if not any(folder.result(cell) for cell in study.cells):
        raise MusicSSLError(f"{folder.root} has no finished cells of this study.")
    effects = summarize(study, folder)["effects"]
    if (tasks := set(effects) - {"mean"}) != set(TASKS):
        strange = ", ".join(sorted(tasks ^ set(TASKS)))
        raise MusicSSLError(f"--parts shows {len(TASKS)} tasks; lacking, or more: {strange}.")
    rows, sure = {}, {}
    for part in study.parts:
        found = [effects[task]["added"][part] for task in (*TASKS, "mean")]
        if any(one["low"] is None for one in found):
            raise MusicSSLError(f"too few finished cells to tell what {part} adds.")
        rows[part] = {"": np.array([one["value"] for one in found])}
        sure[part] = [excludes_zero(one) for one in found]
    return rows, sure


def compare(rows: dict[str, Scores], against: str) -> dict[str, Scores]:
    """Return the rows but one, less that one, of the seeds that both have.

    Raises
    ------
    MusicSSLError
        If there is no such row, or no seed that another one shares with it.
    """
    reference = pick(rows, against, "--against")
    shared = {
        name: {seed: x - reference[seed] for seed, x in scores.items() if seed in reference}
        for name, scores in rows.items()
        if name != against
    }
    if not any(shared.values()):
        raise MusicSSLError(f"no other finished cell has a seed of {against!r} (--against).")
    return {name: scores for name, scores in shared.items() if scores}


def draw(
    rows: dict[str, Scores], title: str, *, differences: bool, sure: dict[str, Sure] | None = None
) -> Figure:
    """Return the picture, the best row on top; in bold what is sure, or else the mean."""
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
        bold = j == len(TASKS) if sure is None else sure[names[i]][j]
        weight = "bold" if bold else "normal"
        color = "white" if dark else "black"
        axes.text(j, i, text, ha="center", va="center", color=color, weight=weight, size=8.5)
    axes.set_xticks(range(len(TASKS) + 1), [*TASKS.values(), MEAN], rotation=35, ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    seeds = names if sure else [f"{name}  ({len(rows[name])})" for name in names]
    axes.set_yticks(range(len(names)), seeds)
    axes.axvline(len(TASKS) - 0.5, color="white", linewidth=4)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(title, loc="left", size=10)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="its TOML file")
    parser.add_argument("folder", type=Path, help="where it was run")
    shown = parser.add_mutually_exclusive_group(required=True)
    shown.add_argument("--rows", nargs="+", metavar="FACTOR")
    shown.add_argument("--parts", action="store_true")
    parser.add_argument("--within", nargs="*", default=[], metavar="FACTOR=LEVEL")
    parser.add_argument("--against", metavar="LEVEL")
    parser.add_argument("--title", default="")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args(argv)
    if options.parts and (options.against or options.within):
        parser.error("--parts goes with neither --within nor --against.")
    if strange := [one for one in options.within if "=" not in one]:
        parser.error(f"--within takes FACTOR=LEVEL, got {strange[0]}.")
    within = dict(one.split("=", 1) for one in options.within)
    study, folder = read_study(options.study), StudyFolder(options.folder)
    sure = None
    if options.parts:
        rows, sure = read_parts(study, folder)
    else:
        rows = read_cells(study, folder, options.rows, within)
    if options.against:
        rows = compare(rows, options.against)
    differences = options.parts or bool(options.against)
    with mpl.rc_context({"font.size": 9, "text.parse_math": False}):  # a $ in a name is one
        figure = draw(rows, options.title, differences=differences, sure=sure)
        kinds = figure.canvas.get_supported_filetypes()
        if (kind := options.out.suffix[1:]) not in kinds:
            parser.error(f"-o: {kind!r} is no kind of picture; choose from {', '.join(kinds)}.")
        with writing(options.out):
            figure.savefig(options.out)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MusicSSLError as error:
        sys.exit(f"study_figure: {error}")
