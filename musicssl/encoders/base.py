"""Base class of the encoders."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from musicssl.config import check_ranges
from musicssl.frames import frame_count
from musicssl.frontends import DualSpectrum


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Base of the encoders' configurations.

    Limits stand in the fields' types, as ``Annotated[int, Range(1, 8)]``: a config.json may come
    from anywhere, and what it asks for is laid out before its weights are looked at.
    """

    name: ClassVar[str]  # key in ENCODERS and in config.json

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class State:
    """Position of each row of a batch in its recording, for encoders with memory."""

    skip: Tensor  # (batch,), frames of context before those that count
    frames: Tensor  # (batch,), how many count, at least 1
    before: Tensor  # (batch, memory), what was remembered before them; zeros at a beginning


class Features(NamedTuple):
    """Output of an encoder's front end, as `Encoder.encode` takes it."""

    values: tuple[Tensor, ...]  # each (batch, ...): `Spectra`, or the audio alone
    inside: Tensor | None = None  # (batch, frames), of frames that begin inside their audio

    def cat(self, other: "Features") -> "Features":
        """Return the rows of both, one after the other; all of them whole recordings."""
        pairs = zip(self.values, other.values, strict=True)
        return Features(tuple(torch.cat(pair) for pair in pairs))


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

    @property
    def spectrogram(self) -> DualSpectrum | None:
        """Front end whose spectra `encode` takes; None where it takes the audio itself."""
        return None

    def frontend(self, audio: Tensor, samples: Tensor | None = None) -> Features:
        """Return what has no weights of its own: the spectra, or the audio as it is.

        Parameters
        ----------
        audio, samples
            As for `forward`.
        """
        inside = None
        if samples is not None:
            inside = self.inside(samples.to(audio.device), self.frames(audio.shape[-1]))
        return Features(self.features(audio), inside)

    def features(self, audio: Tensor) -> tuple[Tensor, ...]:
        """Return the values of `frontend`; the audio itself unless overridden."""
        return (audio,)

    @abstractmethod
    def encode(self, features: Features, last: int | None = None) -> list[Tensor]:
        """Return the layers of features that may have been changed (masked, mixed) before.

        Parameters
        ----------
        features
            As of `frontend`.
        last
            The last layer that is needed: those after it need not be computed. None for all.
        """

    def forward(
        self, audio: Tensor, samples: Tensor | None = None, last: int | None = None
    ) -> list[Tensor]:
        """Return the layers, each (batch, frames, dim), frames being ``ceil(samples / hop)``.

        Parameters
        ----------
        audio
            Shape (batch, samples), in [-1, 1], at `sample_rate`.
        samples
            Shape (batch,): how much of each row is audio; what follows must be zeros. A row
            gives the frames that it would give alone; those past its end mean nothing.
        last
            The last layer that is needed, as for `encode`.

        Returns
        -------
        list of Tensor
            From the layer nearest to the sound on, at least up to `last`.
        """
        return self.encode(self.frontend(audio, samples), last)

    def resume(
        self, audio: Tensor, samples: Tensor | None, state: State, last: int | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the layers of stretches of recordings, and what is remembered after them.

        Only the frames that count, by `state`, mean something. Without memory this is `forward`.

        Returns
        -------
        tuple of list of Tensor and Tensor
            The layers, and what ``State.before`` of the stretches that follow must be.
        """
        return self(audio, samples, last), state.before

    def inside(self, samples: Tensor, frames: int) -> Tensor:
        """Return which frames begin inside their audio: (batch,) samples to (batch, frames)."""
        index = torch.arange(frames, device=samples.device)
        return index < (samples[:, None] + self.hop - 1) // self.hop  # as frame_count

    def frames(self, samples: int) -> int:
        """Return the number of frames of that many samples."""
        return frame_count(samples, self.hop)
