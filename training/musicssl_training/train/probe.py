"""Downstream scores during a run."""

import tempfile
from pathlib import Path

import torch

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import Encoder
from musicssl.errors import ConfigError, MusicSSLError, pick
from musicssl.model import MusicEncoder
from musicssl_training.evaluation.datasets import COLLECTIONS
from musicssl_training.evaluation.embedders.adapters import ModelEmbedder
from musicssl_training.evaluation.suite import EvaluateConfig, evaluate
from musicssl_training.train.config import PretrainConfig, ProbeConfig
from musicssl_training.workers import check_layers

PART = "development"  # of every collection: the test part has then chosen nothing


def check_probe(config: PretrainConfig) -> None:
    """Make sure that a run can be probed as its settings say, before it has taken a step.

    Collections need not be there.

    Raises
    ------
    ConfigError
        For an unknown collection or task, or a layer or pooling that the encoder does not have.
    """
    chosen = config.probe
    if not chosen.every:
        return
    for name in roots(chosen):
        pick(COLLECTIONS, name, "probe.collections: collection")
    try:
        EvaluateConfig.linear(chosen.tasks, chosen.seeds, PART)
        model = MusicEncoder(ModelConfig(encoder=config.encoder))
        ModelEmbedder(model, "run", layer=chosen.layer, pooling=chosen.pooling)
    except MusicSSLError as error:
        raise ConfigError(f"config.probe: {error}") from error
    check_layers(config.worker_configs(), model.layers, chosen.layer, "probe.layer")


def probe(encoder: Encoder, config: PretrainConfig, device: torch.device) -> dict[str, float]:
    """Return an encoder's score on each task that there is data for, by its name.

    And their mean. The linear probe of the evaluation suite on all labels of the development part,
    so that what is chosen by it can be reported on the test part; tasks whose data is missing or
    broken are logged and left out.
    """
    chosen = config.probe
    model = MusicEncoder(
        ModelConfig(encoder=config.encoder, pooling=chosen.pooling, layer=chosen.layer)
    )
    model.encoder.load_state_dict(encoder.state_dict())
    embedder = ModelEmbedder(model.requires_grad_(False).eval().to(device), "run")
    with tempfile.TemporaryDirectory() as cache:
        settings = EvaluateConfig.linear(chosen.tasks, chosen.seeds, PART)
        report = evaluate([embedder], roots(chosen), Path(cache), settings)
    return {task: result.score for task, result in report.leading().items()}


def roots(config: ProbeConfig) -> dict[str, Path]:
    """Return the folder of each collection."""
    return {name: Path(folder).expanduser() for name, folder in config.places()}
