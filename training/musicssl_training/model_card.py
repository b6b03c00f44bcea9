"""The model card of a release, from what training.json says."""

from typing import TYPE_CHECKING, Any

import yaml

from musicssl.model import MusicEncoder
from musicssl_training.lineage import all_teachers
from musicssl_training.workers import SELECTIONS, resolve

if TYPE_CHECKING:
    from musicssl_training.release import ReleaseConfig

INPUT = {  # what the card says of it
    True: """The encoder heard them mixed with other music, filtered, masked and made noisy, while
the targets stayed clean.""",
    False: "The encoder heard them as they are.",
}
LABELS = {  # whether there were teachers
    False: "Self-supervised: no human label was used.",
    True: """Self-supervised, and taught by other models: no label of this music was used, but what
these models had learnt from labels is in the weights.""",
}


def card(name: str, model: MusicEncoder, facts: dict[str, Any], config: "ReleaseConfig") -> str:
    """Return the model card: front matter and Markdown."""
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
            "self-supervised",
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

vector = musicssl.get_embedding("song.flac", model="{name}")
```

| | |
|---|---|
| parameters | {parameters:,} |
| audio in | {model.sample_rate:,} Hz, mono; other audio is converted |
| frames out | {model.frame_rate:g} a second; each hears {model.context / model.sample_rate:.1f} s \
to both sides |
| values | {model.dim} a frame, {model.clip_dim} a clip ({config.pooling}, layers \
{", ".join(str(i) for i in model.pick_layers(None))} of 0-{model.layers - 1}) |
| weights | safetensors, fp16 (cosine of the frames to those of the fp32 weights: \
{facts["cosine_of_fp16_to_fp32"]:.6f}), licence {config.licence.upper()} |

{config.notes.strip()}

## How it was trained

{training(facts)}
A run's weights are an average over its last steps. `training.json` has every setting.
{teachers(facts)}
## Data

{hours:.1f} hours. Recordings under free licences, and scores rendered with SoundFonts in random
instruments, keys and tempi. Sources under GPL, no-derivatives or non-commercial terms were left
out; because several sources ask for share-alike, the weights are under {config.licence.upper()}.

| pack | source | recordings | hours | licence |
|---|---|---|---|---|
{table}
"""


def training(facts: dict[str, Any]) -> str:
    """Return how the encoder was trained, as the card says it."""
    settings = facts["settings"]
    data, workers = settings["data"], resolve(settings["workers"])
    heard = data["recordings"] * data["per_recording"]
    told = [name for name in workers if name in SELECTIONS["score"]]
    text = f"""{LABELS[bool(all_teachers(facts))]} {len(workers)} workers
({", ".join(workers)}), their losses weighted by `{settings["weighting"]["name"]}`, on excerpts of
{data["seconds"]:g} s: {facts["steps"]:,} steps of {heard} excerpts, {facts["hours_heard"]:,} hours
of audio heard, in {facts["hours_of_computing"]:g} hours of computing in {settings["precision"]}.
{INPUT[facts["distorted"]]}"""
    if "began_with" in facts:
        text += f"""
It began with the encoder of {tell(facts["began_with"])}."""
    if "averaged_with" in facts:
        known = facts.get("began_with")
        others = (one["model"] if one == known else tell(one) for one in facts["averaged_with"])
        text += f"""
The weights are the mean of this run's and those of {"; ".join(others)}."""
    if told:
        text += f"""
Of the workers, {", ".join(told)} read what truly sounds from the scores behind the rendered music:
that is no label by a human, but no self-supervision from the sound either."""
    return text


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

Some workers predicted what models of others say of the music. Their training may have held songs of
the evaluations; results of this model are not self-supervised results.

| teacher | model | licence | was trained on | SHA-256 of its weights |
|---|---|---|---|---|
{table}
"""


def tell(facts: dict[str, Any]) -> str:
    """Return a model that came before, as the card says it."""
    if "steps" not in facts:
        return f"{facts['model']}, of which nothing more is known here"
    text = (
        f"{facts['model']} ({facts['steps']:,} steps, {facts['hours_heard']:,} hours heard, "
        f"{facts['hours_of_computing']:g} hours of computing)"
    )
    return text + (
        f", which began with {tell(facts['began_with'])}" if "began_with" in facts else ""
    )
