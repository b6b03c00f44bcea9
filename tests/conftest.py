"""Fixtures that several test files use."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hub_server import no_sockets, server, waits  # noqa: F401

if TYPE_CHECKING:
    from musicssl.model import MusicEncoder

# before torch is imported: for models this small, threads only cost
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with a very small, untrained encoder; the same weights every time."""
    import torch

    from musicssl.checkpoint import ModelConfig
    from musicssl.encoders import DilatedConfig
    from musicssl.model import MusicEncoder

    encoder = DilatedConfig(
        dim=16, inner=32, pitch_channels=(2, 2), mel_channels=8, dilations=(1, 2)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MusicEncoder(ModelConfig(encoder=encoder))
    return model.save_pretrained(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> "MusicEncoder":
    """That encoder, loaded."""
    import musicssl

    return musicssl.load_model(tiny_model_folder, device="cpu")
