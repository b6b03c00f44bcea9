"""`MusicEncoder`: a pretrained model, from audio of any kind to embeddings."""

from pathlib import Path
from typing import Never, Required, Unpack, overload

import torch
from torch import Tensor

from musicssl import arguments
from musicssl.export import Exportable
from musicssl.inference.device import pick_device, pick_dtype
from musicssl.inference.inputs import embed_inputs, same_rate
from musicssl.inference.keywords import Clip, EmbedKeywords, Frame, Raise, Skip, Window
from musicssl.inference.options import EmbedOptions
from musicssl.inference.results import (
    AnySounds,
    Embedded,
    Embedding,
    Many,
    ManyTensors,
    N,
    NotTensor,
    Rate,
    Rates,
    Sounds,
    TensorEmbedding,
    Tensors,
    Vectors,
)
from musicssl.inference.running import Progress, RunOptions
from musicssl.network import Layer


class _Batches(EmbedKeywords, total=False):
    batch_seconds: float | None


class _Clip(Clip, _Batches, total=False):
    on_error: Raise


class _ClipOrNone(Clip, _Batches, total=False):
    on_error: Required[Skip]


class _Frame(Frame, _Batches, total=False):
    on_error: Raise


class _FrameOrNone(Frame, _Batches, total=False):
    on_error: Required[Skip]


class _Window(Window, _Batches, total=False):
    on_error: Raise


class _WindowOrNone(Window, _Batches, total=False):
    on_error: Required[Skip]


class MusicEncoder(Exportable):
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
        Where the weights come from; the hash is empty for weights that were never saved, or have
        been trained or replaced since.
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
    def embed(self, audio: Sounds, sr: Rates = None, **options: Unpack[_Clip]) -> Vectors: ...

    @overload
    def embed(self, audio: Tensors, sr: Rates = None, **options: Unpack[_Clip]) -> Tensor: ...

    @overload
    def embed(self, audio: NotTensor, sr: Rate = None, **options: Unpack[_Frame]) -> Embedding: ...

    @overload
    def embed(
        self, audio: Tensor, sr: Rate = None, **options: Unpack[_Frame]
    ) -> TensorEmbedding: ...

    @overload
    def embed(
        self, audio: Many[N], sr: Rates = None, **options: Unpack[_Frame]
    ) -> list[Embedding]: ...

    @overload
    def embed(
        self, audio: ManyTensors, sr: Rates = None, **options: Unpack[_Frame]
    ) -> list[TensorEmbedding]: ...

    @overload
    def embed(self, audio: NotTensor, sr: Rate = None, **options: Unpack[_Window]) -> Embedding: ...

    @overload
    def embed(
        self, audio: Tensor, sr: Rate = None, **options: Unpack[_Window]
    ) -> TensorEmbedding: ...

    @overload
    def embed(
        self, audio: Many[N], sr: Rates = None, **options: Unpack[_Window]
    ) -> list[Embedding]: ...

    @overload
    def embed(
        self, audio: ManyTensors, sr: Rates = None, **options: Unpack[_Window]
    ) -> list[TensorEmbedding]: ...

    @overload
    def embed(
        self, audio: Many[N], sr: Rates = None, **options: Unpack[_ClipOrNone]
    ) -> list[Vectors | None]: ...

    @overload
    def embed(
        self, audio: Many[N], sr: Rates = None, **options: Unpack[_FrameOrNone]
    ) -> list[Embedding | None]: ...

    @overload
    def embed(
        self, audio: Many[N], sr: Rates = None, **options: Unpack[_WindowOrNone]
    ) -> list[Embedding | None]: ...

    @overload
    def embed(
        self,
        audio: AnySounds,
        sr: Rates = None,
        *,
        level: str = "clip",
        pooling: str | None = None,
        window: float | None = None,
        hop: float | None = None,
        on_error: str = "raise",
        **options: Unpack[_Batches],
    ) -> Embedded: ...

    @arguments.strict
    def embed(
        self,
        audio: AnySounds,
        sr: Rates = None,
        *,
        level: str = "clip",
        pooling: str | None = None,
        window: float | None = None,
        hop: float | None = None,
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
        on_error: str = "raise",
        jobs: int | None = None,
        progress: Progress = False,
        **unknown: Never,
    ) -> Embedded:
        """Return the embedding of one sound or of a list of them; see `musicssl.get_embedding`.

        Parameters
        ----------
        audio, sr, level, pooling, layer, dtype, batch_size, chunk_seconds, resampler, channel_axis
            As there.
        window, hop, mono, offset, duration, sampling_rate, on_error, jobs, progress
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
        options = EmbedOptions(
            level=level,
            pooling=pooling,
            window=window,
            hop=hop,
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
        run = RunOptions(jobs=jobs, progress=progress, on_error=on_error)
        return embed_inputs(self, audio, same_rate(sr, sampling_rate), options, run)


def load_model(
    model: str | Path | None = None,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    trainable: bool = False,
    **unknown: Never,
) -> MusicEncoder:
    """Load a model onto a device; the first arguments are `MusicEncoder.from_pretrained`'s.

    Parameters
    ----------
    model, revision, cache_dir, token, local_files_only, force_download
        As in `MusicEncoder.from_pretrained`.
    device
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
    dtype
        Of the arithmetic in `embed`, unless that is told otherwise: "auto" (float16 on a
        GPU, float32 elsewhere), "float32", "bfloat16" or "float16". The weights stay in float32.
    trainable
        Whether a training loop is to change it. Without, it is frozen: embeddings of one
        collection must come from one and the same model. With, what its own layer needs is
        trained, as after `MusicEncoder.unfreeze`, which trains for other layers too.
    **unknown
        None: other names are refused.

    Returns
    -------
    MusicEncoder
        In evaluation mode: a training loop calls `train`.

    Raises
    ------
    ConfigError
        If there is no such device or dtype.
    ModelError
        If the model cannot be found, fetched or read.
    """
    arguments.no_more(unknown, load_model)
    where = pick_device(device)
    pick_dtype(dtype, where)
    arguments.flag(trainable, "trainable")
    loaded = MusicEncoder.from_pretrained(
        model,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    loaded.dtype = dtype
    if trainable:
        loaded.unfreeze()
    return loaded.to(where)
