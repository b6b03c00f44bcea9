"""`Network`: encoder and standardized layers, the part of a model that is weights."""

from typing import Any

import torch
from torch import Tensor

from musicssl import forking
from musicssl.checkpoint.files import ModelConfig
from musicssl.encoders import ENCODERS, State
from musicssl.errors import AudioError, ConfigError, pick, shown
from musicssl.freezing import Freezable
from musicssl.layers import Layer
from musicssl.masked_pooling import MASKED_POOLINGS
from musicssl.pooling import POOLINGS

__all__ = ["Layer", "Network"]


class Network(Freezable):
    """An encoder with standardized layers: audio to frames; `MusicEncoder` tells its attributes."""

    centre: Tensor  # (layers, encoder.dim)
    spread: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        kind, _ = ENCODERS[config.encoder.name]
        self.encoder = kind(config.encoder)
        self.sample_rate, self.hop = self.encoder.sample_rate, self.encoder.hop
        self.frame_rate = self.sample_rate / self.hop
        self.context, self.layers = self.encoder.context, self.encoder.n_layers
        shape = (self.layers, self.encoder.dim)
        self.register_buffer("centre", torch.zeros(shape, dtype=torch.float32))
        self.register_buffer("spread", torch.ones(shape, dtype=torch.float32))
        self.dim = len(self.pick_layers(None)) * self.encoder.dim
        self.dtype: str | torch.dtype = "auto"
        self.float()  # whatever torch's default is

    @property
    def clip_dim(self) -> int:
        """Values a clip, with the checkpoint's own choice of layers and pooling."""
        return self.dim * POOLINGS[self.config.pooling].factor

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.centre.device

    def forward(
        self,
        audio: Tensor,
        samples: Tensor | None = None,
        *,
        layer: Layer = None,
    ) -> Tensor:
        """Return frame embeddings.

        Parameters
        ----------
        audio
            Shape (batch, samples), mono, in [-1, 1], at `sample_rate`, at least one sample.
        samples
            Shape (batch,), where rows are shorter than the tensor and end in zeros. A row's
            frames are those that it would have alone.
        layer
            One layer, several to put side by side, "all", or None for the checkpoint's choice.

        Returns
        -------
        Tensor
            Shape (batch, frames, values), ``frames = ceil(samples / hop)``; frame ``i`` is
            centred on sample ``i * hop``.

        Raises
        ------
        AudioError
            If `audio` is not a batch of floats, at least one sample each, where the weights are,
            or `samples` does not fit it.
        ConfigError
            If there is no such layer.
        """
        _check_batch(audio, samples, self.device)
        chosen = self.pick_layers(layer)
        if self.training and not torch.compiler.is_compiling():
            self._heed_frozen_layers(chosen)
        forking.heed_fork()
        return self._standardized(self.encoder(audio, samples, max(chosen)), chosen)

    def resume(
        self, audio: Tensor, samples: Tensor | None, state: State, *, layer: Layer = None
    ) -> tuple[Tensor, Tensor]:
        """Return frame embeddings of stretches of recordings, and what is remembered after them.

        Parameters
        ----------
        audio, samples, layer
            As for `forward`.
        state
            Where the rows stand in their recordings; see `Encoder.resume`.

        Raises
        ------
        AudioError
            As `forward`.
        ConfigError
            If there is no such layer, or `state` is none.
        """
        if not isinstance(state, State):
            raise ConfigError(f"state must be a State, got {shown(state, kind=True)}.")
        _check_batch(audio, samples, self.device)
        chosen = self.pick_layers(layer)
        forking.heed_fork()
        outputs, after = self.encoder.resume(audio, samples, state, max(chosen))
        return self._standardized(outputs, chosen), after

    def pool(
        self, frames: Tensor, samples: Tensor | None = None, *, pooling: str | None = None
    ) -> Tensor:
        """Return clip embeddings of frames; gradients pass through.

        Parameters
        ----------
        frames
            Shape (batch, frames, values), as `forward` returns them.
        samples
            Shape (batch,), as for `forward`: frames past a row's end are left out. None: all count.
        pooling
            "mean", "max" or "meanstd"; None for the checkpoint's choice.

        Returns
        -------
        Tensor
            Shape (batch, values), twice as many with "meanstd", in fp32: what `embed` gives of the
            same audio.

        Raises
        ------
        AudioError
            If `frames` is no such tensor, or `samples` does not fit it.
        ConfigError
            If there is no such pooling.
        """
        function = pick(MASKED_POOLINGS, pooling or self.config.pooling, "pooling")
        if not isinstance(frames, Tensor) or frames.ndim != 3 or 0 in frames.shape:
            got = tuple(frames.shape) if isinstance(frames, Tensor) else shown(frames, kind=True)
            raise AudioError(f"frames must be a tensor (batch, frames, values), got {got}.")
        _check_samples(samples, frames.shape[0])  # len() would fix it in exports
        count = frames.shape[1]
        if samples is None:
            inside = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        else:
            inside = self.encoder.inside(samples.to(frames.device), count)
        with torch.autocast(frames.device.type, enabled=False):
            return function(frames.float(), inside)

    def _standardized(self, outputs: list[Tensor], chosen: tuple[int, ...]) -> Tensor:
        """Return the chosen layers, standardized, side by side."""
        with torch.autocast(outputs[0].device.type, enabled=False):
            parts = [(outputs[i].float() - self.centre[i]) / self.spread[i] for i in chosen]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _check_batch(audio: Any, samples: Any, device: torch.device) -> None:
    """Refuse what a model cannot take: see `Network.forward`.

    Raises
    ------
    AudioError
        If it is no batch of audio on that device, or `samples` does not fit it.
    """
    if not isinstance(audio, Tensor) or not audio.is_floating_point():
        kind = audio.dtype if isinstance(audio, Tensor) else type(audio).__name__
        raise AudioError(f"audio must be a tensor of floats in [-1, 1], got {kind}.")
    if audio.ndim != 2 or 0 in audio.shape:
        raise AudioError(f"audio must have the shape (batch, samples), got {tuple(audio.shape)}.")
    if audio.device != device:
        raise AudioError(f"audio is on the device {audio.device}, the model on {device}.")
    _check_samples(samples, audio.shape[0])


def _check_samples(samples: Any, rows: int) -> None:
    """Refuse what does not say of every row how long it is.

    Raises
    ------
    AudioError
        If it is neither None nor that.
    """
    if samples is None:
        return
    whole = isinstance(samples, Tensor) and not (
        samples.is_floating_point() or samples.is_complex() or samples.dtype is torch.bool
    )
    if not whole or samples.shape != (rows,):
        raise AudioError(
            f"samples must be a tensor of {rows} whole numbers, one a row, "
            f"got {shown(samples, kind=True)}."
        )
