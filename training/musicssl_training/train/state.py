"""A run: everything that changes during pre-training, and how it is saved and restored."""

import copy
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn

from musicssl.encoders import ENCODERS, Encoder
from musicssl.errors import ConfigError, OutputError
from musicssl.frontends import DualSpectrum, Spectra
from musicssl.inference.device import cpu_has_bf16
from musicssl_training.data import Sampler, open_sources
from musicssl_training.provenance import git_commit, versions
from musicssl_training.release.lineage import load_encoder
from musicssl_training.targets.features import FrameGrid, make_grid
from musicssl_training.train.config import PRECISIONS, PretrainConfig, write_config
from musicssl_training.weighting import make_weighting
from musicssl_training.workers import make_workers, resolve
from musicssl_training.workers.teacher import join, taught_by

log = logging.getLogger(__name__)
STATE = "state.pt"
PATIENCE = timedelta(days=30)  # with a process that probes


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    hours: float = 0.0  # of audio heard
    wall: float = 0.0  # seconds of computing
    skipped: int = 0  # steps whose loss or gradient was not finite


class Run:
    """One pre-training run in this process, of one or of many."""

    def __init__(self, config: PretrainConfig, folder: Path, fabric: Fabric | None = None) -> None:
        self.config, self.folder = config, folder
        self.fabric = fabric or make_fabric(config)
        torch.manual_seed(config.seed)  # the same weights in every process
        encoder = make_encoder(config)
        self.grid: FrameGrid = make_grid(encoder)
        names = resolve(config.workers)
        self.sampler = make_sampler(config, encoder.sample_rate, taught_by(names), self.fabric)
        self.lessons = {
            name: join(name, lessons, config.data.shares)
            for name, lessons in self.sampler.lessons.items()
        }
        heads = {"statistics": config.statistics, "edges": config.edges}
        device = self.fabric.device
        self.encoder = encoder.to(device)
        self.workers = make_workers(
            names, encoder.dim, self.grid, config.hidden, self.lessons, **heads
        ).to(device)
        self.weighting = make_weighting(config.weighting, names).to(device)
        self.average = copy.deepcopy(self.encoder).requires_grad_(False).eval()
        self.optimizer = make_optimizer([*self.parameters()], config)
        self.scaler = torch.amp.GradScaler(
            self.fabric.device.type, enabled=config.precision == "fp16"
        )
        self.progress = Progress()
        self._patient = make_patient_group(self.fabric)
        self._encode = torch.compile(self.encode_heard) if config.compile else self.encode_heard

    @property
    def names(self) -> list[str]:
        """The workers' names, in order."""
        return list(self.workers)

    def by_name(self, values: Tensor | None) -> dict[str, float]:
        """Return one value a worker, by its name."""
        return {} if values is None else dict(zip(self.names, values.tolist(), strict=True))

    def parameters(self) -> list[nn.Parameter]:
        """Everything that learns by gradient."""
        return [*self.encoder.parameters(), *self.workers.parameters()]

    @property
    def spectrum(self) -> DualSpectrum | None:
        """The encoder's own front end, where distortions and targets can share its spectra."""
        spectrum = getattr(self.encoder, "spectrum", None)
        return spectrum if isinstance(spectrum, DualSpectrum) else None

    def encode_heard(self, heard: Tensor | Spectra) -> Tensor:
        """Return the encoder's last layer, (batch, frames, dim), of audio or of spectra."""
        encode = self.encoder if isinstance(heard, Tensor) else self.encoder.encode
        layers: list[Tensor] = encode(heard)  # type: ignore[operator]
        return layers[-1]

    def encode(self, heard: Tensor | Spectra) -> Tensor:
        """Do so compiled, where the settings say it, in the run's precision."""
        with self.fabric.autocast():
            return self._encode(heard)

    def generator(self, step: int, purpose: str) -> torch.Generator:
        """Return random numbers that depend on nothing but seed, step, process and purpose."""
        text = f"{self.config.seed}/{step}/{self.fabric.global_rank}/{purpose}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
        return torch.Generator().manual_seed(seed)

    def wait(self) -> None:
        """Wait for all processes, beyond the time limit of what they otherwise do together."""
        if self._patient is not None:
            distributed.barrier(group=self._patient)

    def save(self) -> None:
        """Write the state beside the old one, then put it in its place.

        Raises
        ------
        OutputError
            If it cannot be written; the old one is intact.
        """
        if not self.fabric.is_global_zero:
            return
        state = {part: getattr(self, part).state_dict() for part in self._parts()}
        part = (self.folder / STATE).with_suffix(".part")
        try:
            torch.save(state | {"progress": vars(self.progress)}, part)
            part.replace(self.folder / STATE)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            part.unlink(missing_ok=True)
            raise OutputError(
                f"{self.folder / STATE} cannot be written ({error}); disk full? "
                "The last one that was saved is intact."
            ) from error

    def restore(self) -> None:
        """Go on where the last save left off.

        Raises
        ------
        ConfigError
            If it was saved by a run of another shape, or is damaged.
        """
        try:
            state = torch.load(
                self.folder / STATE, weights_only=True, map_location=self.fabric.device
            )
            for part in self._parts():
                getattr(self, part).load_state_dict(state[part])
            self.progress = Progress(**state["progress"])
        except (RuntimeError, ValueError, KeyError, TypeError, EOFError) as error:
            raise ConfigError(
                f"{self.folder} holds a run with another encoder, other workers or another "
                f"weighting, or a damaged {STATE}; use its settings or another folder. ({error})"
            ) from error

    @staticmethod
    def _parts() -> tuple[str, ...]:
        return ("encoder", "average", "workers", "weighting", "optimizer", "scaler")

    def provenance(self) -> dict[str, Any]:
        """Return what the run depends on besides its settings."""
        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": git_commit(),
            "versions": versions(),
            "device": str(self.fabric.device),
            "processes": self.fabric.world_size,
            "sources": {source.name: source.digest() for source in self.sampler.sources},
            "teachers": {name: lesson.facts.sha256 for name, lesson in self.lessons.items()},
        }

    def write_settings(self) -> None:
        """Write config.json, and add a line to runs.jsonl: a run may be started many times."""
        if self.fabric.is_global_zero:
            text = json.dumps(write_config(self.config), indent=1)
            write_whole(self.folder / "config.json", text)
            with (self.folder / "runs.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": self.progress.step} | self.provenance()) + "\n")


