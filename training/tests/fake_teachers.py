"""Teachers that say when and how loud it is."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from musicssl_training.teachers import Facts, Teacher

RATE = 8000
GRIDS = {"frames": (0.05, 0.0), "patches": (1.0, 1.0), "clips": (0.0, 0.0)}


class Loudness(Teacher):
    """The number of the step, and the mean magnitude from it to the next."""

    sample_rate = RATE

    def __init__(self, kind: str, name: str = "loudness", sha256: str = "ab" * 32) -> None:
        hop, window = GRIDS[kind]
        self.facts = Facts(
            name=name,
            model="a meter",
            sha256=sha256,
            licence="CC0",
            trained_on="nothing",
            kind=kind,
            size=2,
            hop=hop,
            window=window,
        )

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        audio = np.concatenate([*blocks])
        step = round(self.facts.hop * RATE) or len(audio)
        loud = np.abs(audio[: len(audio) // step * step]).reshape(-1, step).mean(axis=1)
        out = np.column_stack([np.arange(len(loud)), loud]).astype(np.float32)
        yield from (out[:3], out[3:])


def patches() -> Teacher:
    return Loudness("patches")


def not_finite() -> Teacher:
    class Broken(Loudness):
        def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
            yield from (np.inf * part for part in super().values(blocks))

    return Broken("patches")


def fails() -> Teacher:
    raise KeyError("no key")


def without_facts() -> Teacher:
    class Silent(Teacher):
        sample_rate = RATE

        def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
            yield from blocks

    return Silent()


def without_rate() -> Teacher:
    teacher = Loudness("patches")
    teacher.sample_rate = 0
    return teacher


def nobody() -> str:
    return "no teacher"
