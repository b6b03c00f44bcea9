"""What a run is made from, as ``runs.jsonl`` says it at each start: music, teachers, first weights.

A model card is written later, when packs may have grown, been taught anew, or gone; it tells of
what is recorded here.
"""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from musicssl.encoders import Encoder
from musicssl.errors import ConfigError
from musicssl.model import load_model
from musicssl_training.data import Sampler
from musicssl_training.data.facts import Facts
from musicssl_training.release.lineage import facts_of
from musicssl_training.train.widening import former_widths

log = logging.getLogger(__name__)
RUNS = "runs.jsonl"  # one line a start
ORIGINS = "origins"  # key of a line, which those of older versions lack
IDENTITY = ("model", "sha256", "kind", "size", "hop", "window")  # of a teacher of some name
Row = dict[str, Any]


def find_data(sampler: Sampler, shares: Sequence[float]) -> list[Row]:
    """Return what is told of each pack: its hash, sources, licences and hours."""
    data = []
    for source, share in zip(sampler.sources, shares, strict=True):
        lengths: dict[tuple[str, str], list[float]] = defaultdict(list)
        for item in source.items:
            seconds = item["samples"] / sampler.sample_rate
            lengths[item["source"], item["licence"]].append(seconds)
        data.append(
            {
                "pack": source.name,
                "share": share,
                "sha256": source.digest(),
                "sources": [
                    {
                        "source": name,
                        "licence": licence,
                        "recordings": len(seconds),
                        "hours": round(sum(seconds) / 3600, 3),
                    }
                    for (name, licence), seconds in sorted(lengths.items())
                ],
            }
            | players_of(source.items)
        )
    return data


def players_of(items: Sequence[Mapping[str, Any]]) -> Row:
    """Return which SoundFonts and sampled instruments played the scores among recordings."""
    fonts = Counter(item["font"] for item in items if item.get("font"))
    instruments = Counter(
        (one["name"], one["licence"])
        for item in items
        for one in item.get("instruments") or []
        if isinstance(one, dict)  # an index of recordings may have such a column, of text
    )
    said: Row = {
        "fonts": [{"name": name, "recordings": n} for name, n in sorted(fonts.items())],
        "instruments": [
            {"name": name, "licence": licence, "recordings": n}
            for (name, licence), n in sorted(instruments.items())
        ],
    }
    return {key: rows for key, rows in said.items() if rows}


def find_teachers(sampler: Sampler) -> list[Row]:
    """Return what the teachers are, and the hashes of what they said of each pack."""
    told = []
    for lessons in sampler.lessons.values():
        known = {
            source.name: one
            for source, one in zip(sampler.sources, lessons, strict=True)
            if one is not None
        }
        if known:
            facts = asdict(next(iter(known.values())).facts)
            hashes = {pack: one.digest() for pack, one in known.items()}
            told.append(facts | {"values_sha256": hashes})
    return told


def find_beginning(start_from: str, encoder: Encoder) -> Row:
    """Return what is told of the model that a run begins with, and how `encoder` widens it."""
    if not start_from:
        return {}
    with torch.random.fork_rng(devices=[]):  # a model draws weights before it reads its own
        narrow = load_model(start_from, device="cpu").encoder
    widths = former_widths(narrow, encoder)
    told: Row = {"began_with": facts_of(start_from)}
    return told | {"widened_from": widths} if widths else told


def find_origins(sampler: Sampler, shares: Sequence[float], beginning: Mapping[str, Any]) -> Row:
    """Return everything that a model card says of what a run is made from.

    Parameters
    ----------
    sampler
        Of its music.
    shares
        Of the excerpts, one a source.
    beginning
        From `find_beginning`.
    """
    return {
        "data": find_data(sampler, shares),
        "teachers": find_teachers(sampler),
        **beginning,
    }


def read_starts(folder: Path, step: int) -> list[Row]:
    """Return the starts of a run that its weights come from, in order.

    Parameters
    ----------
    folder
        Of the run.
    step
        That it has come to. A start of which nothing was saved has left nothing in the weights.
    """
    starts = [row for row in _rows(folder / RUNS) if isinstance(row.get("step"), int)]
    ends = [*(start["step"] for start in starts[1:]), step]
    return [start for start, end in zip(starts, ends, strict=False) if start["step"] < end]


def find_recorded_beginning(starts: Sequence[Row]) -> Row:
    """Return what the first start says of the model that it began with; nothing if it is silent."""
    origins = starts[0].get(ORIGINS, {}) if starts else {}
    return {key: origins[key] for key in ("began_with", "widened_from") if key in origins}


def check_teachers(folder: Path, starts: Sequence[Row], teachers: Sequence[Facts]) -> None:
    """Refuse to go on with another teacher than the one that a run has learnt from.

    Parameters
    ----------
    folder
        Of the run.
    starts
        From `read_starts`.
    teachers
        Whose values lie beside the packs now.

    Raises
    ------
    ConfigError
        If one has the name of another.
    """
    for start in starts:
        told = {row["name"]: row for row in start.get(ORIGINS, {}).get("teachers", [])}
        older = {name: {"sha256": sha256} for name, sha256 in start.get("teachers", {}).items()}
        for teacher in teachers:
            then, now = (older | told).get(teacher.name, {}), asdict(teacher)
            if any(then.get(key, now[key]) != now[key] for key in IDENTITY):
                raise ConfigError(
                    f"{folder} has learnt from another teacher of the name {teacher.name} "
                    f"({_named(then)}) than the one whose values lie beside the packs now "
                    f"({_named(now)}). Put the values of then back (delete teacher-"
                    f"{teacher.name}.* and run `musicssl-train teach` with that teacher), or "
                    "begin a run in another folder."
                )


def find_changes(then: Row, now: Row) -> list[str]:
    """Return in words which packs and teachers' values are no longer what they were.

    Parameters
    ----------
    then, now
        From `find_origins`.
    """
    told = []
    for pack in then["data"]:
        named = [one for one in now["data"] if one["pack"] == pack["pack"]]
        if named and pack["sha256"] not in [one["sha256"] for one in named]:
            counts = [sum(row["recordings"] for row in one["sources"]) for one in (pack, named[0])]
            told.append(f"{pack['pack']} ({counts[0]} recordings then, {counts[1]} now)")
    teachers = {one["name"]: one for one in now["teachers"]}
    for one in then["teachers"]:
        other = teachers.get(one["name"])
        if other is None:
            told.append(f"teacher {one['name']} (no values now)")
        elif any(one[key] != other[key] for key in IDENTITY):
            told.append(f"teacher {one['name']} ({_named(one)} then, {_named(other)} now)")
        elif one["values_sha256"] != other["values_sha256"]:
            told.append(f"the values of teacher {one['name']}")
    return told


def warn_of_changes(starts: Sequence[Row], origins: Row) -> None:
    """Say what a run that goes on will hear that is not what it has heard."""
    then = starts[-1].get(ORIGINS) if starts else None
    if then and (changed := find_changes(then, origins)):
        log.warning("changed since the run was last started: %s", "; ".join(changed))


def _named(teacher: Mapping[str, Any]) -> str:
    """Return model and hash of a teacher, as far as they are known."""
    known = (teacher.get("model", ""), teacher.get("sha256", "")[:12])
    return ", ".join(text for text in known if text) or "without a name"


def _rows(file: Path) -> list[Row]:
    """Return the lines of a file that are whole tables."""
    rows = []
    for line in file.read_text("utf-8", errors="replace").splitlines() if file.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:  # cut short
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
