"""What every encoder promises."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from musicssl.config import check_ranges
from musicssl.windows import frame_count


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Base of the encoders' configurations.

    Limits stand in the fields' types, as ``Annotated[int, Range(1, 8)]``: a config.json may come
    from anywhere, and what it asks for is laid out before its weights are looked at.
    """

    name: ClassVar[str]  # key in ENCODERS and in config.json

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass
class State:
    """Where each row of a batch stands in its recording, for encoders with memory."""

    skip: Tensor  # (batch,), frames of context before those that count
    frames: Tensor  # (batch,), how many count, at least 1
    before: Tensor  # (batch, memory), what was remembered before them; zeros at a beginning
    after: Tensor | None = None  # the same after them, set by `Encoder.resume`


class Encoder(nn.Module, ABC):
    """Audio (batch, samples) to one matrix of frames a layer.

    Frame ``i`` is centred on sample ``i * hop`` and hears ``context`` samples to each side,
    no further: a stretch of audio with that margin gives the frames of the whole.

    An encoder with `memory` hears everything before as well. Its stretches give the frames of
    the whole where each is taken up, by `resume`, with what was remembered after the one before.

    To load a checkpoint, an encoder is made on the device "meta" first, where tensors have shapes
    but no values, and is compared with the file.
    """

    sample_rate: int  # Hz
    hop: int  # samples between frames
    context: int  # samples heard on each side of a frame's centre
    dim: int  # values a frame and layer
    n_layers: int
    memory: int = 0  # values remembered from each frame to the next

    @abstractmethod
    def forward(self, audio: Tensor, samples: Tensor | None = None) -> list[Tensor]:
        """Return the layers, each (batch, frames, dim), frames being ``ceil(samples / hop)``.

        Parameters
        ----------
        audio
            Shape (batch, samples), in [-1, 1], at `sample_rate`.
        samples
            Shape (batch,): how much of each row is audio; what follows must be zeros. A row
            gives the frames that it would give alone; those past its end mean nothing.

        Returns
        -------
        list of Tensor
            From the layer nearest to the sound to the last.
        """

    def resume(self, audio: Tensor, samples: Tensor | None, state: State) -> list[Tensor]:
        """Return the layers of stretches of recordings, and set ``state.after``.

        Only the frames that count, by `state`, mean something. Without memory this is `forward`.
        """
        return self(audio, samples)  # type: ignore[no-any-return]

    def inside(self, samples: Tensor, frames: int) -> Tensor:
        """Return which frames begin inside their audio: (batch,) samples to (batch, frames)."""
        index = torch.arange(frames, device=samples.device)
        out: Tensor = index < -(-samples[:, None] // self.hop)
        return out

    def frames(self, samples: int) -> int:
        """Return the number of frames of that many samples."""
        return frame_count(samples, self.hop)
