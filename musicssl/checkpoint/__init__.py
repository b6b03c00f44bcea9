"""Checkpoints: the files, the bundled models, the Hugging Face Hub."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musicssl.checkpoint.files import ModelConfig

__all__ = ["ModelConfig"]


def __getattr__(name: str) -> Any:
    """Load what needs torch on first use: the list of models does not."""
    if name == "ModelConfig":
        from musicssl.checkpoint.files import ModelConfig

        return ModelConfig
    raise AttributeError(f"module 'musicssl.checkpoint' has no attribute {name!r}")
