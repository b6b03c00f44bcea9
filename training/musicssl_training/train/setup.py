"""Factories of a run: processes, encoder, workers, optimizer and sampler, from its settings."""

import copy
import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import distributed, nn

from musicssl.atomic import atomic_write_text
from musicssl.encoders import ENCODERS, Encoder
from musicssl.folder.paths import writing
from musicssl.inference.device import cpu_has_bf16
from musicssl.model import load_model
from musicssl_training.data import Sampler, open_sources
from musicssl_training.provenance import git_commit, versions
from musicssl_training.release.lineage import check_shape
from musicssl_training.targets.features import make_grid
from musicssl_training.train.config import PRECISIONS, PretrainConfig, write_config
from musicssl_training.train.record import ORIGINS, RUNS, Row
from musicssl_training.train.state import TrainState
from musicssl_training.train.widening import can_widen, widen
from musicssl_training.weighting import make_weighting
from musicssl_training.workers import WorkerDict, layers_read, make_workers
from musicssl_training.workers.teacher import PREFIX, Lesson, join, taught_by

log = logging.getLogger(__name__)
CONFIG = "config.json"
PATIENCE = timedelta(days=30)  # with a process that probes


def make_fabric(config: PretrainConfig) -> Fabric:
    """Return where and how precisely to compute: on the CPU or on GPUs, alone or with others.

    Each process that torchrun started takes one GPU, or an equal part of the CPU.
    """
    precision = config.precision
    on_cpu = not torch.cuda.is_available()
    if on_cpu and (precision == "fp16" or (precision == "bf16" and not cpu_has_bf16())):
        log.warning("this processor computes slowly in %s; training in fp32.", precision)
        precision = "fp32"
    together = int(os.environ.get("WORLD_SIZE", 1))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", together))
    fabric = Fabric(
        accelerator="cpu" if on_cpu else "cuda",
        devices=here,
        num_nodes=together // here,
        strategy="ddp" if together > 1 else "auto",
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def make_patient_group(fabric: Fabric) -> distributed.ProcessGroup | None:
    """Return all processes as a group in which one may keep the others waiting for days.

    It is of gloo on GPUs too: NCCL's watchdog ends a process whose message is late. If a process
    ends, its connections do, and the others fail at once. None if there is one process alone.
    """
    if fabric.world_size == 1:
        return None
    group = distributed.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, distributed.ProcessGroup)
    return group


def make_encoder(config: PretrainConfig) -> Encoder:
    """Return the encoder, with random weights, or those of another model, widened if need be.

    Raises
    ------
    ConfigError
        If that model's encoder has another shape, and is no narrower one.
    """
    kind, _ = ENCODERS[config.encoder.name]
    encoder: Encoder = kind(config.encoder)
    if config.start_from:
        other = load_model(config.start_from, device="cpu")
        if can_widen(other.encoder, encoder):
            widen(other.encoder, encoder)
        else:
            check_shape(other, config.encoder, f"start_from {config.start_from!r}")
            encoder.load_state_dict(other.encoder.state_dict())
    return encoder


def make_sampler(
    config: PretrainConfig, sample_rate: int, rank: int = 0, ranks: int = 1
) -> Sampler:
    """Return what draws the excerpts of process `rank` of `ranks`.

    Raises
    ------
    ConfigError
        If a source cannot be used, or the batch cannot be split over the processes.
    """
    data = config.data
    return Sampler(
        open_sources(data.sources, sample_rate),
        data.shares,
        sample_rate=sample_rate,
        seconds=data.seconds,
        seed=config.seed,
        recordings=data.recordings,
        per_recording=data.per_recording,
        layered=data.layered,
        teachers=taught_by(config.worker_configs().values()),
        rank=rank,
        ranks=ranks,
        parts=config.optim.accumulate,
        same_source=data.same_source,
    )


def make_lessons(sampler: Sampler, config: PretrainConfig) -> dict[str, Lesson]:
    """Return what is known of each teacher, over all sources."""
    shares = config.data.shares
    return {name: join(name, lessons, shares) for name, lessons in sampler.lessons.items()}


def describe_lessons(name: str, sampler: Sampler) -> str:
    """Return in words how many recordings of each source have values of a teacher."""
    told = []
    for source, one in zip(sampler.sources, sampler.lessons[name], strict=True):
        known, whole = (0 if one is None else one.known), len(source.items)
        count = "none" if not known else f"all {whole}" if known == whole else f"{known} of {whole}"
        told.append(f"{count}{' recordings' if known else ''} of {source.name}")
    return f"{PREFIX}{name} knows {', '.join(told)}"


def warn_of_constants(workers: WorkerDict) -> None:
    """Name the workers whose targets never vary: they ask nothing, and learn nothing."""
    for name, worker in workers.items():
        if not worker.targets_vary:
            log.warning(
                "%s: its target is the same everywhere, so there is nothing to learn from it; its "
                "loss says nothing, and it has no r2",
                name,
            )


def make_state(
    config: PretrainConfig, encoder: Encoder, lessons: Mapping[str, Lesson], device: torch.device
) -> TrainState:
    """Return the state before the first step.

    Parameters
    ----------
    config
        Says workers, weighting and optimizer.
    encoder
        From `make_encoder`.
    lessons
        From `make_lessons`.
    device
        Where everything is put.

    Raises
    ------
    ConfigError
        If a worker reads a layer that there is not.
    """
    configs = config.worker_configs()
    layers_read(configs, encoder.n_layers)  # raises before anything is computed
    encoder = encoder.to(device)
    workers = make_workers(configs, encoder.dim, make_grid(encoder), lessons).to(device)
    return TrainState(
        encoder=encoder,
        ema_encoder=copy.deepcopy(encoder).requires_grad_(False).eval(),
        workers=workers,
        weighting=make_weighting(config.weighting, [*configs]).to(device),
        optimizer=make_optimizer([*encoder.parameters(), *workers.parameters()], config),
        scaler=torch.amp.GradScaler(device.type, enabled=config.precision == "fp16"),
    )


def make_optimizer(parameters: list[nn.Parameter], config: PretrainConfig) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices and filters alone."""
    decay = config.optim.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.optim.learning_rate, betas=(0.9, 0.98))


def write_settings(
    config: PretrainConfig,
    folder: Path,
    *,
    step: int,
    lessons: Mapping[str, Lesson],
    fabric: Fabric,
    origins: Row,
) -> None:
    """Write config.json, and add a line to runs.jsonl: a run may be started many times.

    Parameters
    ----------
    config, folder
        Of the run.
    step
        From which it goes on.
    lessons
        From `make_lessons`.
    fabric
        Where it computes.
    origins
        From `find_origins`.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    start = {
        "step": step,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "versions": versions(),
        "device": str(fabric.device),
        "processes": fabric.world_size,
        "sources": {pack["pack"]: pack["sha256"] for pack in origins["data"]},
        "teachers": {name: lesson.facts.sha256 for name, lesson in lessons.items()},
        ORIGINS: origins,
    }
    with writing(folder / CONFIG):
        atomic_write_text(folder / CONFIG, json.dumps(write_config(config), indent=1))
    with writing(folder / RUNS), (folder / RUNS).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(start) + "\n")
