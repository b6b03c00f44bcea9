"""What the index of a corpus says of obtained recordings."""

from pathlib import Path, PurePosixPath
from typing import Any

from musicssl.errors import ConfigError
from musicssl_training.corpus.extraction import EVIDENCE, MUSIC, Loot
from musicssl_training.corpus.mix import read_activity_of
from musicssl_training.corpus.patterns import matcher
from musicssl_training.corpus.recipe import FolderSource, SourceSpec
from musicssl_training.data.index import read_rows
from musicssl_training.midi.activity import ACTIVITY

Row = dict[str, Any]
HELD_BACK = "held_back"  # why a recording is not to be listed, or nothing
FROM_INDEX = ("artist", "title")


def recordings(spec: SourceSpec, loot: Loot, out: Path) -> list[Row]:
    """Return a row for each recording of a source.

    ``path`` begins with the source's name, ``inside`` is the path in it, ``of`` its name. Sums of
    stems have ``mixed``, their folder, and ``activity``, see `midi.activity.read_activity`.

    Raises
    ------
    ConfigError
        If the index in the source cannot be read.
    """
    rules = [(matcher(rule.paths), rule.licence) for rule in spec.licences]
    index = _read_index(spec, out)
    stated = " ".join(sorted(f"{EVIDENCE}/{spec.name}/{path}" for path in loot.evidence))
    rows = []
    for file in loot.files:
        row: Row = {
            "path": f"{spec.name}/{file.path}",
            "inside": file.path,
            "of": spec.name,
            "source": spec.name,
            "licence": next((own for matches, own in rules if matches(file.path)), ""),
            "evidence": "; ".join(text for text in (stated, spec.note) if text),
            "sha256": file.sha256,
            "size": file.size,
            HELD_BACK: "",
        }
        if file.path in loot.mixed:
            row["mixed"] = f"{spec.name}/{PurePosixPath(file.path).parent}"
            row[ACTIVITY] = read_activity_of(spec, out / MUSIC / spec.name, file.path)
        if index is not None:
            row[HELD_BACK] = _describe(row, index.get(file.path))
        row["licence"] = row["licence"] or spec.licence
        if not row["licence"] and not row[HELD_BACK]:
            row[HELD_BACK] = "no licence is stated for it"
        rows.append(row)
    return rows


def _read_index(spec: SourceSpec, out: Path) -> dict[str, Row] | None:
    """Return the rows of the index in a source by path, if there is to be one."""
    if not isinstance(spec, FolderSource) or not spec.index:
        return None
    file = out / EVIDENCE / spec.name / spec.index
    if not file.is_file():
        raise ConfigError(f"it holds no index {spec.index}.")
    return {row["path"]: row for row in read_rows(file, ("path", "licence"))}


def _describe(row: Row, about: Row | None) -> str:
    """Add what the source's own index says of a recording; return why it cannot be used."""
    if about is None:
        return "the source's index does not name it"
    row["licence"] = row["licence"] or about["licence"]  # a rule of the recipe knows better
    row["source"] = about.get("source") or row["source"]
    row |= {column: about[column] for column in FROM_INDEX if about.get(column)}
    if about.get("evidence"):
        row["evidence"] = "; ".join(t for t in (row["evidence"], about["evidence"]) if t)
    try:
        if about.get("duration_s"):
            row["stated_seconds"] = float(about["duration_s"])
    except ValueError:
        return f"the source's index states no number of seconds: {about['duration_s']!r}"
    return ""
