"""`MusicEncoder`: a pretrained model, from audio of any kind to embeddings."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Literal, Never, Unpack, overload

import torch
from torch import Tensor

from musicssl import arguments
from musicssl.inference.device import pick_device, pick_dtype
from musicssl.inference.inputs import embed_inputs, same_rate
from musicssl.inference.options import ClipPooling, EmbedKeywords, EmbedOptions, FramePooling
from musicssl.inference.results import (
    AnyAudio,
    Embedded,
    Embedding,
    N,
    NotTensor,
    TensorEmbedding,
    Vectors,
)
from musicssl.network import Layer, Network

Rates = float | Sequence[float | None] | None  # Hz: one, one per sound, or None for files


class MusicEncoder(Network):
    """Music in, embeddings out.

    Every layer's values are standardized: over the music of the pre-training their mean is 0 and
    their standard deviation 1, so that layers can be compared, joined and searched as they are.

    Attributes
    ----------
    sample_rate
        Hz; other rates are resampled by `embed`, not by `forward`.
    hop, frame_rate
        Samples between frames; frames per second.
    context
        Samples that a frame hears to each side of its center.
    layers
        How many layers there are to choose from, numbered from 0, the nearest to the sound.
    dim, clip_dim
        Values per frame and values per clip, with the checkpoint's own choice of layers and
        pooling.
    config
        The checkpoint's configuration.
    model_id, revision, weights_sha256
        Where the weights come from; the hash is empty for weights that were never saved.
    dtype
        Of the arithmetic in `embed`, unless that is told otherwise.
    """

    @property
    def timestamp_embedding_size(self) -> int:
        """`dim`, by its name in the HEAR API."""
        return self.dim

    @property
    def scene_embedding_size(self) -> int:
        """`clip_dim`, by its name in the HEAR API."""
        return self.clip_dim

    @overload
    def embed(
        self,
        audio: NotTensor | Sequence[NotTensor] | Iterator[NotTensor],
        sr: Rates = None,
        *,
        level: Literal["clip"] = "clip",
        pooling: ClipPooling = None,
        batch_seconds: float | None = None,
        **options: Unpack[EmbedKeywords],
    ) -> Vectors: ...

    @overload
    def embed(
        self,
        audio: Tensor | Sequence[Tensor] | Iterator[Tensor],
        sr: Rates = None,
        *,
        level: Literal["clip"] = "clip",
        pooling: ClipPooling = None,
        batch_seconds: float | None = None,
        **options: Unpack[EmbedKeywords],
    ) -> Tensor: ...

    @overload
    def embed(
        self,
        audio: NotTensor,
        sr: float | None = None,
        *,
        level: Literal["frame"],
        pooling: FramePooling = None,
        batch_seconds: float | None = None,
        **options: Unpack[EmbedKeywords],
    ) -> Embedding: ...

    @overload
    def embed(
        self,
        audio: Tensor,
        sr: float | None = None,
        *,
        level: Literal["frame"],
        pooling: FramePooling = None,
        batch_seconds: float | None = None,
        **options: Unpack[EmbedKeywords],
    ) -> TensorEmbedding: ...

    @overload
    def embed(
        self,
        audio: list[N] | tuple[N, ...] | Generator[NotTensor, None, None],
        sr: Rates = None,
        *,
        level: Literal["frame"],
        pooling: FramePooling = None,
        batch_seconds: float | None = None,
        **options: Unpack[EmbedKeywords],
    ) -> list[Embedding]: ...

    @overload
    def embed(
        self,
        audio: list[Tensor] | tuple[Tensor, ...] | Generator[Tensor, None, None],
        sr: Rates = None,
        *,
        level: Literal["frame"],
        pooling: FramePooling = None,
        batch_seconds: float | None = None,
        **options: Unpack[EmbedKeywords],
    ) -> list[TensorEmbedding]: ...

    @overload
    def embed(
        self,
        audio: AnyAudio | Sequence[AnyAudio] | Iterator[AnyAudio],
        sr: Rates = None,
        *,
        level: str = "clip",
        pooling: str | None = None,
        batch_seconds: float | None = None,
        **options: Unpack[EmbedKeywords],
    ) -> Embedded: ...

    def embed(
        self,
        audio: AnyAudio | Sequence[AnyAudio] | Iterator[AnyAudio],
        sr: Rates = None,
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
        offset: float = 0.0,
        duration: float | None = None,
        sampling_rate: Rates = None,
        **unknown: Never,
    ) -> Embedded:
        """Return the embedding of one sound or of a list of them; see `musicssl.get_embedding`.

        Parameters
        ----------
        audio, sr, level, pooling, layer, dtype, batch_size, chunk_seconds, resampler, channel_axis
            As there.
        mono, offset, duration, sampling_rate
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
        options = EmbedOptions(
            level=level,
            pooling=pooling,
            layer=layer,
            dtype=dtype,
            batch_size=batch_size,
            batch_seconds=batch_seconds,
            chunk_seconds=chunk_seconds,
            resampler=resampler,
            channel_axis=channel_axis,
            mono=mono,
            offset=offset,
            duration=duration,
        )
        return embed_inputs(self, audio, same_rate(sr, sampling_rate), options)


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
