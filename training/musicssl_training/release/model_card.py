"""The model card of a release, from what training.json says."""

from typing import TYPE_CHECKING, Any

import yaml

from musicssl.errors import ConfigError
from musicssl.model import MusicEncoder
from musicssl_training.release.lineage import all_before, all_teachers
from musicssl_training.workers import SCORE_WORKERS, SELECTIONS, resolve, worker_configs
from musicssl_training.workers.teacher import PREFIX

if TYPE_CHECKING:
    from musicssl_training.release.export import ReleaseConfig

WIDTHS = {"dim": "values a frame", "inner": "units in its blocks"}
INPUT = {  # what the card says of it
    True: """The encoder heard them distorted, as `training.json` says, while the targets stayed
clean.""",
    False: "The encoder heard them as they are.",
}


def card(
    name: str,
    model: MusicEncoder,
    facts: dict[str, Any],
    config: "ReleaseConfig",
    repository: str | None = None,
) -> str:
    """Return the model card: front matter and Markdown.

    Parameters
    ----------
    name
        Of the model.
    model, facts, config
        What is told of it.
    repository
        Where it is loaded from; None: by its name, a bundled model's or a folder's.
    """
    rows = [source | {"pack": pack["pack"]} for pack in facts["data"] for source in pack["sources"]]
    hours = sum(row["hours"] for row in rows)
    parameters = sum(p.numel() for p in model.parameters())
    front = {
        "license": config.licence,
        "library_name": "musicssl",
        "pipeline_tag": "feature-extraction",
        "tags": [
            "audio",
            "music",
            "music-information-retrieval",
            *(["self-supervised"] if kinds(facts)["audio"] else []),
            "embeddings",
            *(["knowledge-distillation"] if all_teachers(facts) else []),
        ],
        "musicssl": {
            "dim": model.dim,
            "layers": model.layers,
            "frame_rate": model.frame_rate,
            "sample_rate": model.sample_rate,
            "data_licences": config.data_licences,
            "summary": config.summary,
        },
    }
    licence = config.licence if config.licence == "other" else config.licence.upper()
    table = "\n".join(
        f"| {row['pack']} | {row['source']} | {row['recordings']} | {row['hours']:.2f} "
        f"| {row['licence']} |"
        for row in rows
    )
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100).strip()}
---

# {name}

{config.summary}

```python
import musicssl

vector = musicssl.get_embedding("song.flac", model="{repository or name}")
```

| | |
|---|---|
| parameters | {parameters:,} |
| audio in | {model.sample_rate:,} Hz, mono; other audio is converted |
| frames out | {model.frame_rate:g} a second; each hears {hears(model)} |
| values | {model.dim} a frame, {model.clip_dim} a clip ({config.pooling}, layers \
{", ".join(str(i) for i in model.pick_layers(None))} of 0-{model.layers - 1}) |
| weights | safetensors, fp16 (cosine of the frames to those of the fp32 weights: \
{facts["cosine_of_fp16_to_fp32"]:.6f}), licence {licence} |

{config.notes.strip()}

## How it was trained

{training(facts)}
A run's weights are an average over its last steps. `training.json` has every setting.
{teachers(facts)}
## Data

{paragraphs(f"{hours:.1f} hours{unknown(facts)}.", config.data_notes)}

Licences of the recordings and scores, as the packs state them: {stated(rows)}.{players(facts)}

| pack | source | recordings | hours | licence |
|---|---|---|---|---|
{table}
"""


def hears(model: MusicEncoder) -> str:
    """Return how far a frame hears, as the card says it."""
    seconds = model.context / model.sample_rate
    if model.encoder.memory:
        return f"{seconds:.2g} s ahead, and everything before"
    return f"{seconds:.2g} s to both sides"


def training(facts: dict[str, Any]) -> str:
    """Return how the encoder was trained, as the card says it."""
    settings = facts["settings"]
    data, workers = settings["data"], resolve(settings["workers"])
    heard = data["recordings"] * data["per_recording"]
    several = len(workers) > 1
    text = f"""{len(workers)} {"workers" if several else "worker"}
({", ".join(workers)}), {"their losses" if several else "its loss"} weighted by \
`{settings["weighting"]["name"]}`, on excerpts of
{data["seconds"]:g} s: {facts["steps"]:,} steps of {heard} excerpts, {facts["hours_heard"]:,} hours
of audio heard, in {facts["hours_of_computing"]:g} hours of computing in {settings["precision"]}.
{INPUT[facts["distorted"]]}"""
    if "began_with" in facts:
        text += f"""
It began with the encoder of {tell(facts["began_with"], widening(facts))}."""
    if "averaged_with" in facts:
        known = facts.get("began_with")
        others = [one["model"] if one == known else tell(one) for one in facts["averaged_with"]]
        shares = facts.get("averaged_shares", [])
        own = f" ({1 - sum(shares):.0%})" if shares else ""
        for number, share in enumerate(shares):
            others[number] += f" ({share:.0%})"
        text += f"""
