"""A checkpoint is a folder: config.json and model.safetensors, read strictly, written whole."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import torch
from torch import Tensor

from musicssl.atomic import atomic_write
from musicssl.checkpoint.names import CONFIG, WEIGHTS
from musicssl.checkpoint.untrusted import (
    DamageError,
    TensorEntry,
    open_file,
    printable,
    read_header,
    read_json,
)
from musicssl.config import (
    Length,
    Range,
    check_ranges,
    from_dict,
    named_from_dict,
    named_to_dict,
    pick_named,
)
from musicssl.encoders import ENCODERS, EncoderConfig
from musicssl.errors import ConfigError, ModelError, pick, shown
from musicssl.pooling import POOLINGS

FORMAT = 1
WEIGHT_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}  # to write
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}  # to read
Layers = Annotated[tuple[Annotated[int, Range(-256, 255)], ...], Length(1, 256)]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Content of a checkpoint's config.json."""

    encoder: EncoderConfig
    pooling: str = "mean"  # of clips, unless asked otherwise
    layer: Layers = (-1,)  # layers put side by side, unless asked otherwise

    def __post_init__(self) -> None:
        check_ranges(self)
        pick_named(POOLINGS, self.pooling, "pooling")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values; `from_dict` is the inverse."""
        return {
            "format": FORMAT,
            "encoder": named_to_dict(self.encoder),
            "pooling": self.pooling,
            "layer": list(self.layer),
        }

    @classmethod
    def from_dict(cls, values: Any) -> "ModelConfig":
        """Read what `to_dict` gives.

        Raises
        ------
        ConfigError
            For another format, an unknown key, a missing one, or a value of another type or
            beyond its limits.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"config must be a mapping, got {shown(values)}.")
        rest = dict(values)
        found = rest.pop("format", None)
        if type(found) is not int or found != FORMAT:
            raise ConfigError(
                f"config.format is {shown(found)}; this version reads format {FORMAT}. "
                "A newer musicssl may read it."
            )
        kinds = {name: kind for name, (_, kind) in ENCODERS.items()}
        rest["encoder"] = named_from_dict(kinds, rest.get("encoder"), "config.encoder")
        return from_dict(cls, rest, "config")


def write_checkpoint(
    folder: Path, config: ModelConfig, tensors: dict[str, Tensor], dtype: str
) -> None:
    """Write both files, each appearing whole or not at all.

    Raises
    ------
    ConfigError
        If `dtype` is not a key of `WEIGHT_DTYPES`.
    ModelError
        If a weight is not finite in it: no such checkpoint would load.
    """
    kind = pick(WEIGHT_DTYPES, dtype, "dtype")
    kept = {name: x.detach().to("cpu", kind).contiguous() for name, x in tensors.items()}
    for name, x in kept.items():
        if not x.isfinite().all():
            hint = "did training diverge?" if kind is torch.float32 else "dtype='fp32' may hold it."
            raise ModelError(
                f"{name} holds NaN or infinity as {dtype}, so nothing is saved; {hint}"
            )
    folder.mkdir(parents=True, exist_ok=True)
    weights = safetensors.torch.save(kept, metadata={"format": "pt"})
    text = json.dumps(config.to_dict(), indent=2) + "\n"
    for name, data in ((WEIGHTS, weights), (CONFIG, text.encode())):
        with atomic_write(folder / name) as file:
            file.write(data)


def read_config(folder: Path) -> ModelConfig:
    """Return what config.json says.

    Raises
    ------
    ModelError
        If it is missing, damaged or not for this version.
    """
    path = folder / CONFIG
    try:
        return ModelConfig.from_dict(read_json(path))
    except ConfigError as error:
        raise ModelError(f"{printable(path)}: {error}") from error
    except DamageError as damage:
        raise ModelError(f"{printable(path)} {damage}.") from damage
    except OSError as error:
        raise ModelError(f"{printable(folder)} is not a whole checkpoint: {error}.") from error


def read_weights(
    folder: Path, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Tensor], str]:
    """Return the weights in fp32, and the file's SHA-256.

    Parameters
    ----------
    folder
        A checkpoint.
    shapes
        Of the weights that there must be, no more and no fewer. Unless the file's header agrees,
        nothing is allocated.

    Raises
    ------
    ModelError
        If the file is missing or damaged, or holds other weights.
    """
    path = folder / WEIGHTS
    try:
        with open_file(path) as file:
            entries = read_header(file)
            _compare(entries, shapes, path)
            return _read_tensors(file, entries)
    except DamageError as damage:
        raise ModelError(f"{printable(path)} is damaged: it {damage}. Fetch it again.") from damage
    except OSError as error:
        raise ModelError(f"{printable(folder)} is not a whole checkpoint: {error}.") from error


def hash_weights_file(folder: Path) -> str:
    """Return the SHA-256 of model.safetensors.

    Raises
    ------
    ModelError
        If it cannot be read.
    """
    try:
        with open_file(folder / WEIGHTS) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{printable(folder)} is not a whole checkpoint: {error}.") from error


def _compare(entries: list[TensorEntry], shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Refuse a header that does not announce the weights that there must be."""
    found = {entry.name: entry.shape for entry in entries}
    names = [*shapes, *(name for name in found if name not in shapes)]
    wrong = [name for name in names if found.get(name) != shapes.get(name)]
    if wrong:
        told = "; ".join(_misfit(name, found.get(name), shapes.get(name)) for name in wrong[:3])
        more = f"; and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""
        raise ModelError(f"{printable(path)}: the weights do not fit {CONFIG}: {told}{more}.")
    for entry in entries:
        if entry.dtype not in FLOATS:
            raise ModelError(
                f"{printable(path)}: {entry.name} is of dtype {shown(entry.dtype)}; weights must "
                f"be {', '.join(FLOATS)}."
            )


def _misfit(name: str, found: tuple[int, ...] | None, wanted: tuple[int, ...] | None) -> str:
    """Say what is wrong with a tensor, whose shape in the file is `found`."""
    if wanted is None:
        return f"{shown(name)} belongs to no part of it"
    return f"{name} is missing" if found is None else f"{name} is {found} instead of {wanted}"


def _read_tensors(
    file: BufferedReader, entries: list[TensorEntry]
) -> tuple[dict[str, Tensor], str]:
    """Read the tensors in their order; only one of them is in memory twice."""
    begin = file.tell()
    file.seek(0)
    sha256 = hashlib.sha256(file.read(begin))
    weights = {}
    for entry in entries:
        x = torch.empty(math.prod(entry.shape), dtype=FLOATS[entry.dtype], device="cpu")
        data = x.view(torch.uint8).numpy().data
        if file.readinto(data) != len(data):
            raise DamageError(f"ends within {entry.name}")
        sha256.update(data)
        weights[entry.name] = x = x.float().view(entry.shape)
        if not x.sum().isfinite() and not x.isfinite().all():  # the sum is quicker
            raise DamageError(f"holds NaN or infinity in {entry.name}")
    return weights, sha256.hexdigest()
