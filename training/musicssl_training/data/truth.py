"""What is known of the recordings of a pack, from its scores and its index."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from musicssl_training.midi.activity import ACTIVITY, read_activity
from musicssl_training.midi.charts import STYLES
from musicssl_training.midi.score import NOBODY, SCORES, Score, read_scores

FEWEST = 6  # style files of a style that is asked: of fewer, a probe tells the file, not the style


def read_truth(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Score | None]:
    """Return what is known of each recording of a pack, None where nothing is.

    Parameters
    ----------
    folder
        Of the pack, with scores of every recording, or without.
    rows
        Of its index. Where one has ``activity``, that holds; ``style`` holds of what has a score.

    Raises
    ------
    ConfigError
        If there are scores, but not of every recording, or in a later format.
    """
    scored = (folder / SCORES).is_file()
    scores: list[Score] | list[None] = read_scores(folder, rows) if scored else [None] * len(rows)
    found: list[Score | None] = []
    for row, score, style in zip(rows, scores, known_styles(rows), strict=True):
        known = None if score is None else replace(score, style=style)
        if row.get(ACTIVITY) is not None:
            known = replace(known or NOBODY, activity=read_activity(row[ACTIVITY]))
        found.append(known)
    return found


def known_styles(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the style of each recording; nothing where it is none of `STYLES` or too few have it.

    Too few are less than six groups, which are the style files that played. In styles of three to
    five files a linear probe, taught by the other files, knew no accompaniment but some of metal.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        groups[row.get("style") or ""].add(str(row.get("group") or row["path"]))
    asked = {style for style in STYLES if len(groups[style]) >= FEWEST}
    return [style if (style := row.get("style")) in asked else "" for row in rows]
