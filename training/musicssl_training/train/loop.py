"""The pre-training loop, read top to bottom."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from musicssl.errors import MusicSSLError
from musicssl_training.train.config import OptimConfig, PretrainConfig
from musicssl_training.train.inputs import batches, hear, moved, read
from musicssl_training.train.metrics import Record, geometry, peak_memory
from musicssl_training.train.prefetch import Ahead
from musicssl_training.train.probe import probe
from musicssl_training.train.state import STATE, Run, share_gradients
from musicssl_training.weighting import output_gradients, output_gram
from musicssl_training.workers import Batch
from musicssl_training.workers.regression import Regression
from musicssl_training.workers.teacher import Imitation

log = logging.getLogger(__name__)


@dataclass
class Heard:
    """What came of one step."""

    losses: dict[str, float]
    weights: dict[str, float]
    norm: float  # of the gradient, before clipping
    waiting: float = 0.0  # seconds
    gram: Tensor | None = None  # of the workers' gradients, every `compare_every` steps

    @property
    def finite(self) -> bool:
        """Whether something could be learnt from it."""
        return math.isfinite(self.norm) and all(map(math.isfinite, self.losses.values()))


def pretrain(
    config: PretrainConfig,
    folder: Path,
    *,
    fabric: Fabric | None = None,
    show: Callable[[Run, Heard], None] = lambda run, heard: None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Pre-train into `folder`, going on with what is there.

    Parameters
    ----------
    config
        Of a run begun before, `steps` and the like may change; encoder, workers and weighting
        may not.
    folder
        Of the run.
    fabric
        Where to compute; by default every GPU that torchrun started a process for, else the CPU.
    show
        Called after each step.
    stop
        Asked after each step; once true, the run is saved and left.

    Raises
    ------
    ConfigError
        If `folder` holds another run, or a source cannot be used.
    OutputError
        If the state cannot be written.
    MusicSSLError
        If losses or gradients are not finite for `patience` steps in a row.
    KeyboardInterrupt
        After `stop`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(config, folder, fabric)
    if (folder / STATE).exists():
        run.restore()
        log.info("going on at step %d, %.1f h heard", run.progress.step, run.progress.hours)
    else:
        measure(run)
    run.write_settings()
    bad = 0
    with ExitStack() as stack:
        ahead = stack.enter_context(closing(batches(run)))
        record = None
        if run.fabric.is_global_zero:
            record = stack.enter_context(Record(folder, run.progress.step))
        while run.progress.step < config.steps:
            began = time.perf_counter()
            heard = train_step(run, ahead)
            run.progress.wall += time.perf_counter() - began
            bad = 0 if heard.finite else bad + 1
            if bad:
                complain(run, heard, bad)
            step = run.progress.step
            if record and (step % config.log_every == 0 or heard.gram is not None or probes(run)):
                note(record, run, heard)
            if probes(run):
                run.wait()  # the first process probes alone
            stopped = stop()
            if stopped or step % config.save_every == 0 or step == config.steps:
                run.save()
            show(run, heard)
            if stopped:
                raise KeyboardInterrupt
    return run


def measure(run: Run) -> None:
    """Let the workers gather their targets' statistics on the batches of the first steps."""
    with torch.no_grad():
        for step in range(run.config.measure_batches):
            for batch in read(run, step):
                batch = moved(run, batch)
                for worker in run.workers.values():
                    worker.measure(batch)  # type: ignore[operator]


def train_step(run: Run, ahead: Ahead[list[Batch]]) -> Heard:
    """Hear one batch and learn from it."""
    config = run.config
    parts, waiting = ahead.get()
    compare = config.compare_every > 0 and (run.progress.step + 1) % config.compare_every == 0
    for group in run.optimizer.param_groups:
        group["lr"] = rate(run.progress.step, config.steps, config.optim)
    run.optimizer.zero_grad(set_to_none=True)
    weights = gram = None
    losses = torch.zeros(len(run.names), device=run.fabric.device)
    for part in parts:
        batch = moved(run, part)
        found, weights, gram = learn(run, batch, weights, 1 / len(parts), compare)
        losses += found / len(parts)
        run.progress.hours += hours(run, batch)
    share_gradients(run.parameters(), run.fabric)
    run.scaler.unscale_(run.optimizer)
    norm = nn.utils.clip_grad_norm_(run.parameters(), config.optim.clip).item()
    shown = gram if compare else None
    heard = Heard(run.by_name(losses), run.by_name(weights), norm, waiting, shown)
    if heard.finite:
        run.scaler.step(run.optimizer)
        follow(run)
    run.scaler.update()
    run.progress.skipped += not heard.finite
    run.progress.step += 1
    return heard


