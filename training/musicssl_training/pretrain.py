"""The pre-training loop, read top to bottom."""

import copy
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from musicssl.config import from_dict, to_dict
from musicssl.devices import cpu_has_bf16
from musicssl.encoders import Dilated, DilatedConfig
from musicssl.errors import ConfigError
from musicssl_training.corpus import Pack, Sampler
from musicssl_training.distort import DistortConfig, distort
from musicssl_training.workers import Regression, make_workers

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pre-training run."""

    packs: tuple[str, ...]  # packed folders
    shares: tuple[float, ...]  # of the batch, one a pack
    workers: tuple[str, ...]
    encoder: DilatedConfig = field(default_factory=DilatedConfig)
    distort: DistortConfig = field(default_factory=DistortConfig)
    seconds: float = 7.04  # an excerpt; whole tempogram steps of 0.32 s
    pairs: int = 10  # recordings a batch, two excerpts each
    gain_db: float = 12.0  # of excerpt and targets alike, at most
    steps: int = 100_000
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: int = 500  # steps
    cool_down: float = 0.2  # share of the steps in which the rate falls to zero
    average: float = 0.999  # decay of the averaged weights
    clip: float = 1.0  # largest gradient norm
    bf16: bool = False
    seed: int = 0
    measure_batches: int = 40
    save_every: int = 100  # steps

    def __post_init__(self) -> None:
        if len(self.packs) != len(self.shares):
            raise ConfigError(f"{len(self.packs)} packs but {len(self.shares)} shares.")
        if not self.packs or min(self.shares) <= 0:
            raise ConfigError(f"shares must be positive, one a pack, got {list(self.shares)}.")
        if self.pairs < 2:
            raise ConfigError(
                f"pairs must be at least 2 (contrast needs others), got {self.pairs}."
            )


class Run:
    """Everything that changes during pre-training, and how to save and restore it."""

    def __init__(self, config: PretrainConfig, folder: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder = config, folder
        self.bf16 = config.bf16 and cpu_has_bf16()
        self.encoder = Dilated(config.encoder)
        self.workers = make_workers(list(config.workers), config.encoder.dim)
        self.average = copy.deepcopy(self.encoder).requires_grad_(False).eval()
        decayed = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
        self.random = torch.Generator().manual_seed(config.seed)
        packs = [Pack.open(Path(p)) for p in config.packs]
        for pack in packs:
            check_rate(pack, self.encoder.sample_rate)
        samples = round(config.seconds * self.encoder.sample_rate)
        self.sampler = Sampler(packs, list(config.shares), samples, config.seed)
        self.step, self.hours, self.wall = 0, 0.0, 0.0

    def parameters(self) -> list[nn.Parameter]:
        return [*self.encoder.parameters(), *self.workers.parameters()]

    @property
    def state_file(self) -> Path:
        return self.folder / "state.pt"

    def save(self) -> None:
        """Write the state beside the old one, then put it in its place."""
        state = {
            "encoder": self.encoder.state_dict(),
            "average": self.average.state_dict(),
            "workers": self.workers.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
            "sampler": json.dumps(self.sampler.random.bit_generator.state),
            "progress": [self.step, self.hours, self.wall],
        }
        part = self.state_file.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.state_file)

    def restore(self) -> None:
        """Go on where the last save left off.

        Raises
        ------
        ConfigError
            If it was saved by a run of another shape.
        """
        state = torch.load(self.state_file, weights_only=True)
        try:
            for name in ("encoder", "average", "workers", "optimizer"):
                getattr(self, name).load_state_dict(state[name])
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"{self.folder} holds a run with another encoder or other workers; "
                "use its settings or another folder."
            ) from error
        self.random.set_state(state["random"])
        self.sampler.random.bit_generator.state = json.loads(state["sampler"])
        self.step, self.hours, self.wall = state["progress"]

    def batch(self) -> Tensor:
        """Return clean excerpts at random gains, (2 * pairs, samples)."""
        audio = torch.from_numpy(self.sampler.excerpts(self.config.pairs))
        decibels = (torch.rand(len(audio), 1, generator=self.random) * 2 - 1) * self.config.gain_db
        peak = audio.abs().amax(dim=1, keepdim=True).clamp(min=1e-3)
        return audio * torch.minimum(10 ** (decibels / 20), 1 / peak)


def rate(step: int, config: PretrainConfig) -> float:
    """Return the learning rate: a ramp up, a plateau, a straight line down to zero."""
    fall = (config.steps - step) / max(1, config.cool_down * config.steps)
    rise = (step + 1) / max(1, config.warm_up)
    return config.learning_rate * max(0.0, min(1.0, rise, fall))


def check_rate(pack: Pack, sample_rate: int) -> None:
    """Compare a pack's sample rate, where its index says one, with the encoder's.

    Raises
    ------
    ConfigError
        If they differ.
    """
    for item in pack.items:
        if item.get("sample_rate", sample_rate) != sample_rate:
            raise ConfigError(
                f"{pack.folder} is at {item['sample_rate']} Hz, the encoder at {sample_rate} Hz; "
                "make the pack with that --sample-rate."
            )


def pretrain(
    config: PretrainConfig,
    folder: Path,
    *,
    show: Callable[[Run, dict[str, float]], None] = lambda run, losses: None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Pre-train into `folder`, going on with what is there.

    Parameters
    ----------
    config
        Of a run begun before, `steps` and the like may change; the encoder and workers may not.
    folder
        Of the run.
    show
        Called after each step with the losses.
    stop
        Asked after each step; once true, the run is saved and left.

    Raises
    ------
    ConfigError
        If `folder` holds another run, or a pack cannot be used.
    KeyboardInterrupt
        After `stop`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(config, folder)
    if config.bf16 and not run.bf16:
        log.warning("this processor has no bf16 instructions; training in fp32.")
    if run.state_file.exists():
        run.restore()
        log.info("going on at step %d, %.1f h heard", run.step, run.hours)
    else:
        measure(run)
    write_whole(folder / "config.json", json.dumps(to_dict(config), indent=1))
    forget_lost_steps(folder / "log.jsonl", run.step)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as lines:
        while run.step < config.steps:
            began = time.perf_counter()
            losses = train_step(run)
            run.wall += time.perf_counter() - began
            if run.step % 10 == 0:
                line = {"step": run.step, "hours": run.hours, "wall": run.wall} | losses
                lines.write(json.dumps({k: round(v, 5) for k, v in line.items()}) + "\n")
                lines.flush()
            stopped = stop()
            if stopped or run.step % config.save_every == 0 or run.step == config.steps:
                run.save()
            show(run, losses)
            if stopped:
                raise KeyboardInterrupt
    return run


def write_whole(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def forget_lost_steps(path: Path, step: int) -> None:
    """Drop the lines of a log that were written after the last save: they will come again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    write_whole(path, "".join(line for line in whole if json.loads(line)["step"] <= step))