The weights are the mean of this run's{own} and those of {"; ".join(others)}."""
    return text + "\n" + supervision(facts)


def widening(facts: dict[str, Any]) -> str:
    """Return how the encoder which it began with was widened, if it was, as the card says it."""
    before = facts.get("widened_from", {})
    said = [f"{before[key]} {unit}" for key, unit in WIDTHS.items() if key in before]
    return f", widened from {' and '.join(said)}" if said else ""


def supervision(facts: dict[str, Any]) -> str:
    """Return what the workers learnt from, this run's and those of the encoders before it."""
    before = all_before(facts)
    if all(set(filled(kinds(one))) == {"audio"} for one in (facts, *before)):
        return "Self-supervised only: no worker used scores or imitated another model."
    told = [f"Of the workers, {sources(facts)}."]
    told += [f"Of the workers of {one['model']}, {sources(one)}." for one in before]
    return "\n".join(told)


def kinds(facts: dict[str, Any]) -> dict[str, list[str]]:
    """Return the workers of a model by what they learn from: audio, scores, teachers, unknown.

    Workers that were added to the table, or that this version does not know, are unknown; where
    nothing is told of the workers, their name is.
    """
    found: dict[str, list[str]] = {"audio": [], "scores": [], "teachers": [], "unknown": []}
    try:
        configs = worker_configs(facts["settings"]["workers"])
    except (KeyError, ConfigError):
        return found | {"unknown": ["all of them"]}
    for name, config in configs.items():  # the name may be a label
        if config.name in SCORE_WORKERS:
            kind = "scores"
        elif config.name.startswith(PREFIX):
            kind = "teachers"
        else:
            kind = "audio" if config.name in SELECTIONS["all"] else "unknown"
        found[kind].append(name)
    return found


def filled(kinds: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the kinds that there are workers of."""
    return {kind: names for kind, names in kinds.items() if names}


def sources(facts: dict[str, Any]) -> str:
    """Return which of a model's workers learnt from what, for a sentence."""
    found, told = kinds(facts), []
    if found["scores"]:
        told.append(f"{', '.join(found['scores'])} used scores")
    if found["teachers"]:
        configs = worker_configs(facts["settings"]["workers"])
        for name in found["teachers"]:
            worker = configs[name].name
            told.append(
                f"{'one' if name == worker else name} imitates {worker.removeprefix(PREFIX)}"
            )
    if found["unknown"]:
        told.append(f"it is not known here what {', '.join(found['unknown'])} learnt from")
    if found["audio"]:
        others = "the others are" if told else "all are"
        told.append(f"{others} self-supervised")
    return "; ".join(told)


def unknown(facts: dict[str, Any]) -> str:
    """Return whose data the table lacks, as the card says it; nothing if it lacks none."""
    silent = [one["model"] for one in all_before(facts) if "steps" not in one]
    return f", without those of {', '.join(silent)}, which are not known here" if silent else ""


def stated(rows: list[dict[str, Any]]) -> str:
    """Return the licences of the rows, each once."""
    return "; ".join(sorted({row["licence"] for row in rows}))


def players(facts: dict[str, Any]) -> str:
    """Return what played the scores among the data, as the card says it; nothing if unknown."""
    fonts = {one["name"] for pack in facts["data"] for one in pack.get("fonts", [])}
    instruments = {
        f"{one['name']} ({one['licence']})"
        for pack in facts["data"]
        for one in pack.get("instruments", [])
    }
    said = [
        f"{kind} {', '.join(sorted(names))}"
        for kind, names in (("the SoundFonts", fonts), ("the sampled instruments", instruments))
        if names
    ]
    return f"\n\nScores were played by {' and '.join(said)}." if said else ""


def paragraphs(*texts: str) -> str:
    """Return the texts that are not empty, one paragraph each."""
    return "\n\n".join(text.strip() for text in texts if text.strip())


def teachers(facts: dict[str, Any]) -> str:
    """Return the card's section on teachers, of this run and of the models before it, if any."""
    known = all_teachers(facts)
    if not known:
        return ""
    table = "\n".join(
        f"| {one['name']} | {one['model']} | {one['licence']} | {one['trained_on']} "
        f"| {one['sha256'][:16]} |"
        for one in known
    )
    return f"""
## Teachers

Some workers predicted what other models say of the music. Their training may have held songs of
the evaluations; results of this model are not self-supervised results.

| teacher | model | licence | was trained on | SHA-256 of its weights |
|---|---|---|---|---|
{table}
"""


def tell(facts: dict[str, Any], change: str = "") -> str:
    """Return a model that came before, and how it was changed, as the card says it."""
    if "steps" not in facts:
        return f"{facts['model']}{change}, of which nothing more is known here"
    text = (
        f"{facts['model']}{change} ({facts['steps']:,} steps, "
        f"{facts['hours_heard']:,} hours heard, {facts['hours_of_computing']:g} hours of computing)"
    )
    return text + (
        f", which began with {tell(facts['began_with'], widening(facts))}"
        if "began_with" in facts
        else ""
    )
