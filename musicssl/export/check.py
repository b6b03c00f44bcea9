"""An exported model beside the one that it was made of."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from musicssl.errors import DependencyError, ModelError
from musicssl.inference.options import Settings
from musicssl.network import Network


def largest_difference(data: bytes, model: Network, settings: Settings) -> float:
    """Return by how much onnxruntime and torch differ at most, of sounds of several lengths.

    Parameters
    ----------
    data
        An ONNX file's content.
    model, settings
        What it was made of.

    Raises
    ------
    DependencyError
        If onnxruntime is missing.
    ModelError
        If it cannot run the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            "checking needs onnxruntime: pip install 'musicssl[onnx]', or check=False."
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised as well
    hop, rate = model.hop, model.sample_rate
    whole = 2 * model.context + 3 * hop
    shapes = [(1, 1), (2, hop), (1, hop + 1), (3, rate), (1, whole + 7)]
    largest = 0.0
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        for batch, samples in shapes:
            audio = _sounds(batch, samples, rate)
            found = session.run(["frames", "clip"], {"audio": audio})
            largest = max(largest, _difference(found, audio, model, settings))
    except Exception as error:  # its own kinds derive from nothing that it exports
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"onnxruntime cannot run the exported model: {reason}") from error
    return largest


def _difference(
    found: Any, audio: NDArray[np.float32], model: Network, settings: Settings
) -> float:
    """Return the largest difference, infinite where a shape or a value is wrong."""
    with torch.inference_mode():
        frames = model(torch.from_numpy(audio), layer=settings.layers)
        expected = (frames, model.pool(frames, pooling=settings.pooling))
    largest = 0.0
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape or not np.isfinite(a).all():
            return float("inf")
        largest = max(largest, float(np.abs(a - b.numpy()).max()))
    return largest


def _sounds(batch: int, samples: int, rate: int) -> NDArray[np.float32]:
    """Return chords that fade, noise and silence, the same ones every time."""
    random = np.random.default_rng(0)
    seconds = np.arange(samples) / rate
    audio = np.zeros((batch, samples))
    for row in audio:
        for hertz in random.uniform(40, 0.4 * rate, 5):
            row += np.sin(2 * np.pi * hertz * seconds) * np.exp(-random.uniform(0, 3) * seconds)
        row += random.standard_normal(samples) * 10 ** random.uniform(-5, 0)
        row /= max(1.0, np.abs(row).max())
        row[samples // 2 : samples // 2 + samples // 8] = 0
    return audio.astype(np.float32)
