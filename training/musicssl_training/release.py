"""A run folder to a checkpoint folder: weights, configuration, provenance and model card."""

import json
import platform
import subprocess
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from musicssl import __version__
from musicssl.checkpoint import ModelConfig
from musicssl.config import to_dict
from musicssl.errors import ConfigError, MusicSSLError
from musicssl.model import MusicEncoder
from musicssl_training.pretrain import PretrainConfig, Run, read_config, write_whole

STATISTICS_BATCHES = 60


@dataclass(frozen=True, kw_only=True)
class ReleaseConfig:
    """What a release says and chooses, beyond what the run itself knows."""

    summary: str
    data_licences: str  # of the recordings, in one line
    licence: str = "cc-by-sa-4.0"
    layer: tuple[int, ...] = (-1,)
    pooling: str = "mean"
    notes: str = ""  # Markdown: scores, limits


def release(run_folder: Path, out: Path, config: ReleaseConfig) -> Path:
    """Write the averaged encoder of a run as a checkpoint folder.

    Parameters
    ----------
    run_folder
        Of `musicssl_training.pretrain.pretrain`; its packs must still be there: the layers are
        standardised on them.
    out
        The checkpoint's folder; its name is the model's.
    config
        What to say and choose.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ConfigError
        If `run_folder` is not a run.
    MusicSSLError
        If what was written does not give the encoder's own output.
    """
    if not (run_folder / "state.pt").is_file():
        raise ConfigError(f"{run_folder} holds no state.pt: not a pre-training run.")
    settings = read_config(json.loads((run_folder / "config.json").read_text("utf-8")))
    run = Run(settings, run_folder)
    run.restore()
    model = MusicEncoder(
        ModelConfig(encoder=settings.encoder, pooling=config.pooling, layer=config.layer)
    )
    model.encoder.load_state_dict(run.average.state_dict())
    model = model.requires_grad_(False).eval()
    model.centre, model.spread = layer_statistics(model, run)
    model.save_pretrained(out)
    check(model, MusicEncoder.from_pretrained(out), run)
    facts = provenance(run, settings)
    write_whole(out / "training.json", json.dumps(facts, indent=2) + "\n")
    write_whole(out / "README.md", card(out.name, model, facts, config))
    return out


@torch.inference_mode()
def layer_statistics(model: MusicEncoder, run: Run) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every layer's values over music: (layers, dim) each.

    Frames within 1 s of an excerpt's ends, where the context is cut off, are left out.
    """
    edge = round(model.frame_rate)
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for _ in range(STATISTICS_BATCHES):
        layers = torch.stack(model.encoder(run.batch()))[:, :, edge:-edge]
        values = layers.flatten(1, 2).double()  # (layers, frames, dim)
        count += values.shape[1]
        total = total + values.sum(dim=1)
        squares = squares + values.square().sum(dim=1)
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp(min=1e-8).sqrt().float()


@torch.inference_mode()
def check(model: MusicEncoder, loaded: MusicEncoder, run: Run) -> None:
    """Compare the checkpoint, as a user loads it, with the training code's own output.

    Raises
    ------
    MusicSSLError
        If they differ by more than the rounding of the weights to 16 bits.
    """
    audio = run.batch()
    whole = [
        (x - c) / s for x, c, s in zip(run.average(audio), model.centre, model.spread, strict=True)
    ]
    if not torch.allclose(torch.cat(whole, dim=2), model(audio, layer="all"), atol=1e-5):
        raise MusicSSLError("the model differs from the encoder that was trained.")
    similarity = torch.cosine_similarity(
        model(audio, layer="all").flatten(), loaded(audio, layer="all").flatten(), dim=0
    )
    if similarity < 0.9999:
        raise MusicSSLError(f"fp16 weights give a cosine of only {similarity:.6f} to fp32.")


def provenance(run: Run, settings: PretrainConfig) -> dict[str, Any]:
    """Return data, settings, versions and effort, for training.json."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    data = []
    for pack, share in zip(run.sampler.packs, settings.shares, strict=True):
        sources: dict[tuple[str, str], list[float]] = defaultdict(list)
        for item in pack.items:
            seconds = item["samples"] / run.encoder.sample_rate
            sources[item["source"], item["licence"]].append(seconds)
        data.append(
            {
                "pack": Path(pack.folder).name,
                "share": share,
                "sources": [
                    {
                        "source": source,
                        "licence": licence,
                        "recordings": len(seconds),
                        "hours": round(sum(seconds) / 3600, 3),
                    }
                    for (source, licence), seconds in sorted(sources.items())
                ],
            }
        )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip() or None,
        "versions": {
            "musicssl": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "steps": run.step,
        "hours_heard": round(run.hours, 1),
        "hours_of_computing": round(run.wall / 3600, 2),
        "settings": to_dict(replace(settings, packs=tuple(Path(p).name for p in settings.packs))),
        "data": data,
    }


def card(name: str, model: MusicEncoder, facts: dict[str, Any], config: ReleaseConfig) -> str:
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
    settings = facts["settings"]
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
| weights | safetensors, fp16, licence {config.licence.upper()} |

{config.notes.strip()}

## How it was trained

Self-supervised: no label was used. {len(settings["workers"])} workers with equal weights
({", ".join(settings["workers"])}) on excerpts of {settings["seconds"]:g} s whose input was mixed
with other music, filtered, masked and made noisy, while the targets stayed clean:
{facts["steps"]:,} steps of {2 * settings["pairs"]} excerpts, {facts["hours_heard"]:,} hours of
audio heard, in {facts["hours_of_computing"]:g} hours{" in bf16" if settings["bf16"] else ""}.
The weights are an average over the last steps. `training.json` has every setting.

## Data

{hours:.1f} hours. Recordings under free licences, and scores rendered with SoundFonts in random
instruments, keys and tempi. Sources under GPL, no-derivatives or non-commercial terms were left
out; because several sources ask for share-alike, the weights are under {config.licence.upper()}.

| pack | source | recordings | hours | licence |
|---|---|---|---|---|
{table}
"""
