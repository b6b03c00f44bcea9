"""The models that the benchmarks measure, by name."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig
from musicssl.model import MusicEncoder, load_model

MODEL_HELP = (
    "bundled model, checkpoint folder or Hugging Face repository (default: musicssl-small); "
    "'random' for the default architecture with random weights"
)


def random_model(config: ModelConfig, seed: int) -> MusicEncoder:
    """Return an untrained model; the global random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MusicEncoder(config)
    model.model_id = f"random weights, seed {seed}"
    return model.requires_grad_(False).eval()


def load(name: str | None) -> MusicEncoder:
    """Load a model onto the CPU."""
    if name == "random":
        return random_model(ModelConfig(encoder=DilatedConfig()), 0)
    return load_model(name, device="cpu")


@contextmanager
def checkpoint(name: str | None) -> Iterator[str | None]:
    """Give a name that a new process can load; random weights are saved for as long."""
    if name != "random":
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        yield str(load(name).save_pretrained(folder))
