"""Keywords of embedding calls, one kind for each type of result: for overloads.

Beside these stands what is wrong for a checker: windows of frames, windows without a length.
"""

from typing import Any, Literal, Required, TypeAlias, TypedDict

import torch

from musicssl.inference.running import Progress
from musicssl.network import Layer

ClipPooling: TypeAlias = Literal["mean", "max", "meanstd"] | None
FramePooling: TypeAlias = Literal["none"] | None
Raise: TypeAlias = Literal["raise"]
Skip: TypeAlias = Literal["skip"]


class EmbedKeywords(TypedDict, total=False):
    """`EmbedOptions` and `RunOptions` that do not decide which type an embedding has.

    And the rate's other name.
    """

    layer: Layer
    dtype: str | torch.dtype
    batch_size: int | None
    chunk_seconds: float | None
    resampler: str
    channel_axis: int | None
    mono: str
    offset: float
    duration: float | None
    sampling_rate: Any
    jobs: int | None
    progress: Progress


class Clip(EmbedKeywords, total=False):
    """One vector per sound."""

    level: Literal["clip"]
    pooling: ClipPooling
    window: None
    hop: None


class Frame(EmbedKeywords, total=False):
    """One vector per frame."""

    level: Required[Literal["frame"]]
    pooling: FramePooling
    window: None
    hop: None


class Window(EmbedKeywords, total=False):
    """One vector per window."""

    level: Literal["clip"]
    pooling: ClipPooling
    window: Required[float]
    hop: float | None
