"""One cell: pre-train an encoder, keep it, measure it. All that a study asks of other packages."""

import functools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import EncoderConfig
from musicssl.errors import ConfigError
from musicssl.model import MusicEncoder
from musicssl_training.evaluation.embedders.adapters import ModelEmbedder
from musicssl_training.evaluation.report.results import Report
from musicssl_training.evaluation.suite import EvaluateConfig, check_tasks, evaluate
from musicssl_training.output import make_output_folder
from musicssl_training.study.design import Cell
from musicssl_training.study.folder import FACTS
from musicssl_training.study.measure import MeasureConfig
from musicssl_training.study.music import hash_labels, open_heard, read_collections, read_made_by
from musicssl_training.study.results import find_cost_fault
from musicssl_training.train import PretrainConfig, StepResult, TrainState, pretrain, write_config
from musicssl_training.train.state import STATE, read_state
from musicssl_training.weighting import make_weighting
from musicssl_training.workers import check_layers, resolve
from musicssl_training.workers.teacher import join

Stop = Callable[[], bool]
COST = "cost.json"  # in a run's folder: what it has cost up to its last save
TIMED_STEPS = 3  # the first of them warms up


def train_cell(cell: Cell, running: Path, model: Path, stop: Stop) -> None:
    """Pre-train a cell's encoder into the checkpoint folder `model`, which appears whole.

    Parameters
    ----------
    cell
        What to train.
    running
        Folder of the run, which goes on with what is there; it is removed in the end.
    model
        Folder to write.
    stop
        Asked after every step; once true, the run is saved and left.

    Raises
    ------
    KeyboardInterrupt
        After `stop`.
    MusicSSLError
        As `pretrain`.
    """
    before = _read_cost(running)
    cpu, wall = _cpu_seconds(), time.perf_counter()

    def spent() -> dict[str, float]:
        return {
            "cpu_seconds": before["cpu_seconds"] + _cpu_seconds() - cpu,
            "wall_seconds": before["wall_seconds"] + time.perf_counter() - wall,
        }

    def show(state: TrainState, result: StepResult) -> None:
        if state.progress.step % cell.config.save_every == 0 or stop():  # it was saved just now
            (running / COST).write_text(json.dumps(spent()), "utf-8")

    state = pretrain(cell.config, running, show=show, stop=stop)
    facts = spent() | {
        "steps": state.progress.step,
        "hours_heard": state.progress.hours_heard,
        "steps_left_out": state.progress.skipped,
        "parameters": sum(p.numel() for p in state.encoder.parameters()),
        "threads": torch.get_num_threads(),
        "made_by": read_made_by(running),
    }
    part = running / "model"
    _as_model(state, cell.config.encoder).save_pretrained(part)
    (part / FACTS).write_text(json.dumps(facts, indent=1), "utf-8")
    make_output_folder(model.parent)
    part.replace(model)
    shutil.rmtree(running)


def measure_cell(cell: Cell, model: Path, cache: Path, stop: Stop) -> dict[str, Any]:
    """Return the scores of a cell's encoder, and everything else that its result holds.

    Raises
    ------
    KeyboardInterrupt
        After `stop`; what was embedded lies in `cache`.
    ConfigError
        If a task could not be measured.
    """
    config = cell.evaluate
    cpu, wall = _cpu_seconds(), time.perf_counter()
    encoder = MusicEncoder.from_pretrained(model).requires_grad_(False).eval()
    embedder = ModelEmbedder(encoder, "encoder", layer=config.layer, pooling=config.pooling)

    def keep(report: Report) -> None:
        if stop():
            raise KeyboardInterrupt

    report = evaluate([embedder], config.roots, cache, _evaluation(config), keep)
    names = ("metric", "score", "chance", "n_items", "n_groups", "split")
    scores: dict[str, Any] = {
        task: {name: getattr(result, name) for name in names}
        for task, result in report.leading().items()
        if task in config.chosen
    }
    missing = [gap for gap in report.missing if gap["task"].split(" (")[0] in config.chosen]
    if missing:
        raise ConfigError("; ".join(f"{gap['task']}: {gap['reason']}" for gap in missing))
    shutil.rmtree(cache, ignore_errors=True)
    facts = _read_facts(model)
    facts["labels"] = {one.name: hash_labels(one) for one in read_collections(config)}
    facts["evaluate_cpu_seconds"] = _cpu_seconds() - cpu
    facts["evaluate_wall_seconds"] = time.perf_counter() - wall
    return {"scores": scores, "data": report.data, "config": write_config(cell.config)} | facts


