"""Random generator whose state is saved with the weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class SavedGenerator(nn.Module):
    """A generator on the CPU whose state is a buffer, so that it is saved with the weights."""

    state: Tensor

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.register_buffer("state", torch.Generator().manual_seed(seed).get_state())

    @contextmanager
    def draw(self) -> Iterator[torch.Generator]:
        """Lend the generator; what was drawn is remembered afterwards."""
        generator = torch.Generator()
        generator.set_state(self.state.cpu())
        yield generator
        self.state.copy_(generator.get_state())
