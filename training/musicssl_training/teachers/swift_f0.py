"""SwiftF0: the pitch of one voice or instrument [1]_.

References
----------
.. [1] Nieradzik, "SwiftF0: Fast and accurate monophonic pitch detection", 2025.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from musicssl_training.teachers.base import Facts, Teacher, package_folder, sha256_of
from musicssl_training.teachers.onnx import Network, load_network
from musicssl_training.teachers.pieces import pieces

RATE, HOP = 16_000, 256  # Hz, samples
BEFORE, AFTER = 11, 10  # frames that a frame hears
KEPT = 1024  # frames of a piece
LOWEST, HIGHEST = 46.875, 2093.75  # Hz
MIDDLE = (LOWEST * HIGHEST) ** 0.5
QUIET = 1e-3  # largest magnitude of silence, to which the network would give pitches at random
INSTALL = "pip install swift-f0==0.3.0"


class SwiftF0(Teacher):
    """Confidence that there is one pitch; and times it, the octave and the place on the circle.

    Parameters
    ----------
    network
        Takes audio, (1, samples), and limits; gives pitch and confidence, (1, frames).
    sha256
        Of its weights.
    """

    sample_rate = RATE

    def __init__(self, network: Network, sha256: str) -> None:
        self.network = network
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

    @classmethod
    def load(cls) -> "SwiftF0":
        """Return the one whose package is installed.

        Raises
        ------
        DependencyError
            If the package or onnxruntime is not installed.
        ModelError
            If its weights cannot be read.
        """
        file = package_folder("swift_f0", INSTALL) / "model.onnx"
        return cls(load_network(file), sha256_of(file))

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        samples = frames = 0

        def counted() -> Iterator[NDArray[np.float32]]:
            nonlocal samples
            for block in blocks:
                samples += len(block)
                yield block

        size = (BEFORE + KEPT + AFTER) * HOP
        for piece in pieces(counted(), size, KEPT * HOP, BEFORE * HOP, size):
            left = -(-samples // HOP) - frames  # all of them once the recording has ended
            if left <= 0:
                return
            yield self.said(piece)[:left]
            frames += KEPT

    def said(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values of the frames in the middle of a piece, (frames, 4)."""
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