def find_damage(running: Path, model: Path) -> tuple[Path, str] | None:
    """Return the folder from which a cell would go on, and why it cannot; None if it can."""
    place, read = (model, _read_model) if model.exists() else (running, _read_run)
    try:
        read(place)
    except Exception as error:  # of any kind: torch and its readers have many
        return place, f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def time_steps(config: PretrainConfig) -> float:
    """Return the seconds that a step takes, by a run of a few steps in a temporary folder.

    On a CPU these are seconds of its cores: beside other work they tell what a step needs, not how
    long it waits.
    """
    moments: list[float] = []
    threads = torch.get_num_threads()

    def note(state: TrainState, result: StepResult) -> None:
        on_cpu = next(state.encoder.parameters()).is_cpu
        moments.append(time.process_time() / threads if on_cpu else time.perf_counter())

    short = replace(config, steps=TIMED_STEPS, measure_batches=1)
    with tempfile.TemporaryDirectory() as folder:
        pretrain(short, Path(folder), show=note)
    return (moments[-1] - moments[0]) / (len(moments) - 1)


def check_cell(cell: Cell) -> None:
    """Make sure that a cell's weighting fits its workers, and that its layers exist.

    Raises
    ------
    ConfigError
        If not.
    """
    make_weighting(cell.config.weighting, resolve(cell.config.workers))
    layers = _check_measured(cell.config.encoder, cell.evaluate.layer, cell.evaluate.pooling)
    where = f"cell {cell.name}: evaluate.layer"
    check_layers(cell.config.worker_configs(), layers, cell.evaluate.layer, where)


def check_teachers(
    teachers: Sequence[str], places: Sequence[str], shares: Sequence[float], encoder: EncoderConfig
) -> None:
    """Make sure that sources have values of all teachers that workers of a cell ask.

    Raises
    ------
    ConfigError
        If not.
    """
    sources = open_heard(places, encoder)
    for name in teachers:
        join(name, [source.lessons(name) for source in sources], shares)


def check_measure(config: MeasureConfig) -> None:
    """Make sure that all tasks can be measured, without any encoder.

    Raises
    ------
    ConfigError
        If not.
    """
    try:
        check_tasks(config.roots, _evaluation(config))
    except ConfigError as error:
        raise ConfigError(f"evaluate: {error}") from error


@functools.cache
def _check_measured(encoder: EncoderConfig, layer: tuple[int, ...], pooling: str) -> int:
    """Return the number of layers of an encoder that can be measured so."""
    model = MusicEncoder(ModelConfig(encoder=encoder))
    return ModelEmbedder(model, "encoder", layer=layer, pooling=pooling).model.layers


def _evaluation(config: MeasureConfig) -> EvaluateConfig:
    return EvaluateConfig.linear(config.chosen, config.seeds, config.part)


def _as_model(state: TrainState, config: EncoderConfig) -> MusicEncoder:
    """Return the averaged encoder as a model."""
    model = MusicEncoder(ModelConfig(encoder=config))
    model.encoder.load_state_dict(state.ema_encoder.state_dict())
    return model.requires_grad_(False).eval()


def _cpu_seconds() -> float:
    """Return the time that cores have spent on this process and on those it has waited for."""
    return sum(os.times()[:4])


def _read_model(model: Path) -> None:
    MusicEncoder.from_pretrained(model)
    _read_facts(model)


def _read_run(running: Path) -> None:
    if (running / STATE).exists():
        read_state(running, torch.device("cpu"))


def _read_facts(model: Path) -> dict[str, Any]:
    """Return what the training of a model cost and was made of.

    Raises
    ------
    ConfigError
        If that is damaged.
    """
    facts: dict[str, Any] = json.loads((model / FACTS).read_text("utf-8"))
    if fault := find_cost_fault(facts) if isinstance(facts, dict) else "it holds no table":
        raise ConfigError(f"{model / FACTS} is damaged: {fault}.")
    return facts


def _read_cost(running: Path) -> dict[str, float]:
    try:
        found = json.loads((running / COST).read_text("utf-8"))
        return {name: float(found[name]) for name in ("cpu_seconds", "wall_seconds")}
    except (OSError, ValueError, LookupError, TypeError):  # not saved yet, or killed while writing
        return {"cpu_seconds": 0.0, "wall_seconds": 0.0}
