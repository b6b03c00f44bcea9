"""Logging, probing and saving between the steps of a run."""

from collections import defaultdict
from pathlib import Path
from types import TracebackType

from lightning_fabric import Fabric
from torch import Tensor, distributed

from musicssl_training.train.config import PretrainConfig
from musicssl_training.train.metrics import (
    MetricLogger,
    effective_rank,
    gradient_statistics,
    peak_memory,
)
from musicssl_training.train.probe import probe
from musicssl_training.train.setup import make_patient_group
from musicssl_training.train.state import TrainState
from musicssl_training.train.step import StepResult


class Reporter:
    """Writes, in the first of all processes, how a run goes; the others wait where they must.

    Parameters
    ----------
    state
        What is reported on and saved.
    config
        Says how often.
    folder
        Of the run.
    fabric
        The processes.
    """

    def __init__(
        self, state: TrainState, config: PretrainConfig, folder: Path, fabric: Fabric
    ) -> None:
        self.state, self.config, self.folder, self.fabric = state, config, folder, fabric
        self.logger = MetricLogger(folder, state.progress.step) if fabric.is_global_zero else None
        self.patient = make_patient_group(fabric)

    def __enter__(self) -> "Reporter":
        if self.logger:
            self.logger.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.logger:
            self.logger.__exit__(kind, error, trace)

    def report(self, result: StepResult, frames: Tensor) -> None:
        """Write down how the run is going, and measure the encoder downstream, where it is time.

        Parameters
        ----------
        result
            Of the last step.
        frames
            The encoder's output for the batch.
        """
        step, config = self.state.progress.step, self.config
        probed = is_due(config.probe.every, step)
        due = probed or is_due(config.log_every, step) or result.gram is not None
        if self.logger and due:
            values = self.values(result, frames)
            if probed:
                values["probe"] = probe(self.state.ema_encoder, config, self.fabric.device)
            self.logger.write(step, values)
        if probed and self.patient is not None:
            distributed.barrier(group=self.patient)  # the first process probes alone

    def values(self, result: StepResult, frames: Tensor) -> dict[str, float | dict[str, float]]:
        """Return everything that is logged of a step but for downstream scores."""
        progress, workers = self.state.progress, self.state.workers
        values: dict[str, float | dict[str, float]] = {
            "hours": progress.hours_heard,
            "wall": progress.wall_seconds,
            "skipped": progress.skipped,
            "learning_rate": self.state.optimizer.param_groups[0]["lr"],
            "norm": result.norm,
            "norm_heads": result.norm_heads,
            "waiting": result.waiting,
            "effective_rank": effective_rank(frames),
            "loss": result.losses,
            "weight": result.weights,
            "memory": peak_memory(self.fabric.device),
        }
        metrics: dict[str, dict[str, float]] = defaultdict(dict)
        for name, worker in workers.items():
            for metric, value in worker.metrics().items():
                metrics[metric][name] = value
        values |= metrics  # "r2/chroma", "accuracy/contrast"
        if progress.step <= self.config.log_every:
            values["start"] = {
                name: worker.expected_initial_loss
                for name, worker in workers.items()
                if worker.expected_initial_loss is not None
            }
        if result.gram is not None:
            names = list(workers)
            values["gradient"], values["cosine"] = gradient_statistics(result.gram, names)
        return values

    def save(self) -> None:
        """Write the run's state, in the first process."""
        if self.fabric.is_global_zero:
            self.state.save(self.folder)


def is_due(every: int, step: int) -> bool:
    """Return whether something that is done every so many steps, or never (0), is done now."""
    return every > 0 and step % every == 0
