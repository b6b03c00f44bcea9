"""The pre-training loop."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from musicssl_training.data import Sampler
from musicssl_training.output import make_output_folder
from musicssl_training.targets.features import FrameGrid, make_grid
from musicssl_training.train.config import PretrainConfig
from musicssl_training.train.ema import update_ema
from musicssl_training.train.inputs import make_encoder_input
from musicssl_training.train.loader import BatchLoader, ExcerptStream
from musicssl_training.train.probe import check_probe
from musicssl_training.train.record import (
    check_teachers,
    find_beginning,
    find_origins,
    find_recorded_beginning,
    read_starts,
    warn_of_changes,
)
from musicssl_training.train.report import Reporter, is_due
from musicssl_training.train.schedule import set_learning_rate
from musicssl_training.train.setup import (
    describe_lessons,
    make_encoder,
    make_fabric,
    make_lessons,
    make_sampler,
    make_state,
    warn_of_constants,
    write_settings,
)
from musicssl_training.train.state import STATE, TrainState
from musicssl_training.train.step import (
    StepResult,
    all_reduce,
    all_reduce_gradients,
    by_name,
    clip_gradients,
    copy_buffers,
    find_live,
    find_losses,
    gradient_gram,
    hours_of,
    put_back_buffers,
    read_layers,
    report_skipped_step,
    split_output,
    stack_gradients,
    weighted_gradient,
)
from musicssl_training.workers import layers_read

log = logging.getLogger(__name__)
Show = Callable[[TrainState, StepResult], object]


def pretrain(
    config: PretrainConfig,
    folder: Path,
    *,
    fabric: Fabric | None = None,
    show: Show = lambda state, result: None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainState:
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
        Called after each step, and after it was saved if it was.
    stop
        Asked after each step; once true, the run is saved and left.

    Returns
    -------
    TrainState
        After the last step.

    Raises
    ------
    ConfigError
        If `folder` holds another run, or one that learnt from another teacher of the same name;
        if a source cannot be used, or the probe does not fit the run.
    OutputError
        If `folder` cannot be made, or the state not be written.
    MusicSSLError
        If losses or gradients are not finite for `patience` steps in a row.
    KeyboardInterrupt
        After `stop`.
    """
    check_probe(config)  # its random numbers are drawn before the seed is set
    make_output_folder(folder)
    fabric = fabric or make_fabric(config)
    torch.manual_seed(config.seed)  # the same weights in every process
    begun = (folder / STATE).exists()
    encoder = make_encoder(replace(config, start_from="") if begun else config)
    grid = make_grid(encoder)
    sampler = make_sampler(config, encoder.sample_rate, fabric.global_rank, fabric.world_size)
    lessons = make_lessons(sampler, config)
    state = make_state(config, encoder, lessons, fabric.device)
    if begun:
        state.restore(folder, fabric.device)
        progress = state.progress
        log.info("going on at step %d, %.1f h heard", progress.step, progress.hours_heard)
    else:
        fit_target_statistics(state, config, sampler, grid, fabric.device)
    starts = read_starts(folder, state.progress.step)
    check_teachers(folder, starts, [lesson.facts for lesson in lessons.values()])
    if fabric.is_global_zero:
        for name in lessons:
            log.info("%s", describe_lessons(name, sampler))
        warn_of_constants(state.workers)
        beginning = (
            find_recorded_beginning(starts) if begun else find_beginning(config.start_from, encoder)
        )
        origins = find_origins(sampler, config.data.shares, beginning)
        warn_of_changes(starts, origins)
        step = state.progress.step
        write_settings(config, folder, step=step, lessons=lessons, fabric=fabric, origins=origins)
    train(state, config, folder, sampler=sampler, grid=grid, fabric=fabric, show=show, stop=stop)
    return state


@torch.no_grad()
def fit_target_statistics(
    state: TrainState,
    config: PretrainConfig,
    sampler: Sampler,
    grid: FrameGrid,
    device: torch.device,
) -> None:
    """Let the workers gather their targets' statistics on the batches of the first steps."""
    stream = ExcerptStream(sampler, grid, config, 0, config.measure_batches)
    with closing(BatchLoader(stream, config.data.workers, device)) as batches:
        for parts in batches:
            for part in parts:
                batch = part.to(device)
                for worker in state.workers.values():
                    worker.measure(batch)


