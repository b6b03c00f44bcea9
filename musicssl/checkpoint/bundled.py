"""The bundled models, and what is known of each before it is loaded."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from musicssl.checkpoint.names import CARD, CONFIG, DEFAULT_MODEL, WEIGHTS
from musicssl.config import from_dict
from musicssl.errors import ConfigError, ModelError

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"  # one folder per bundled model
CODE_LICENCE = "MIT"


@dataclass(frozen=True)
class ModelInfo:
    """Description of a model that can be loaded by name."""

    name: str
    source: str  # "bundled", or a Hugging Face repository
    revision: str | None  # the commit that a repository is pinned to
    parameters: int
    dim: int  # values per frame, with the checkpoint's own choice of layers
    layers: int  # to choose from
    frame_rate: float  # frames per second
    sample_rate: int  # Hz
    megabytes: float  # of the weights file
    code_licence: str
    weights_licence: str
    data_licences: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """The block ``musicssl:`` in the front matter of a bundled model's card."""

    dim: int
    layers: int
    frame_rate: float
    sample_rate: int
    data_licences: str
    summary: str


def bundled_models() -> dict[str, Path]:
    """Return the folder of each bundled model by name, that of the default first."""
    names = [path.parent.name for path in CHECKPOINTS.glob(f"*/{CONFIG}")]
    names.sort(key=lambda name: (name != DEFAULT_MODEL, name))
    return {name: CHECKPOINTS / name for name in names}


def list_models() -> list[ModelInfo]:
    """Return the models that can be loaded by name."""
    return [describe_model(folder) for folder in bundled_models().values()]


def describe_model(folder: Path) -> ModelInfo:
    """Return what the files of a bundled checkpoint say.

    Raises
    ------
    ModelError
        If they are not those of a whole checkpoint.
    """
    from huggingface_hub import metadata_load

    weights = folder / WEIGHTS
    try:
        card: dict[str, Any] = metadata_load(folder / CARD) or {}
        facts = from_dict(_Facts, card.get("musicssl"), "musicssl")
        with safetensors.safe_open(weights, framework="numpy") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        megabytes = round(weights.stat().st_size / 1e6, 1)
    except ConfigError as error:
        raise ModelError(f"{folder / CARD}: {error}") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{folder} is not a whole checkpoint: {error}. Reinstall?") from error
    return ModelInfo(
        name=folder.name,
        source="bundled",
        revision=None,
        parameters=sum(math.prod(shape) for shape in shapes),
        megabytes=megabytes,
        code_licence=CODE_LICENCE,
        weights_licence=str(card.get("license", "not stated")),
        **vars(facts),
    )
