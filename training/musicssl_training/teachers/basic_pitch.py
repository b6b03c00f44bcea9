"""Basic Pitch: the notes that sound and begin in any music, many at a time [1]_.

References
----------
.. [1] Bittner et al., "A lightweight instrument-agnostic model for polyphonic note transcription
   and multipitch estimation", 2022.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicssl_training.teachers.base import Facts
from musicssl_training.teachers.onnx import Network, OnnxTeacher

RATE, HOP = 22_050, 256  # Hz, samples
SIZE = 43_844  # samples that the network hears, always
POOL = 3  # frames a step; the middle one lies where the step does
KEPT = 47 * POOL  # of the 172 frames of a piece; the others hear silence beyond it
MARGIN = 15  # frames before these
NOTES = 88
INPUT = "serving_default_input_2:0"
SOUNDING, BEGINNING = "StatefulPartitionedCall:1", "StatefulPartitionedCall:2"


class BasicPitch(OnnxTeacher):
    """How likely each of the 88 keys of a piano sounds, and how likely it begins.

    Means over three frames of the former, maxima of the latter, every 35 ms.

    Parameters
    ----------
    network
        Takes audio, (1, 43844, 1), and gives (1, 172, 88) for what sounds and for what begins.
    sha256
        Of its weights.
    """

    package = "basic_pitch"
    weights = Path("saved_models", "icassp_2022", "nmp.onnx")
    install = "pip install --no-deps basic-pitch==0.4.0"
    sample_rate = RATE
    step, steps = POOL * HOP, KEPT // POOL
    before, size = (MARGIN + POOL // 2) * HOP, SIZE

    def __init__(self, network: Network, sha256: str) -> None:
        super().__init__(network, sha256)
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

    def steps_of(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        found = self.network({INPUT: piece[None, :, None]})
        kept = slice(MARGIN, MARGIN + KEPT)
        sounding, beginning = (
            found[name][0, kept].reshape(-1, POOL, NOTES) for name in (SOUNDING, BEGINNING)
        )
        return np.concatenate([sounding.mean(axis=1), beginning.max(axis=1)], axis=1)
