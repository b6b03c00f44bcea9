"""A checkpoint is a folder: config.json and model.safetensors, read strictly, written whole."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from musicssl.config import named_from_dict, named_to_dict
from musicssl.encoders import ENCODERS, EncoderConfig
from musicssl.errors import ConfigError, ModelError, nearest, pick
from musicssl.pooling import POOLINGS

FORMAT = 1
WEIGHT_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a checkpoint's config.json says."""

    encoder: EncoderConfig
    pooling: str = "mean"  # of clips, unless asked otherwise
    layer: tuple[int, ...] = (-1,)  # layers put side by side, unless asked otherwise

    def __post_init__(self) -> None:
        pick(POOLINGS, self.pooling, "pooling")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values; `from_dict` is the inverse."""
        return {
            "format": FORMAT,
            "encoder": named_to_dict(self.encoder),
            "pooling": self.pooling,
            "layer": list(self.layer),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """Read what `to_dict` gives.

        Raises
        ------
        ConfigError
            For another format, an unknown key, a missing one, or a value of another type.
        """
        rest = dict(values)
        if (found := rest.pop("format", None)) != FORMAT:
            raise ConfigError(
                f"config.format is {found!r}; this version reads format {FORMAT}. "
                "A newer musicssl may read it."
            )
        encoder = rest.pop("encoder", None)
        for key in rest:
            if key not in ("pooling", "layer"):
                raise ConfigError(f"config.{key}: unknown key.{nearest(key, ['pooling', 'layer'])}")
        layer = rest.pop("layer", [-1])
        if not isinstance(layer, list) or any(type(number) is not int for number in layer):
            raise ConfigError(f"config.layer must be a list of numbers, got {layer!r}.")
        kinds = {name: kind for name, (_, kind) in ENCODERS.items()}
        encoder = named_from_dict(kinds, encoder, "config.encoder")
        return cls(encoder=encoder, layer=tuple(layer), **rest)


def write_checkpoint(
    folder: Path, config: ModelConfig, tensors: dict[str, Tensor], dtype: str
) -> None:
    """Write both files, each appearing whole or not at all.

    Raises
    ------
    ConfigError
        If `dtype` is not a key of `WEIGHT_DTYPES`.
    """
    kind = pick(WEIGHT_DTYPES, dtype, "dtype")
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: x.detach().to("cpu", kind).contiguous() for name, x in tensors.items()}
    weights = safetensors.torch.save(kept, metadata={"format": "pt"})
    text = json.dumps(config.to_dict(), indent=2) + "\n"
    for name, data in (("model.safetensors", weights), ("config.json", text.encode())):
        part = folder / f".{name}.part"
        part.write_bytes(data)
        part.replace(folder / name)


def read_checkpoint(folder: Path) -> tuple[ModelConfig, dict[str, Tensor], str]:
    """Return the configuration, the weights in fp32, and the weight file's SHA-256.

    Raises
    ------
    ModelError
        If a file is missing or damaged.
    """
    try:
        config = ModelConfig.from_dict(json.loads((folder / "config.json").read_text("utf-8")))
        data = (folder / "model.safetensors").read_bytes()
        tensors = safetensors.torch.load(data)
    except ConfigError as error:
        raise ModelError(f"{folder / 'config.json'}: {error}") from error
    except ValueError as error:  # also where it is not UTF-8
        raise ModelError(f"{folder / 'config.json'} is not JSON: {error}.") from error
    except OSError as error:
        raise ModelError(f"{folder} is not a whole checkpoint: {error}.") from error
    except safetensors.SafetensorError as error:
        raise ModelError(
            f"{folder / 'model.safetensors'} is damaged ({error}); fetch it again."
        ) from error
    weights = {name: x.float() for name, x in tensors.items()}
    return config, weights, hashlib.sha256(data).hexdigest()
