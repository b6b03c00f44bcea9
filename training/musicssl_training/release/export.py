"""A run folder to a checkpoint folder: weights, configuration, provenance and model card."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musicssl.atomic import atomic_write_text
from musicssl.checkpoint import ModelConfig
from musicssl.checkpoint.names import CARD, TRAINING_INFO
from musicssl.encoders import Encoder
from musicssl.errors import ConfigError, MusicSSLError
from musicssl.inference.device import pick_device
from musicssl.model import MusicEncoder, load_model
from musicssl_training.data import Sampler
from musicssl_training.provenance import git_commit, versions
from musicssl_training.release.lineage import (
    ancestry,
    averaged,
    check_averaged,
    check_shape,
    facts_of,
)
from musicssl_training.release.model_card import card
from musicssl_training.release.origins import trace_beginning, trace_music
from musicssl_training.release.place import check_place, growing
from musicssl_training.targets.features import FrameGrid
from musicssl_training.train.config import PretrainConfig, read_config, write_config
from musicssl_training.train.inputs import load_batch, uses_augmentation
from musicssl_training.train.record import find_origins, read_starts
from musicssl_training.train.setup import CONFIG, make_sampler
from musicssl_training.train.state import Progress, read_ema_encoder
from musicssl_training.workers import check_layers

log = logging.getLogger(__name__)
STATISTICS_BATCHES = 60


@dataclass(frozen=True, kw_only=True)
class ReleaseConfig:
    """Settings of a release, beyond what the run itself knows."""

    summary: str
    data_licences: str  # of the recordings, in one line
    licence: str  # of the weights, as the Hub calls it, such as "mit" or "other"
    data_notes: str = ""  # Markdown: what was chosen or left out, what follows for the weights
    layer: tuple[int, ...] = (-1,)
    pooling: str = "mean"
    average_with: tuple[str, ...] = ()  # models whose encoders the run's is averaged with
    average_shares: tuple[float, ...] = ()  # of each of them, the run's is the rest; empty: equal
    notes: str = ""  # Markdown: scores, limits

    def __post_init__(self) -> None:
        if not self.licence.strip():
            raise ConfigError("licence is empty; name that of the weights, or say 'other'.")
        if self.average_shares:
            self._check_shares()

    def _check_shares(self) -> None:
        shares, models = self.average_shares, self.average_with
        if len(shares) != len(models):
            raise ConfigError(
                f"average_shares has {len(shares)} numbers, average_with {len(models)} models; "
                "give a share of each of these, the run has the rest."
            )
        if not (all(share > 0 for share in shares) and sum(shares) < 1):
            raise ConfigError(
                f"average_shares is {list(shares)}: each must be above 0, and their sum below 1, "
                "as the run has the rest."
            )


def release(
    run_folder: Path,
    out: Path,
    config: ReleaseConfig,
    *,
    repository: str | None = None,
    show: Callable[[], object] = lambda: None,
) -> Path:
    """Write the averaged encoder of a run as a checkpoint folder.

    With `config.average_with`, the mean of its weights and of those models' is written, weighted
    by `config.average_shares`.

    Parameters
    ----------
    run_folder
        Of `musicssl_training.train.pretrain`; its packs must still be there: the layers are
        standardised on them.
    out
        The checkpoint's folder; its name is the model's. It is absent, empty or an earlier
        release, which stays whole unless all goes well.
    config
        What to say and choose.
    repository
        The one on the Hub that it is for, by whose name the card loads it.
    show
        Called after each of the `STATISTICS_BATCHES` batches that the layers are standardised on.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ConfigError
        If `run_folder` is not a run, or is known to be trained on other music than there is and
        has not recorded what that was; if a model to average with has another encoder, or is
        named twice.
    ModelError
        If a model that it is averaged with cannot be found, nor one that it began with, unless
        the run has recorded that.
    OutputError
        If `out` holds anything but an earlier release, or cannot be written.
    MusicSSLError
        If what was written does not give the encoder's own output.
    """
    check_place(out, run_folder)
    settings, trained, progress = read_run(run_folder)
    sampler = make_sampler(settings, trained.sample_rate)
    log.info(
        "at step %d; standardizing the layers on %d batches of its music",
        progress.step,
        STATISTICS_BATCHES,
    )
    others = [load_model(name, device="cpu") for name in config.average_with]
    for name, other in zip(config.average_with, others, strict=True):
        check_shape(other, settings.encoder, f"average_with {name!r}")
    facts = provenance(run_folder, settings, sampler, progress, trained, config)
    device = pick_device("auto")
    encoders = [trained, *(other.encoder for other in others)]
    encoder = averaged(encoders, config.average_shares).to(device)
    model = MusicEncoder(
        ModelConfig(encoder=settings.encoder, pooling=config.pooling, layer=config.layer)
    )
    model.encoder.load_state_dict(encoder.state_dict())
    model = model.requires_grad_(False).eval().to(device)
    check_layers(settings.worker_configs(), model.layers, config.layer, "layer")
    model.centre, model.spread = layer_statistics(model, sampler, settings, show)
    with growing(out) as folder:
        model.save_pretrained(folder)
        loaded = MusicEncoder.from_pretrained(folder).to(device)
        similarity = check(encoder, model, loaded, excerpts(sampler, settings, 0).to(device))
        facts["cosine_of_fp16_to_fp32"] = round(similarity, 7)
        atomic_write_text(folder / TRAINING_INFO, json.dumps(facts, indent=2) + "\n")
        atomic_write_text(folder / CARD, card(out.name, model, facts, config, repository))
    return out


def read_run(folder: Path) -> tuple[PretrainConfig, Encoder, Progress]:
    """Return a run's settings, its averaged encoder, and how far it has come.

    Raises
    ------
    ConfigError
        If the folder holds no run.
    """
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder} holds no {CONFIG}: not a pre-training run.")
    settings = read_config(json.loads((folder / CONFIG).read_text("utf-8")))
    return settings, *read_ema_encoder(folder, settings.encoder)


@torch.inference_mode()
def layer_statistics(
    model: MusicEncoder, sampler: Sampler, settings: PretrainConfig, show: Callable[[], object]
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every layer's values over music: (layers, dim) each.

    Frames within 1 s of an excerpt's ends, where the context is cut off, are left out; of short
    excerpts, a quarter at each end.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for step in range(STATISTICS_BATCHES):
        audio = excerpts(sampler, settings, step).to(model.device)
        layers = torch.stack(model.encoder(audio))
        frames = layers.shape[2]
        edge = min(round(model.frame_rate), frames // 4)
        values = layers[:, :, edge : frames - edge].flatten(1, 2).double()  # (layers, frames, dim)
        count += values.shape[1]
        total = total + values.sum(dim=1)
        squares = squares + values.square().sum(dim=1)
        show()
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp(min=1e-8).sqrt().float()


def excerpts(sampler: Sampler, settings: PretrainConfig, step: int) -> Tensor:
    """Return the clean audio of a step, (rows, samples)."""
    grid = FrameGrid(sampler.sample_rate, hop=1)  # targets are not measured here
    return torch.cat([part.sound.audio for part in load_batch(sampler, step, grid, settings)])


@torch.inference_mode()
def check(encoder: Encoder, model: MusicEncoder, loaded: MusicEncoder, audio: Tensor) -> float:
    """Compare the checkpoint, as a user loads it, with the output of the encoder in training.

    Returns
    -------
    float
        The least cosine of an excerpt's frames, all layers, to those of the fp32 weights.

    Raises
    ------
    MusicSSLError
        If they differ by more than the rounding of the weights to 16 bits.
    """
    whole = [
        (x - c) / s for x, c, s in zip(encoder(audio), model.centre, model.spread, strict=True)
    ]
    if not torch.allclose(torch.cat(whole, dim=2), model(audio, layer="all"), atol=1e-5):
        raise MusicSSLError("the model differs from the encoder that was trained.")
    similarity = torch.cosine_similarity(
        *(one(audio, layer="all").flatten(1).double() for one in (model, loaded))
    )
    least = similarity.min().item()
    if not least >= 0.9999:
        raise MusicSSLError(f"fp16 weights give a cosine of only {least:.6f} to fp32.")
    return least


def provenance(
    run: Path,
    settings: PretrainConfig,
    sampler: Sampler,
    progress: Progress,
    encoder: Encoder,
    config: ReleaseConfig,
) -> dict[str, Any]:
    """Return settings, effort, versions, and all that the weights come from, for training.json.

    Raises
    ------
    ConfigError
        If the music is not that of the run, or a model is averaged twice.
    ModelError
        If a model that the run began with is neither recorded nor there.
    """
    starts = read_starts(run, progress.step)
    here = find_origins(sampler, settings.data.shares, {})
    music = trace_music(run, starts, here)
    beginning = trace_beginning(starts, settings.start_from, encoder)
    began, others = beginning.pop("began_with", None), [facts_of(x) for x in config.average_with]
    check_averaged(began, others)
    names = tuple(source.name for source in sampler.sources)  # not where they lay
    shown = replace(
        settings,
        data=replace(settings.data, sources=names),
        start_from=began["model"] if began else "",
    )
    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": git_commit(),
        "versions": versions(),
        "steps": progress.step,
        "hours_heard": round(progress.hours_heard, 1),
        "hours_of_computing": round(progress.wall_seconds / 3600, 2),
        "distorted": uses_augmentation(encoder, settings),
        "settings": write_config(shown),
    } | music
    shares = {"averaged_shares": list(config.average_shares)} if config.average_shares else {}
    return ancestry(facts, began, others) | beginning | shares
