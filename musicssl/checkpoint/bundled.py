"""The bundled models: what is known of each before it is loaded."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from musicssl.config import from_dict
from musicssl.errors import ConfigError, ModelError

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"  # one folder a bundled model
DEFAULT_MODEL = "musicssl-small"
CODE_LICENCE = "MIT"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FACTS = "training.json"  # how it was trained


@dataclass(frozen=True)
class ModelInfo:
    """What there is to know of a model before it is loaded."""

    name: str
    source: str  # "bundled", or a Hugging Face repository
    revision: str | None  # the commit that a repository is pinned to
    parameters: int
    dim: int  # values a frame, with the checkpoint's own choice of layers
    layers: int  # to choose from
    frame_rate: float  # frames a second
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


class _Bundled(Mapping[str, ModelInfo]):
    """The bundled models by name; a model's files are read when its entry is asked for."""

    def __getitem__(self, name: str) -> ModelInfo:
        if name not in self:
            raise KeyError(name)
        return _read_info(CHECKPOINTS / name)

    def __contains__(self, name: object) -> bool:
        return any(name == known for known in self)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.parent.name for path in CHECKPOINTS.glob(f"*/{CONFIG}")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


MODELS: Mapping[str, ModelInfo] = _Bundled()


def list_models() -> list[ModelInfo]:
    """Return the models that can be loaded by name."""
    return list(MODELS.values())


def _read_info(folder: Path) -> ModelInfo:
    """Gather what the files of a bundled checkpoint say."""
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
