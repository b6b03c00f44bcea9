"""Pre-training: settings, state, inputs, loop, logs and plots."""

from musicssl_training.train.config import (
    DataConfig,
    OptimConfig,
    PretrainConfig,
    ProbeConfig,
    read_config,
    write_config,
)
from musicssl_training.train.loop import pretrain
from musicssl_training.train.state import Progress, TrainState, read_ema_encoder
from musicssl_training.train.step import StepResult

__all__ = [
    "DataConfig",
    "OptimConfig",
    "PretrainConfig",
    "ProbeConfig",
    "Progress",
    "StepResult",
    "TrainState",
    "pretrain",
    "read_config",
    "read_ema_encoder",
    "write_config",
]
