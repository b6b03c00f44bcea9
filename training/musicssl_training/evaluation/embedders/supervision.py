"""Supervision of a model: what its training, and that of the models it came from, learned from."""

from collections.abc import Mapping
from typing import Any

from musicssl.errors import ConfigError
from musicssl_training.release.lineage import all_before, all_teachers, facts_of
from musicssl_training.workers import SCORE_WORKERS, resolve
from musicssl_training.workers.teacher import PREFIX

SELF_SUPERVISED = "self-supervised"
SCORES = "scores"  # notes, beats, keys, style of the music that it was trained on
HAND_CRAFTED = "hand-crafted"
UNTRAINED = "untrained"
UNKNOWN = "unknown"


def model_supervision(model: str) -> str:
    """Return the supervision of a model by its training.json; "unknown" if it has none."""
    return supervision(facts_of(model))


def supervision(facts: Mapping[str, Any]) -> str:
    """Return what a model learned from, such as "self-supervised + scores + teachers (musicnn)".

    "self-supervised" alone means that neither scores nor teachers had a part in any stage. If a
    stage does not tell its workers, "unknown" stands beside what the others tell.

    Parameters
    ----------
    facts
        Of training.json.
    """
    stages = [dict(facts), *all_before(dict(facts))]
    teachers = dict.fromkeys(str(told["name"]) for told in all_teachers(dict(facts)))
    found: dict[str, None] = {}
    for stage in stages:
        try:
            workers = resolve([_name(entry) for entry in stage["settings"]["workers"]])
        except (ConfigError, KeyError, TypeError):
            found[UNKNOWN] = None
            continue
        for worker in workers:
            name = worker.partition(":")[0]
            if worker.startswith(PREFIX):
                teachers[worker.removeprefix(PREFIX)] = None
            else:
                found[SCORES if name in SCORE_WORKERS else SELF_SUPERVISED] = None
    order = [kind for kind in (SELF_SUPERVISED, SCORES, UNKNOWN) if kind in found]
    taught = [f"teachers ({', '.join(teachers)})"] if teachers else []
    return " + ".join([*order, *taught])


def _name(entry: Any) -> str:
    """Return the worker or selection that an entry of a run's settings names."""
    return str(entry["name"] if isinstance(entry, Mapping) else entry)
