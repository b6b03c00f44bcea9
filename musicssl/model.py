"""`MusicEncoder`: an encoder with what is needed to use it, and its checkpoint folder."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from musicssl.audio import AudioInput
from musicssl.checkpoint import ModelConfig, read_checkpoint, write_checkpoint
from musicssl.devices import pick_device, pick_dtype
from musicssl.encoders import ENCODERS, Encoder, State
from musicssl.engine import Engine, Settings
from musicssl.errors import AudioError, ConfigError, ModelError, pick
from musicssl.hub import find_checkpoint, push_folder
from musicssl.inputs import Embedded, embed_inputs
from musicssl.pooling import POOLINGS

Layer = int | Sequence[int] | str | None


class MusicEncoder(nn.Module):
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
        super().__init__()
        kind, _ = ENCODERS[config.encoder.name]
        self.encoder: Encoder = kind(config.encoder)
        self.config = config
        self.sample_rate, self.hop = self.encoder.sample_rate, self.encoder.hop
        self.frame_rate = self.sample_rate / self.hop
        self.context, self.layers = self.encoder.context, self.encoder.n_layers
        self.register_buffer("centre", torch.zeros(self.layers, self.encoder.dim))
        self.register_buffer("spread", torch.ones(self.layers, self.encoder.dim))
        self.dim = len(self.pick_layers(None)) * self.encoder.dim
        self.model_id, self.weights_sha256 = "unsaved", ""
        self.revision: str | None = None
        self.dtype: str | torch.dtype = "auto"

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
        if layer is None:
            layer = self.config.layer
        if isinstance(layer, str):
            if layer == "auto":
                return self.pick_layers(None)
            if layer != "all":
                raise ConfigError(f"layer {layer!r} is unknown; give a number, several, or 'all'.")
            return tuple(range(self.layers))
        numbers = [layer] if isinstance(layer, int) else list(layer)
        if not numbers:
            raise ConfigError("layer is empty; give a number, several, or 'all'.")
        for number in numbers:
            if not isinstance(number, int) or not -self.layers <= number < self.layers:
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
        state: State | None = None,
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
        state
            For encoders with memory, where the rows stand in their recordings; see
            `Encoder.resume`. None for rows that are whole recordings.

        Returns
        -------
        Tensor
            Shape (batch, frames, values), ``frames = ceil(samples / hop)``; frame ``i`` is
            centred on sample ``i * hop``.

        Raises
        ------
        AudioError
            If `audio` is not a batch of at least one sample each.
        """
        if audio.ndim != 2 or audio.shape[1] == 0:
            raise AudioError(
                f"audio must have the shape (batch, samples), got {tuple(audio.shape)}."
            )
        if state is None:
            outputs = self.encoder(audio, samples)
        else:
            outputs = self.encoder.resume(audio, samples, state)
        chosen = self.pick_layers(layer)
        with torch.autocast(audio.device.type, enabled=False):
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
        pick({"clip": 0, "frame": 0}, level, "level")
        if level == "frame" and pooling not in (None, "none"):
            raise ConfigError(f"level='frame' does not pool, but pooling={pooling!r} was given.")
        pooling = "none" if level == "frame" else pooling or self.config.pooling
        pick(POOLINGS, pooling, "pooling")
        chosen: dict[str, Any] = {
            "batch_size": batch_size,
            "batch_seconds": batch_seconds or (None if self.device.type == "cpu" else 600.0),
            "chunk_seconds": chunk_seconds,
        }
        return Settings(
            pooling=pooling,
            layers=self.pick_layers(layer),
            dtype=pick_dtype(self.dtype if dtype == "auto" else dtype, self.device),
            **{name: value for name, value in chosen.items() if value is not None},
        )

    def embed(
        self,
        audio: AudioInput | Sequence[AudioInput],
        sr: float | Sequence[float | None] | None = None,
        *,
        resampler: str = "soxr",
        channel_axis: int | None = None,
        **choices: Any,
    ) -> Embedded:
        """Return embeddings; see `musicssl.get_embedding`, which adds only the choice of a model.

        Parameters
        ----------
        audio, sr, resampler, channel_axis
            As there.
        choices
            `level`, `pooling`, `layer`, `dtype`, `batch_size`, `chunk_seconds`, as there.

        Returns
        -------
        numpy.ndarray, Tensor, Embedding or list of Embedding
            As there.

        Raises
        ------
        AudioError
            If audio cannot be used; of several, the message names which.
        """
        engine = Engine(self, self.settings(**choices))
        return embed_inputs(engine, audio, sr, resampler=resampler, channel_axis=channel_axis)

    def save_pretrained(self, folder: str | Path, *, dtype: str = "fp16") -> Path:
        """Write config.json and model.safetensors, each appearing whole or not at all.

        Raises
        ------
        ConfigError
            If `dtype` is not "fp16" or "fp32".
        """
        folder = Path(folder)
        write_checkpoint(folder, self.config, self.state_dict(), dtype)
        return folder

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save to a temporary folder, upload it, and return the repository's address.

        `options` are those of `musicssl.hub.push_folder`: token, private, commit_message, revision.
        """
        with tempfile.TemporaryDirectory() as folder:
            return push_folder(self.save_pretrained(folder), repo_id, **options)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> "MusicEncoder":
        """Load a bundled model by name, a folder, or a Hugging Face repository, on the CPU.

        Parameters
        ----------
        model
            None for the bundled default.
        revision
            Branch, tag or commit of a repository.
        cache_dir, token, local_files_only
            As in `huggingface_hub.hf_hub_download`.

        Returns
        -------
        MusicEncoder
            In evaluation mode, in fp32.

        Raises
        ------
        ModelError
            If it cannot be found, fetched or read.
        """
        found = find_checkpoint(
            model,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
        )
        loaded = read_folder(found.folder)
        loaded.model_id, loaded.revision = found.model_id, found.revision
        return loaded


def read_folder(folder: Path) -> MusicEncoder:
    """Load a checkpoint folder, strictly.

    Raises
    ------
    ModelError
        If a file is missing or damaged, or the weights are not those of config.json.
    """
    config, weights, sha256 = read_checkpoint(folder)
    model = MusicEncoder(config)
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelError(f"{folder}: the weights do not fit config.json: {error}") from error
    model.model_id, model.weights_sha256 = folder.name, sha256
    return model.requires_grad_(False).eval()


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
