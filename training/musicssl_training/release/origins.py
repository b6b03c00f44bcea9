"""What the weights of a run come from: as it recorded that, or, of an older run, what lies there.

Packs may have grown since, teachers been changed, models been overwritten; what a card says is
about those that the run has learnt from.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musicssl.encoders import Encoder
from musicssl.errors import ConfigError, ModelError
from musicssl_training.release.lineage import facts_of
from musicssl_training.train.record import (
    IDENTITY,
    ORIGINS,
    Row,
    find_beginning,
    find_changes,
    find_recorded_beginning,
)

log = logging.getLogger(__name__)
SAME = ("source", "licence")  # what two rows of one pack's recordings have in common


def trace_music(run: Path, starts: Sequence[Row], here: Row) -> Row:
    """Return data and teachers that the weights of a run come from.

    Parameters
    ----------
    run
        Folder, for messages.
    starts
        From `read_starts`.
    here
        Data and teachers that lie there now, from `find_origins`.

    Raises
    ------
    ConfigError
        If the run has recorded nothing but hashes, and what lies there has others.
    """
    known = [start[ORIGINS] for start in starts if ORIGINS in start]
    if len(known) < len(starts) or not starts:
        log.info(
            "%s does not record all that it was trained on, as older versions did not: the packs "
            "and teachers' values that lie there now are taken to be those of then",
            run,
        )
    made = [start.get(ORIGINS) or _recognize(run, start, [*known, here]) for start in starts]
    if changed := find_changes(made[-1], here) if made else []:
        log.warning(
            "changed since %s was trained on it: %s. The card tells of what it was trained on; the "
            "layers are standardized on what lies there now.",
            run,
            "; ".join(changed),
        )
    latest = made[-1] if made else here
    data, teachers = list(latest["data"]), list(latest["teachers"])
    for one in reversed(made[:-1]):
        data += [pack for pack in one["data"] if not any(_holds(other, pack) for other in data)]
        teachers += [row for row in one["teachers"] if not any(_is_same(row, t) for t in teachers)]
    return {"data": data} | ({"teachers": teachers} if teachers else {})


def trace_beginning(starts: Sequence[Row], start_from: str, encoder: Encoder) -> Row:
    """Return what is told of the model that a run began with, and how it was widened.

    Parameters
    ----------
    starts
        From `read_starts`.
    start_from
        As the run's settings name the model.
    encoder
        Of the run.

    Raises
    ------
    ModelError
        If the run has not recorded it, and it cannot be found.
    """
    if not starts or ORIGINS not in starts[0]:
        return find_beginning(start_from, encoder)
    found = find_recorded_beginning(starts)
    if "began_with" in found and start_from:
        then = found["began_with"]["weights_sha256"]
        try:
            now = facts_of(start_from)["weights_sha256"]
        except ModelError:
            now = "gone"
        if now != then:
            log.warning(
                "start_from %r %s; the card tells of the model of then (%s)",
                start_from,
                "cannot be found any more" if now == "gone" else "is another model by now",
                then[:12],
            )
    return found


def _recognize(run: Path, start: Row, known: Sequence[Row]) -> Row:
    """Return data and teachers of which a start has recorded hashes alone.

    Raises
    ------
    ConfigError
        If none of those that are known has the same.
    """
    packs, teachers = start.get("sources"), start.get("teachers")
    data = [one["data"] for one in known if packs in (None, _hashes(one["data"], "pack"))]
    told = [one["teachers"] for one in known if teachers in (None, _hashes(one["teachers"]))]
    if data and told:
        return {"data": data[-1], "teachers": told[-1]}
    here = known[-1]
    now = _hashes(here["data"], "pack") if not data else _hashes(here["teachers"])
    then = (packs if not data else teachers) or {}
    names = ", ".join(name for name in {**then, **now} if then.get(name) != now.get(name))
    raise ConfigError(
        f"{run} was trained on {'other packs' if not data else 'other teachers'} than those that "
        f"lie there now ({names}), and has recorded nothing of them but their hashes. Put those "
        "of then back to release it."
    )


def _hashes(rows: Sequence[Mapping[str, Any]], name: str = "name") -> dict[str, str]:
    """Return the hashes of packs or teachers by their names."""
    return {row[name]: row["sha256"] for row in rows}


def _holds(later: Row, earlier: Row) -> bool:
    """Tell whether a pack lists everything that one before it did: it has grown, or is the same."""
    rows = {tuple(row[key] for key in SAME): row["recordings"] for row in later["sources"]}
    return (
        later["pack"] == earlier["pack"]
        and all(
            rows.get(tuple(row[key] for key in SAME), 0) >= row["recordings"]
            for row in earlier["sources"]
        )
        and all(
            {one["name"] for one in earlier.get(kind, [])}
            <= {one["name"] for one in later.get(kind, [])}
            for kind in ("fonts", "instruments")
        )
    )


def _is_same(one: Row, other: Row) -> bool:
    """Tell whether two rows are of one teacher."""
    return all(one[key] == other[key] for key in ("name", *IDENTITY))
