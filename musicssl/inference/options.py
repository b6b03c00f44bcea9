"""Options of an embedding: as they are given, and resolved for a model."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from musicssl import arguments
from musicssl.audio import RESAMPLERS
from musicssl.audio.mix import MIXES
from musicssl.errors import AudioError, ConfigError, pick, shown
from musicssl.inference.device import DTYPES, pick_dtype
from musicssl.inference.sounds import check_part
from musicssl.network import Layer, Network
from musicssl.pooling import POOLINGS

LEVELS = {"clip": True, "frame": False}  # whether frames are pooled


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Options of an embedding, as `musicssl.get_embedding` describes them.

    Raises
    ------
    AudioError
        If there is no such axis of channels.
    ConfigError
        For a value that does not exist whatever the model is.
    """

    level: str = "clip"
    pooling: str | None = None
    window: float | None = None  # seconds
    hop: float | None = None
    layer: Layer = None
    dtype: str | torch.dtype = "auto"
    batch_size: int | None = None  # None: the defaults of `Settings`
    batch_seconds: float | None = None
    chunk_seconds: float | None = None
    resampler: str = "soxr"
    channel_axis: int | None = None
    mono: str = "mean"
    offset: float = 0.0  # seconds
    duration: float | None = None

    def __post_init__(self) -> None:
        pooled = pick(LEVELS, self.level, "level")
        if self.pooling is not None:
            pick(POOLINGS, self.pooling, "pooling")
        if not pooled and self.pooling not in (None, "none"):
            raise ConfigError(
                f"level='frame' does not pool, but pooling={self.pooling!r} was given."
            )
        self._check_windows()
        pick(RESAMPLERS, self.resampler, "resampler")
        pick(MIXES, self.mono, "mono")
        if self.channel_axis is not None:
            axis = arguments.integer(
                self.channel_axis, "channel_axis", least=-2, most=1, error=AudioError
            )
            object.__setattr__(self, "channel_axis", axis)
        offset, duration = check_part(self.offset, self.duration)
        object.__setattr__(self, "offset", offset)
        object.__setattr__(self, "duration", duration)

    def _check_windows(self) -> None:
        """Check the windows, and let them follow each other unless `hop` says otherwise."""
        if self.window is None:
            if self.hop is not None:
                raise ConfigError("hop is the distance between windows; give window too.")
            return
        if not LEVELS[self.level] or self.pooling == "none":
            raise ConfigError("windows are pooled; give either window or frames, not both.")
        window = arguments.number(self.window, "window")
        hop = window if self.hop is None else arguments.number(self.hop, "hop")
        object.__setattr__(self, "window", window)
        object.__setattr__(self, "hop", hop)

    def resolve(self, model: Network) -> "Settings":
        """Return every choice made, for a model.

        Raises
        ------
        ConfigError
            For a value that this model does not have.
        """
        batch_seconds = self.batch_seconds
        if batch_seconds is None and model.device.type != "cpu":
            batch_seconds = 600.0
        pooling = self.pooling or model.config.pooling
        chosen: dict[str, Any] = {
            "batch_size": self.batch_size,
            "batch_seconds": batch_seconds,
            "chunk_seconds": self.chunk_seconds,
        }
        settings = Settings(
            pooling=pooling if LEVELS[self.level] else "none",
            window=self.window,
            hop=self.hop,
            layers=model.pick_layers(self.layer),
            dtype=_pick_dtype(self.dtype, model),
            **{name: value for name, value in chosen.items() if value is not None},
        )
        frame = model.hop / model.sample_rate
        if settings.chunk_seconds * model.sample_rate < model.hop:
            raise ConfigError(
                f"chunk_seconds must be at least one frame, {frame:g} s, "
                f"or inf for all in one piece, got {settings.chunk_seconds:g}."
            )
        if settings.window is not None and settings.pooling == "none":
            raise ConfigError("windows are pooled, and this model's own choice is none; give one.")
        for name, value in (("window", settings.window), ("hop", settings.hop)):
            if value is not None and Fraction(str(value)) * model.sample_rate < model.hop:
                raise ConfigError(f"{name} must be at least one frame, {frame:g} s, got {value:g}.")
        return settings


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of an `Engine`: every choice made.

    Raises
    ------
    ConfigError
        For a value that does not exist.
    """

    pooling: str  # a key of POOLINGS; "none" gives frames
    layers: tuple[int, ...]
    window: float | None = None  # seconds; None: the whole is one
    hop: float | None = None
    dtype: torch.dtype = torch.float32
    chunk_seconds: float = 120.0  # infinite: all in one piece
    batch_seconds: float = 30.0
    batch_size: int = 1024  # chunks

    @property
    def level(self) -> str:
        """How many vectors a sound has: "clip" for one, one per "window", or one per "frame"."""
        if self.window is not None:
            return "window"
        return "frame" if self.pooling == "none" else "clip"

    def __post_init__(self) -> None:
        pick(POOLINGS, self.pooling, "pooling")
        if not isinstance(self.dtype, torch.dtype) or self.dtype not in DTYPES.values():
            raise ConfigError(
                "dtype must be torch.float32, torch.float16 or torch.bfloat16, "
                f"got {shown(self.dtype, kind=True)}."
            )
        plain: dict[str, Any] = {
            "layers": tuple(arguments.integers(self.layers, "layers")),
            "batch_size": arguments.integer(self.batch_size, "batch_size"),
        }
        for name in ("chunk_seconds", "batch_seconds"):
            plain[name] = arguments.number(getattr(self, name), name, finite=False)
        for name, value in plain.items():
            object.__setattr__(self, name, value)


def _pick_dtype(dtype: str | torch.dtype, model: Network) -> torch.dtype:
    """Return the precision to compute in; "auto" leaves it to the model."""
    weights = next(model.encoder.parameters(), model.centre).dtype
    if isinstance(dtype, str) and dtype == "auto":
        dtype = model.dtype
    if isinstance(dtype, str) and dtype == "auto" and weights.itemsize == 2:  # it was cast
        dtype = weights
    return pick_dtype(dtype, model.device)
