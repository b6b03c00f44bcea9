"""A corpus of a few seconds, and the settings of a run on it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

# before torch is imported, and for the processes of tests too: threads only cost here
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from musicssl.encoders import DilatedConfig
from musicssl_training.train import DataConfig, OptimConfig, PretrainConfig

RATE = 22_050
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of six recordings of 12 s, each a loop of its own."""
    folder = tmp_path_factory.mktemp("corpus") / "toy"
    folder.mkdir()
    rng = np.random.default_rng(0)
    t = np.arange(12 * RATE) / RATE
    lines, position = [], 0
    with (folder / "audio.i16").open("wb") as audio:
        for i in range(6):
            hertz = 110 * 2 ** (rng.integers(0, 36, 4) / 12)
            beat = 0.3 + 0.1 * i
            tones = sum(np.sin(2 * np.pi * f * t) for f in hertz) * np.exp(-4 * (t % beat))
            samples = (4000 * tones + 100 * rng.standard_normal(len(t))).astype("<i2")
            samples.tofile(audio)
            row = {"path": f"{i}.wav", "source": "toy", "licence": "CC0"}
            lines.append(json.dumps(row | {"start": position, "samples": len(samples)}))
            position += len(samples)
    (folder / "index.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def toy_config(toy_pack: Path) -> PretrainConfig:
    """Settings of a very small run."""
    return PretrainConfig(
        data=DataConfig(
            sources=(str(toy_pack),), shares=(1.0,), seconds=3.52, recordings=3, workers=0
        ),
        workers=("log_mel", "mfcc", "chroma", "onsets", "shape", "contrast"),
        encoder=DilatedConfig(
            dim=32, inner=48, pitch_channels=(2, 3), mel_channels=16, dilations=(1, 2)
        ),
        optim=OptimConfig(warm_up=2),
        hidden=16,
        steps=6,
        measure_batches=3,
        save_every=3,
        log_every=1,
        compare_every=0,
    )


@pytest.fixture
def few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a release find its statistics in 4 batches, not 60: that takes most of its time."""
    monkeypatch.setattr("musicssl_training.release.export.STATISTICS_BATCHES", 4)
