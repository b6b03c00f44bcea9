"""Self-attention over the frames nearby, in blocks: cost and memory grow with the length only."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.constant_buffers import ConstantBuffers
from musicssl.frames import frame_count
from musicssl.frontends import constant_device


class LocalAttention(ConstantBuffers):
    """Residual: each frame attends to those up to `window` away, then two dense layers.

    Normalised before each half, as is usual since [1]_. Queries and keys are turned by angles
    that grow with time [2]_, so that only distances matter and a stretch of a recording gives
    what the whole gives.

    References
    ----------
    .. [1] Xiong et al., "On layer normalization in the Transformer architecture", 2020.
    .. [2] Su et al., "RoFormer: Enhanced Transformer with rotary position embedding", 2021.
    """

    angles: Tensor  # (3 * window, values of a head / 2)

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm_1, self.norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend = nn.Linear(dim, 3 * dim)  # queries, keys, values
        self.merge = nn.Linear(dim, dim)
        self.expand, self.reduce = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        pairs = dim // heads // 2
        with constant_device():
            speeds = 10_000.0 ** -(torch.arange(pairs, dtype=torch.float32) / pairs)
            angles = torch.arange(3 * window)[:, None] * speeds
        self.register_buffer("angles", angles, persistent=False)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Return (batch, frames, dim) for the same; `allowed` is that of `within`."""
        x = x + self.merge(self._gather(self.attend(self.norm_1(x)), allowed))
        return x + self.reduce(F.gelu(self.expand(self.norm_2(x))))

    def _gather(self, x: Tensor, allowed: Tensor) -> Tensor:
        """Return what the frames attend to, from their queries, keys and values."""
        batch, frames, _ = x.shape
        whole = frame_count(frames, self.window) * self.window
        split = F.pad(x, (0, 0, 0, whole - frames)).view(batch, whole, 3, self.heads, -1)
        query, key, value = split.unbind(2)  # (batch, frames, heads, values)
        query = query.reshape(-1, self.window, *query.shape[2:]).transpose(1, 2)
        key, value = (_stretches(y, self.window).flatten(0, 1) for y in (key, value))
        query = _turned(query, self.angles[self.window : 2 * self.window])
        key = _turned(key.transpose(2, 3), self.angles)
        mask = allowed.flatten(0, 1)[:, None]
        out = F.scaled_dot_product_attention(query, key, value.transpose(2, 3), mask)
        return out.transpose(1, 2).reshape(batch, whole, -1)[:, :frames]


def within(inside: Tensor, window: int) -> Tensor:
    """Return which frames may attend to which.

    Parameters
    ----------
    inside
        Shape (batch, frames), false for frames that nobody is to hear.
    window
        Frames that each hears to each side, and frames in a block.

    Returns
    -------
    Tensor
        Shape (batch, blocks, window, 3 * window): of each block's frames, whether they attend to
        those of the block before, of their own and of the one after. Each attends to itself,
        wherever it is: so none is without anything to attend to.
    """
    keys = torch.arange(3 * window, device=inside.device)
    distance = keys - window - keys[:window, None]
    frames = inside.shape[1]
    missing = frame_count(frames, window) * window - frames
    heard = _stretches(F.pad(inside, (0, missing)), window)
    return ((distance.abs() <= window) & heard[:, :, None]) | (distance == 0)


def _stretches(x: Tensor, window: int) -> Tensor:
    """Return blocks of frames with their neighbours: (batch, blocks, ..., 3 * window).

    `x` has the shape (batch, frames, ...), with whole blocks of frames.
    """
    ends = (0, 0) * (x.ndim - 2)
    return F.pad(x, (*ends, window, window)).unfold(1, 3 * window, window)


def _turned(x: Tensor, angles: Tensor) -> Tensor:
    """Return pairs of values, half a vector apart, turned by their angles."""
    a, b = x.float().chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)
