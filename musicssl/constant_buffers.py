"""`ConstantBuffers`: modules whose constants keep their precision."""

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class ConstantBuffers(nn.Module):
    """A module whose own buffers stay what they are where it is cast to another type.

    ``half()`` and ``bfloat16()`` change the weights; windows, filter banks and scales in so few
    digits would change what is heard.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in before.items():
            after = self._buffers[name]
            if buffer is not None and after is not None and after.dtype is not buffer.dtype:
                self._buffers[name] = buffer.to(after.device)
        return self
