"""Encoders that come from other encoders: begun with their weights, or averaged with them."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from musicssl.checkpoint.files import hash_weights_file
from musicssl.checkpoint.hub import find_checkpoint
from musicssl.checkpoint.names import TRAINING_INFO
from musicssl.checkpoint.untrusted import DamageError, parse_json
from musicssl.encoders import Encoder, EncoderConfig
from musicssl.errors import ConfigError
from musicssl.folder.paths import reason
from musicssl.model import MusicEncoder

log = logging.getLogger(__name__)
Fields = Mapping[str, type | tuple[type, ...]]
Told = Mapping[str, Any]  # facts of a model, as its training.json has them
TOLD = (  # of a model that came before; what it heard is told with the data
    "model",
    "weights_sha256",
    "commit",
    "steps",
    "hours_heard",
    "hours_of_computing",
    "settings",
    "began_with",
    "widened_from",
    "averaged_with",
    "averaged_shares",
    "teachers",
)
NUMBER = (int, float)
PACK: Fields = {"pack": str, "sources": list}
SOURCE: Fields = {"source": str, "licence": str, "recordings": int, "hours": NUMBER}
FONT: Fields = {"name": str, "recordings": int}
INSTRUMENT: Fields = {"name": str, "recordings": int, "licence": str}
TEACHER: Fields = dict.fromkeys(("name", "model", "sha256", "licence", "trained_on"), str)
EFFORT: Fields = dict.fromkeys(("steps", "hours_heard", "hours_of_computing"), NUMBER)


def check_shape(model: MusicEncoder, config: EncoderConfig, name: str) -> None:
    """Refuse a model whose encoder has another shape than `config`.

    Raises
    ------
    ConfigError
        If it has.
    """
    own = model.config.encoder
    if type(own) is not type(config):
        raise ConfigError(f"{name}: its encoder is {own}, the settings say {config}.")
    differing = [
        one.name for one in fields(own) if getattr(own, one.name) != getattr(config, one.name)
    ]
    if differing:
        theirs, ours = (
            ", ".join(f"{key}={getattr(each, key)}" for key in differing) for each in (own, config)
        )
        raise ConfigError(
            f"{name}: its encoder is {own.name} with {theirs}; the settings say {ours}."
        )


@torch.no_grad()
def averaged(encoders: Sequence[Encoder], shares: Sequence[float] = ()) -> Encoder:
    """Return an encoder whose weights are the mean of theirs (Wortsman et al., 2022).

    That works for encoders trained on from the same weights, not for independent ones.

    Parameters
    ----------
    encoders
        All of one shape.
    shares
        Of all but the first, which has the rest; if empty, they count alike.
    """
    count = len(encoders)
    each = torch.tensor([1 - sum(shares), *shares] if shares else [1 / count] * count)
    mean = copy.deepcopy(encoders[0])
    for name, values in mean.state_dict().items():
        if values.is_floating_point():
            same = [encoder.state_dict()[name].to(values.device) for encoder in encoders]
            values.copy_(torch.einsum("i,i...->...", each.to(values), torch.stack(same)))
    return mean


def facts_of(model: str) -> dict[str, Any]:
    """Return how a model was trained: its training.json, with its name and its weights' hash.

    Of one that has none, or a damaged one, nothing more is known.
    """
    found = find_checkpoint(model)
    known = {"model": found.model_id, "weights_sha256": hash_weights_file(found.folder)}
    return _read_facts(found.folder / TRAINING_INFO) | known


def _read_facts(file: Path) -> dict[str, Any]:
    """Return what training.json says: nothing if it is not there, or not what a release writes."""
    try:
        facts = parse_json(file.read_bytes())
        if not _is_told(facts):
            raise DamageError("does not say what a release writes")
    except FileNotFoundError:
        return {}
    except (DamageError, OSError) as fault:
        text = f"cannot be read ({reason(fault)})" if isinstance(fault, OSError) else fault
        log.warning("%s %s; how the model was trained is taken as unknown.", file, text)
        return {}
    told: dict[str, Any] = facts
    return told


def is_release(file: Path) -> bool:
    """Tell whether a file is the training.json of a release."""
    try:
        facts = parse_json(file.read_bytes())
    except (DamageError, OSError):
        return False
    return _is_told(facts) and facts.keys() >= {"steps", "settings", "data"}


def _is_told(facts: Any) -> bool:
    """Tell whether these are facts of a training, and those before it, as a release writes them."""
    if not isinstance(facts, dict):
        return False
    packs, teachers, others = (facts.get(k, []) for k in ("data", "teachers", "averaged_with"))
    if not (_has(packs, PACK) and _has(teachers, TEACHER) and isinstance(others, list)):
        return False
    before = [*others, *([facts["began_with"]] if "began_with" in facts else [])]
    return (
        all(_has(pack["sources"], SOURCE) for pack in packs)
        and all(_has(pack.get("fonts", []), FONT) for pack in packs)
        and all(_has(pack.get("instruments", []), INSTRUMENT) for pack in packs)
        and ("steps" not in facts or _has([facts], EFFORT))
        and isinstance(facts.get("settings", {}), dict)
        and isinstance(facts.get("widened_from", {}), dict)
        and _has(before, {"model": str})
        and all(map(_is_told, before))
    )


def _has(rows: Any, fields: Fields) -> bool:
    """Tell whether these are tables with such values."""
    return isinstance(rows, list) and all(
        isinstance(row, dict) and all(isinstance(row.get(k), v) for k, v in fields.items())
        for row in rows
    )


def all_before(facts: Told) -> list[dict[str, Any]]:
    """Return what is told of the models that came before one, and before those, each once."""
    known: dict[str, dict[str, Any]] = {}
    for before in (facts.get("began_with"), *facts.get("averaged_with", [])):
        if before is not None:
            for one in (before, *all_before(before)):
                known.setdefault(one.get("weights_sha256", one["model"]), one)
    return list(known.values())


def all_teachers(facts: Told) -> list[dict[str, Any]]:
    """Return the teachers of a model and of those that came before it, each once."""
    told = [teacher for one in (facts, *all_before(facts)) for teacher in one.get("teachers", [])]
    return list({tuple(teacher.get(key) for key in TEACHER): teacher for teacher in told}.values())


def check_averaged(began_with: Told | None, averaged_with: Sequence[Told]) -> None:
    """Look whether the mean of a run's weights and those of other models can be of use.

    Where no common ancestor is known, as independent models have none, there is a warning.

    Parameters
    ----------
    began_with, averaged_with
        As for `ancestry`.

    Raises
    ------
    ConfigError
        If a model is averaged twice.
    """
    own = _line(began_with) if began_with else set()
    seen: dict[str, str] = {}
    for other in averaged_with:
        weights, model = other["weights_sha256"], other["model"]
        if weights in seen:
            raise ConfigError(
                f"average_with names the same weights twice, {seen[weights]} and {model}; each "
                "counts alike, so leave one out."
            )
        seen[weights] = model
        if not own & _line(other):
            log.warning(
                "average_with %r: no model is known that both it and the run come from. The mean "
                "of independent weights is of no use; average runs that began with the same model.",
                model,
            )


def _line(facts: Told) -> set[str]:
    """Return a model and all that came before it, as `all_before` tells them apart."""
    return {one.get("weights_sha256", one["model"]) for one in (facts, *all_before(facts))}


def ancestry(
    facts: dict[str, Any], began_with: Told | None, averaged_with: Sequence[Told]
) -> dict[str, Any]:
    """Return the facts of a run with what came before it.

    Parameters
    ----------
    facts
        Of the run: its `data` grows by what only the others heard.
    began_with, averaged_with
        Facts of models, as `facts_of` returns them.
    """
    data = list(facts["data"])
    for other in (began_with or {}, *averaged_with):
        known = [pack["sources"] for pack in data]
        data += [pack for pack in other.get("data", []) if pack["sources"] not in known]
    facts = facts | {"data": data}
    if began_with:
        facts["began_with"] = _told(began_with)
    if averaged_with:
        facts["averaged_with"] = [_told(other) for other in averaged_with]
    return facts


def _told(facts: Told) -> dict[str, Any]:
    """Return what a later model tells of one that came before it."""
    return {key: facts[key] for key in TOLD if key in facts}