def measure(run: Run) -> None:
    """Gather the targets' statistics on a few batches."""
    for _ in range(run.config.measure_batches):
        spectra = clean_spectra(run, run.batch())
        for worker in run.workers.values():
            if isinstance(worker, Regression):
                worker.measure(spectra)


@torch.no_grad()
def clean_spectra(run: Run, audio: Tensor) -> Any:
    """Return the spectra of a batch, two a frame."""
    frames = run.encoder.frames(audio.shape[1])
    return run.encoder.spectrum(audio, Dilated.stride * frames)


def train_step(run: Run) -> dict[str, float]:
    """Hear one batch and learn from it; return each worker's loss."""
    config = run.config
    audio = run.batch()
    clean = clean_spectra(run, audio)
    heard = distort(clean, config.distort, config.encoder.spectrum, run.random)
    with torch.autocast("cpu", torch.bfloat16, enabled=run.bf16):
        frames = run.encoder.encode(heard)[-1]
        losses = {name: w.loss(frames, clean) for name, w in run.workers.items()}  # type: ignore[operator]
    total = torch.stack(list(losses.values())).sum()
    for group in run.optimizer.param_groups:
        group["lr"] = rate(run.step, config)
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(run.parameters(), config.clip)
    if not math.isfinite(norm.item()):
        raise FloatingPointError(f"gradient is {norm.item()} at step {run.step}.")
    run.optimizer.step()
    run.step += 1
    run.hours += audio.numel() / run.encoder.sample_rate / 3600
    follow(run)
    return {name: loss.item() for name, loss in losses.items()} | {"norm": norm.item()}


@torch.no_grad()
def follow(run: Run) -> None:
    """Move the averaged weights towards the current ones, faster at first."""
    decay = min(run.config.average, (1 + run.step) / (10 + run.step))
    for mean, now in zip(run.average.parameters(), run.encoder.parameters(), strict=True):
        mean.lerp_(now, 1 - decay)


def read_config(values: dict[str, Any]) -> PretrainConfig:
    """Return the run's settings from a TOML or JSON mapping."""
    return from_dict(PretrainConfig, values, "config")
