"""Basic Pitch: the notes that sound and begin in any music, many at a time [1]_.

References
----------
.. [1] Bittner et al., "A lightweight instrument-agnostic model for polyphonic note transcription
   and multipitch estimation", 2022.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicssl_training.teachers.base import Facts, Teacher, package_folder, sha256_of
from musicssl_training.teachers.onnx import Network, load_network
from musicssl_training.teachers.pieces import pieces

RATE, HOP = 22_050, 256  # Hz, samples
SIZE = 43_844  # samples that the network hears, always
POOL = 3  # frames a step; the middle one lies where the step does
KEPT = 47 * POOL  # of the 172 frames of a piece; the others hear silence beyond it
MARGIN = 15  # frames before these
NOTES = 88
INPUT = "serving_default_input_2:0"
SOUNDING, BEGINNING = "StatefulPartitionedCall:1", "StatefulPartitionedCall:2"
INSTALL = "pip install --no-deps basic-pitch==0.4.0"
WEIGHTS = Path("saved_models", "icassp_2022", "nmp.onnx")


class BasicPitch(Teacher):
    """How likely each of the 88 keys of a piano sounds, and how likely it begins.

    Means over three frames of the former, maxima of the latter, every 35 ms.

    Parameters
    ----------
    network
        Takes audio, (1, 43844, 1), and gives (1, 172, 88) for what sounds and for what begins.
    sha256
        Of its weights.
    """

    sample_rate = RATE

    def __init__(self, network: Network, sha256: str) -> None:
        self.network = network
        self.facts = Facts(
            name="basic-pitch",
            model="Basic Pitch 0.4.0 (Bittner et al., 2022), notes and onsets",
            sha256=sha256,
            licence="Apache-2.0",
            trained_on="GuitarSet, iKala, MAESTRO, MedleyDB and Slakh with their notes or pitches",
            kind="frames",
            size=2 * NOTES,
            hop=POOL * HOP / RATE,
        )

    @classmethod
    def load(cls) -> "BasicPitch":
        """Return the one whose package is installed.

        Raises
        ------
        DependencyError
            If the package or onnxruntime is not installed.
        ModelError
            If its weights cannot be read.
        """
        file = package_folder("basic_pitch", INSTALL) / WEIGHTS
        return cls(load_network(file), sha256_of(file))

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        samples = steps = 0

        def counted() -> Iterator[NDArray[np.float32]]:
            nonlocal samples
            for block in blocks:
                samples += len(block)
                yield block

        before = (MARGIN + POOL // 2) * HOP
        for piece in pieces(counted(), SIZE, KEPT * HOP, before, SIZE):
            left = -(-samples // (POOL * HOP)) - steps  # all of them once the recording has ended
            if left <= 0:
                return
            found = self.network({INPUT: piece[None, :, None]})
            kept = slice(MARGIN, MARGIN + KEPT)
            sounding, beginning = (
                found[name][0, kept].reshape(-1, POOL, NOTES) for name in (SOUNDING, BEGINNING)
            )
            yield np.concatenate([sounding.mean(axis=1), beginning.max(axis=1)], axis=1)[:left]
            steps += KEPT // POOL