def train(
    state: TrainState,
    config: PretrainConfig,
    folder: Path,
    *,
    sampler: Sampler,
    grid: FrameGrid,
    fabric: Fabric,
    show: Show,
    stop: Callable[[], bool],
) -> None:
    """Take the steps that are left; see `pretrain`.

    A batch is heard in parts (``optim.accumulate``), whose gradients add up. In each, the workers'
    heads learn with weight 1, and the weights act on what goes on into the encoder. They are found
    on the first part. A step with a loss or gradient that is not finite leaves no trace: optimizer
    and EMA do not move, and buffers (running statistics, memories) are put back.

    Raises
    ------
    KeyboardInterrupt
        After `stop`.
    """
    encoder, workers, weighting = state.encoder, state.workers, state.weighting
    optimizer, scaler, progress = state.optimizer, state.scaler, state.progress
    optim, device = config.optim, fabric.device
    forward = torch.compile(read_layers) if config.compile else read_layers
    read = layers_read(config.worker_configs(), encoder.n_layers)
    layers = sorted(set(read.values()))
    skipped = 0  # steps in a row
    with ExitStack() as stack:
        stream = ExcerptStream(sampler, grid, config, progress.step, config.steps)
        batches = stack.enter_context(closing(BatchLoader(stream, config.data.workers, device)))
        reporter = stack.enter_context(Reporter(state, config, folder, fabric))
        while progress.step < config.steps:
            began = time.perf_counter()
            parts = next(batches)
            waiting = time.perf_counter() - began
            set_learning_rate(optimizer, progress.step, config.steps, optim)
            optimizer.zero_grad(set_to_none=True)
            before = copy_buffers(encoder, workers, weighting)
            compare = is_due(config.compare_every, progress.step + 1)
            share = 1 / len(parts)
            weights = gram = None
            losses, asked = torch.zeros(2, len(workers), device=device)
            for part in parts:
                batch = part.to(device)
                inputs = make_encoder_input(batch, encoder, workers, config)
                with fabric.autocast():
                    frames = forward(encoder, inputs.features, layers)
                heads = split_output(frames, inputs, read)
                live = find_live(workers, heads, batch, fabric)
                own = find_losses(workers, heads, batch, fabric)  # of this process
                found = all_reduce(own, fabric, "mean")
                scaler.scale(own.sum() * share).backward()  # type: ignore[no-untyped-call]
                if compare or weighting.needs_gram:
                    gradients = stack_gradients(heads, frames)
                    gram = gradient_gram(gradients, scaler.get_scale() * share, fabric)
                if weights is None:
                    weights = weighting(found, gram if weighting.needs_gram else None, live)
                whole = weighted_gradient(heads, weights, frames)
                frames.backward(whole)  # type: ignore[no-untyped-call]
                losses, asked = losses + found, asked + live
                progress.hours_heard += hours_of(batch, fabric)
            all_reduce_gradients(state.parameters(), fabric)
            norm, norm_heads = clip_gradients(state, optim)
            result = StepResult(
                losses=by_name(workers, losses / asked, asked > 0),
                weights=by_name(workers, weights),
                norm=norm,
                norm_heads=norm_heads,
                waiting=waiting,
                gram=gram if compare else None,
            )
            if result.finite:
                scaler.step(optimizer)
                update_ema(state.ema_encoder, encoder, progress.step, optim.average)
            else:
                put_back_buffers(before, encoder, workers, weighting)
            scaler.update()
            progress.step += 1
            progress.skipped += not result.finite
            progress.wall_seconds += time.perf_counter() - began
            skipped = 0 if result.finite else skipped + 1
            if skipped:
                report_skipped_step(result, progress.step, skipped, config.patience, folder)
            reporter.report(result, frames[: inputs.batch, :, -encoder.dim :])
            stopped = stop()
            if stopped or is_due(config.save_every, progress.step) or progress.step == config.steps:
                reporter.save()
            show(state, result)
            if stopped:
                raise KeyboardInterrupt
