"""SwiftF0: the pitch of one voice or instrument [1]_.

References
----------
.. [1] Nieradzik, "SwiftF0: Fast and accurate monophonic pitch detection", 2025.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicssl_training.teachers.base import Facts
from musicssl_training.teachers.onnx import Network, OnnxTeacher

RATE, HOP = 16_000, 256  # Hz, samples
BEFORE, AFTER = 11, 10  # frames that a frame hears
KEPT = 1024  # frames of a piece
LOWEST, HIGHEST = 46.875, 2093.75  # Hz
MIDDLE = (LOWEST * HIGHEST) ** 0.5
QUIET = 1e-3  # largest magnitude of silence, to which the network would give pitches at random


class SwiftF0(OnnxTeacher):
    """Confidence that there is one pitch; and times it, the octave and the place on the circle.

    Parameters
    ----------
    network
        Takes audio, (1, samples), and limits; gives pitch and confidence, (1, frames).
    sha256
        Of its weights.
    """

    package = "swift_f0"
    weights = Path("model.onnx")
    install = "pip install swift-f0==0.3.0"
    sample_rate = RATE
    step, steps = HOP, KEPT
    before, size = BEFORE * HOP, (BEFORE + KEPT + AFTER) * HOP

    def __init__(self, network: Network, sha256: str) -> None:
        super().__init__(network, sha256)
        self.facts = Facts(
            name="swift-f0",
            model="SwiftF0 0.3.0 (Nieradzik, 2025), confidence and pitch",
            sha256=sha256,
            licence="MIT",
            trained_on="the five training corpora of lars76/pitch-benchmark (CC BY-NC-SA 4.0) "
            "with their pitches",
            kind="frames",
            size=4,
            hop=HOP / RATE,
        )

    def steps_of(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        limits = {"fmin": np.float32(LOWEST), "fmax": np.float32(HIGHEST)}
        given = {name: np.asarray(limit) for name, limit in limits.items()}
        found = self.network({"audio": piece[None]} | given)
        loud = np.abs(piece.reshape(-1, HOP)).max(axis=1) >= QUIET
        kept = slice(BEFORE, BEFORE + KEPT)
        sure = (found["confidence"][0] * loud)[kept]
        octaves = np.log2(np.maximum(found["pitch"][0][kept], 1.0) / MIDDLE)
        turn = 2 * np.pi * octaves
        parts = [np.ones_like(turn), octaves, np.cos(turn), np.sin(turn)]
        out: NDArray[np.float32] = (sure * np.stack(parts)).T.astype(np.float32)
        return out
