"""Read the tensors of a PyTorch checkpoint, and nothing else."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from musicssl.errors import ModelError

Weights = Mapping[str, Tensor]


def read_weights(file: Path, where: str) -> Weights:
    """Return the tensors of a PyTorch checkpoint; whatever else it holds is refused.

    Parameters
    ----------
    file
        Of the checkpoint.
    where
        Says where it comes from, if it is not there.

    Raises
    ------
    ModelError
        If it cannot be read, or is something else.
    """
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"there is no file {file}; {where}.") from None
    except UnpicklingError:  # which advises to load the file all the same
        raise ModelError(
            f"{file} cannot be read as weights: it is damaged, or holds more than tensors."
        ) from None
    except Exception as error:  # torch raises nearly anything on a damaged file
        raise ModelError(f"{file} cannot be read as weights: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(one, Tensor) for one in found.values()):
        raise ModelError(f"{file} holds no weights by their names.")
    return found