def make_encoder(config: PretrainConfig) -> Encoder:
    """Return the encoder, with random weights or those of another model.

    Raises
    ------
    ConfigError
        If that model's encoder has another shape.
    """
    kind, _ = ENCODERS[config.encoder.name]
    encoder: Encoder = kind(config.encoder)
    if config.start_from:
        other = load_encoder(config.start_from, config.encoder, "start_from")
        encoder.load_state_dict(other.state_dict())
    return encoder


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


def make_sampler(
    config: PretrainConfig, sample_rate: int, teachers: tuple[str, ...], fabric: Fabric
) -> Sampler:
    """Return what draws this process's excerpts."""
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
        teachers=teachers,
        rank=fabric.global_rank,
        ranks=fabric.world_size,
    )


def make_optimizer(parameters: list[nn.Parameter], config: PretrainConfig) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices and filters alone."""
    decay = config.optim.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.optim.learning_rate, betas=(0.9, 0.98))


def share_gradients(parameters: list[nn.Parameter], fabric: Fabric) -> None:
    """Average the gradients over all processes, in one message."""
    if fabric.world_size == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([g.flatten() for g in gradients])
    mean = fabric.all_reduce(flat, reduce_op="mean")
    assert isinstance(mean, Tensor)
    sizes = [p.numel() for p in parameters]
    for parameter, part in zip(parameters, torch.split(mean, sizes), strict=True):
        parameter.grad = part.view_as(parameter)


def write_whole(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
