"""`MusicEncoder`: an encoder with what is needed to use it, and its checkpoint folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Never

import torch
from torch import Tensor

from musicssl import arguments, process
from musicssl.audio import AudioInput
from musicssl.checkpoint.files import ModelConfig
from musicssl.checkpoint.pretrained import Pretrained
from musicssl.encoders import ENCODERS, Encoder, State
from musicssl.errors import ConfigError, shown
from musicssl.inference.batching import Engine
from musicssl.inference.device import pick_device, pick_dtype
from musicssl.inference.inputs import Embedded, check_batch, embed_inputs
from musicssl.inference.options import Settings, check_chunks, pick_pooling
from musicssl.pooling import POOLINGS

Layer = int | Sequence[int] | str | None


class MusicEncoder(Pretrained):
    """Music in, embeddings out.

    Every layer's values are standardised: over the music of the pre-training their mean is 0 and
    their standard deviation 1, so that layers can be compared, joined and searched as they are.

    Attributes
    ----------
    sample_rate
        Hz; other rates are resampled by `embed`, not by `forward`.
    hop, frame_rate
        Samples between frames; frames a second.
    context
        Samples that a frame hears to each side of its centre.
    layers
        How many layers there are to choose from, numbered from 0, the nearest to the sound.
    dim, clip_dim
        Values a frame and values a clip, with the checkpoint's own choice of layers and pooling.
    config
        The checkpoint's configuration.
    model_id, revision, weights_sha256
        Where the weights come from; the hash is empty for weights that were never saved.
    dtype
        Of the arithmetic in `embed`, unless that is told otherwise.
    """

    centre: Tensor  # (layers, encoder.dim)
    spread: Tensor
    timestamp_embedding_size: int  # these two are set by `musicssl.hear`
    scene_embedding_size: int

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        kind, _ = ENCODERS[config.encoder.name]
        self.encoder: Encoder = kind(config.encoder)
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
        """Where the weights are."""
        return self.centre.device

    def pick_layers(self, layer: Layer) -> tuple[int, ...]:
        """Return layer numbers for an int, several, "all", or None for the checkpoint's choice.

        Raises
        ------
        ConfigError
            If there is no such layer.
        """
        if layer is None or (isinstance(layer, str) and layer == "auto"):
            layer = self.config.layer
        if isinstance(layer, str):
            if layer != "all":
                raise ConfigError(
                    f"layer {shown(layer)} is unknown; give a number, several, or 'all'."
                )
            return tuple(range(self.layers))
        numbers = arguments.integers(layer, "layer")
        for number in numbers:
            if not -self.layers <= number < self.layers:
                raise ConfigError(
                    f"layer {number!r} does not exist; this model has 0 to {self.layers - 1}."
                )
        return tuple(number % self.layers for number in numbers)

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
        check_batch(audio, samples, self.device)
        chosen = self.pick_layers(layer)
        process.heed_fork()
        return self._standardized(self.encoder(audio, samples), chosen)

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
        check_batch(audio, samples, self.device)
        chosen = self.pick_layers(layer)
        process.heed_fork()
        outputs, after = self.encoder.resume(audio, samples, state)
        return self._standardized(outputs, chosen), after

    def _standardized(self, outputs: list[Tensor], chosen: tuple[int, ...]) -> Tensor:
        """Return the chosen layers, standardized, side by side."""
        with torch.autocast(outputs[0].device.type, enabled=False):
            parts = [(outputs[i].float() - self.centre[i]) / self.spread[i] for i in chosen]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def settings(
        self,
        *,
        level: str = "clip",
        pooling: str | None = None,
        layer: Layer = None,
        dtype: str | torch.dtype = "auto",
        batch_size: int | None = None,
        batch_seconds: float | None = None,
        chunk_seconds: float | None = None,
    ) -> Settings:
        """Return every choice made, from what `embed` takes.

        Raises
        ------
        ConfigError
            For a value that does not exist or does not fit the others.
        """
        if batch_seconds is None and self.device.type != "cpu":
            batch_seconds = 600.0
        chosen: dict[str, Any] = {
            "batch_size": batch_size,
            "batch_seconds": batch_seconds,
            "chunk_seconds": chunk_seconds,
        }
        settings = Settings(
            pooling=pick_pooling(level, pooling, self.config.pooling),
            layers=self.pick_layers(layer),
            dtype=self._pick_dtype(dtype),
            **{name: value for name, value in chosen.items() if value is not None},
        )
        return check_chunks(settings, self.hop, self.sample_rate)

    def _pick_dtype(self, dtype: str | torch.dtype) -> torch.dtype:
        """Return the precision to compute in; "auto" leaves it to the model."""
        weights = next(self.encoder.parameters(), self.centre).dtype
        if isinstance(dtype, str) and dtype == "auto":
            dtype = self.dtype
        if isinstance(dtype, str) and dtype == "auto" and weights.itemsize == 2:  # it was cast
            dtype = weights
        return pick_dtype(dtype, self.device)

    def embed(
        self,
        audio: AudioInput | Sequence[AudioInput],
        sr: float | Sequence[float | None] | None = None,
        *,
        level: str = "clip",
        pooling: str | None = None,
        layer: Layer = None,
        dtype: str | torch.dtype = "auto",
        batch_size: int | None = None,
        batch_seconds: float | None = None,
        chunk_seconds: float | None = None,
        resampler: str = "soxr",
        channel_axis: int | None = None,
        mono: str = "mean",
        **unknown: Never,
    ) -> Embedded:
        """Return the embedding of one sound or of a list of them; see `musicssl.get_embedding`.

        Parameters
        ----------
        audio, sr, level, pooling, layer, dtype, batch_size, chunk_seconds, resampler, channel_axis
            As there.
        mono
            As there.
        batch_seconds
            Audio encoded at once, in seconds; None for 30 (600 on a GPU).
        **unknown
            None: other names are refused.

        Returns
        -------
        numpy.ndarray, Tensor, Embedding or list of Embedding
            As there.

        Raises
        ------
        AudioError
            If audio cannot be used; of several, the message names which.
        ConfigError
            If a choice does not exist or does not fit the others.
        """
        arguments.no_more(unknown, MusicEncoder.embed)
        settings = self.settings(
            level=level,
            pooling=pooling,
            layer=layer,
            dtype=dtype,
            batch_size=batch_size,
            batch_seconds=batch_seconds,
            chunk_seconds=chunk_seconds,
        )
        return embed_inputs(
            Engine(self, settings),
            audio,
            sr,
            resampler=resampler,
            channel_axis=channel_axis,
            mono=mono,
        )


def load_model(
    model: str | Path | None = None,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
) -> MusicEncoder:
    """Load a model onto a device; the first arguments are `MusicEncoder.from_pretrained`'s.

    Parameters
    ----------
    model, revision, cache_dir, token, local_files_only
        As in `MusicEncoder.from_pretrained`.
    device
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
    dtype
        Of the arithmetic in `embed`, unless that is told otherwise: "auto" (fp16 on a GPU, fp32
        elsewhere), "fp32", "bf16" or "fp16". The weights stay in fp32.

    Returns
    -------
    MusicEncoder
        In evaluation mode.

    Raises
    ------
    ConfigError
        If there is no such device or dtype.
    ModelError
        If the model cannot be found, fetched or read.
    """
    where = pick_device(device)
    pick_dtype(dtype, where)
    loaded = MusicEncoder.from_pretrained(
        model,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
    )
    loaded.dtype = dtype
    return loaded.to(where)