def learn(
    run: Run, batch: Batch, weights: Tensor | None, share: float, compare: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Hear one part of a batch and add to the gradients.

    Each worker's head learns with weight 1; the weights act on what enters the encoder. They are
    found on the first part and hold for the whole batch.

    Returns
    -------
    losses, weights, gram
        Shapes (workers,), (workers,), and (workers, workers) where it was computed. Weights are
        None and nothing is learnt if a loss is not finite.
    """
    frames, rows = hear(run, batch)
    if compare or run.weighting.needs_gram:
        return learn_apart(run, batch, frames, rows, weights, share)
    chosen: list[Tensor] = []  # filled before the backward pass reads it
    inputs = [frames[r] for r in rows]
    for k, part in enumerate(inputs):
        part.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient, k=k: gradient * chosen[0][k].to(gradient)
        )
    losses = find_losses(run, batch, inputs)
    seen = over_processes(run, torch.stack([*losses.values()]))
    if not seen.isfinite().all():
        return seen, None, None
    chosen.append(run.weighting(seen, None) if weights is None else weights)
    total = torch.stack([*losses.values()]).sum() * share
    run.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
    return seen, chosen[0], None


def learn_apart(
    run: Run,
    batch: Batch,
    frames: Tensor,
    rows: list[Tensor | slice],
    weights: Tensor | None,
    share: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Do as `learn`, with each worker's gradient at the encoder's output for itself."""
    leaf = frames.detach().requires_grad_()
    losses = find_losses(run, batch, [leaf[r] for r in rows])
    seen = over_processes(run, torch.stack([*losses.values()]))
    if not seen.isfinite().all():
        return seen, None, None
    scale = share * run.scaler.get_scale()
    gradients = output_gradients({k: loss * scale for k, loss in losses.items()}, leaf)
    gram = over_processes(run, output_gram(gradients) / scale**2) / run.fabric.world_size
    if weights is None:
        weights = run.weighting(seen, gram if run.weighting.needs_gram else None)
    whole = torch.einsum("k,k...->...", weights.to(gradients), gradients)
    frames.backward(whole)  # type: ignore[no-untyped-call]
    return seen, weights, gram


def find_losses(run: Run, batch: Batch, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return every worker's loss, a scalar in fp32."""
    with run.fabric.autocast():
        return {
            name: worker.loss(frames, batch).float()  # type: ignore[operator]
            for (name, worker), frames in zip(run.workers.items(), inputs, strict=True)
        }


def over_processes(run: Run, values: Tensor) -> Tensor:
    """Return the mean over all processes, detached."""
    mean = run.fabric.all_reduce(values.detach(), reduce_op="mean")
    assert isinstance(mean, Tensor)
    return mean


def hours(run: Run, batch: Batch) -> float:
    """Return the hours of audio in this part of a batch, over all processes."""
    return run.fabric.world_size * batch.sound.audio.numel() / run.grid.sample_rate / 3600


def probes(run: Run) -> bool:
    """Tell whether the encoder is to be measured downstream after this step."""
    every = run.config.probe.every
    return every > 0 and run.progress.step % every == 0


def note(record: Record, run: Run, heard: Heard) -> None:
    """Write down how the run is going."""
    progress = run.progress
    values: dict[str, float | dict[str, float]] = {
        "hours": progress.hours,
        "wall": progress.wall,
        "skipped": progress.skipped,
        "learning_rate": run.optimizer.param_groups[0]["lr"],
        "norm": heard.norm,
        "waiting": heard.waiting,
        "loss": heard.losses,
        "weight": heard.weights,
        "r2": {
            name: worker.r2.item()
            for name, worker in run.workers.items()
            if isinstance(worker, Regression | Imitation)
        },
    }
    values["memory"] = peak_memory(run.fabric.device)
    if progress.step <= run.config.log_every:
        values["start"] = {
            name: worker.start  # type: ignore[misc]
            for name, worker in run.workers.items()
            if worker.start is not None
        }
    if heard.gram is not None:
        values["gradient"], values["cosine"] = geometry(heard.gram, run.names)
    if probes(run):
        values["probe"] = probe(run)
    record.write(progress.step, values)


def rate(step: int, steps: int, optim: OptimConfig) -> float:
    """Return the learning rate: a ramp up, then a plateau and a straight fall, or a cosine."""
    rise = (step + 1) / max(1, optim.warm_up)
    if optim.schedule == "cosine":
        done = (step - optim.warm_up) / max(1, steps - optim.warm_up)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
    else:
        fall = (steps - step) / max(1, optim.cool_down * steps)
    return optim.learning_rate * max(0.0, min(1.0, rise, fall))


@torch.no_grad()
def follow(run: Run) -> None:
    """Move the averaged weights towards the current ones, faster at first."""
    step = run.progress.step
    decay = min(run.config.optim.average, (1 + step) / (10 + step))
    for mean, now in zip(run.average.parameters(), run.encoder.parameters(), strict=True):
        mean.lerp_(now, 1 - decay)
    for old, new in zip(run.average.buffers(), run.encoder.buffers(), strict=True):
        old.copy_(new)


def complain(run: Run, heard: Heard, bad: int) -> None:
    """Say that a step was left out, and give up after too many.

    Raises
    ------
    MusicSSLError
        After `patience` of them in a row.
    """
    wrong = [name for name, loss in heard.losses.items() if not math.isfinite(loss)]
    what = f"the loss of {', '.join(wrong)}" if wrong else "the gradient"
    log.warning("step %d left out: %s is not finite", run.progress.step, what)
    if bad >= run.config.patience:
        raise MusicSSLError(
            f"{what} was not finite for {bad} steps in a row, up to step {run.progress.step}; "
            f"{run.folder / STATE} is of before. A lower optim.learning_rate or precision fp32 "
            "may help; look at log.jsonl for where it began."
        )
