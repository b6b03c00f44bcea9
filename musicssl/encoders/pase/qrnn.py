"""Quasi-recurrent layer with a blocked parallel scan."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from musicssl.encoders.base import State
from musicssl.exporting import is_exporting
from musicssl.frames import frame_count

GROUP = 1024  # frames of a group in an exported graph


class Qrnn(nn.Module):
    """Gates from a frame and the one before it; ``c = f * z + (1 - f) * c_before``, ``h = o * c``.

    Window 2 and fo-pooling of [1]_.

    References
    ----------
    .. [1] Bradbury et al., "Quasi-Recurrent Neural Networks", 2017.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.inputs, self.hidden = inputs, hidden
        self.memory = inputs + hidden  # values of the last frame and of c
        self.gates = nn.Linear(2 * inputs, 3 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, frames, hidden) for (batch, frames, inputs)."""
        start = torch.zeros(x.shape[0], self.hidden, device=x.device)
        return self._run(x, _shifted(x), None, start)[0]

    def resume(self, x: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Do the same from where `state` says; also return what is remembered at its end."""
        skip, frames = (n.to(x.device)[:, None] for n in (state.skip, state.frames))
        before = state.before.to(x.device)
        last, start = before[:, : self.inputs], before[:, self.inputs :]
        index = torch.arange(x.shape[1], device=x.device)
        first = (index == skip)[..., None]
        previous = torch.where(first, last[:, None].to(x.dtype), _shifted(x))
        inside = (index >= skip) & (index < skip + frames)
        out, c = self._run(x, previous, inside, start)
        rows = torch.arange(len(x), device=x.device)
        end = x[rows, (skip + frames)[:, 0] - 1].float()
        return out, torch.cat([end, c[:, -1]], dim=1)

    def _run(
        self, x: Tensor, previous: Tensor, inside: Tensor | None, start: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return h and c; c stands still where `inside` is false."""
        z, f, o = self.gates(torch.cat([x, previous], dim=2)).float().chunk(3, dim=2)
        f = f.sigmoid() if inside is None else f.sigmoid() * inside[..., None]
        c = linear_recurrence(1 - f, f * z.tanh(), start)
        return (o.sigmoid() * c).to(self.gates.weight.dtype), c


def linear_recurrence(decay: Tensor, value: Tensor, start: Tensor) -> Tensor:
    """Return ``c[t] = decay[t] * c[t - 1] + value[t]`` with ``c[-1] = start``.

    Parameters
    ----------
    decay
        Shape (batch, frames, dim), in [0, 1]; at least one frame.
    value
        Shape (batch, frames, dim).
    start
        Shape (batch, dim).

    Returns
    -------
    Tensor
        Shape (batch, frames, dim), in 32-bit floats.

    Notes
    -----
    Groups of 16 frames are run through side by side, the states at their ends follow from the
    same recurrence over groups, and so on: 16 steps for each factor of 16 in the frames, about
    three multiplications a value. Only products of decays occur, never quotients, so nothing can
    overflow. The gradient is the same recurrence from the last frame to the first.
    """
    run: Callable[..., Tensor] = _exported_scan if is_exporting() else _Recurrence.apply
    return run(decay.float(), value.float(), start.float())


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor, value: Tensor, start: Tensor) -> Tensor:
        out = _scan(decay, value, start)
        ctx.save_for_backward(decay, start, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, start, out = ctx.saved_tensors
        following = F.pad(decay[:, 1:], (0, 0, 0, 1))
        of_value = _scan(following.flip(1), grad.flip(1), torch.zeros_like(start)).flip(1)
        before = torch.cat([start[:, None], out[:, :-1]], dim=1)
        return of_value * before, of_value, of_value[:, 0] * decay[:, 0]


def _scan(decay: Tensor, value: Tensor, start: Tensor, steps: int = 16) -> Tensor:
    """Return the recurrence, without a gradient."""
    batch, frames, dim = value.shape
    if frames <= steps:
        states = [start]
        for t in range(frames):
            states.append(torch.addcmul(value[:, t], decay[:, t], states[-1]))
        return torch.stack(states[1:], dim=1)
    missing = -frames % steps
    shape = (batch, -1, steps, dim)
    decay, value = (F.pad(x, (0, 0, 0, missing)).reshape(shape) for x in (decay, value))
    local, product = value.clone(), decay.clone()  # from zero at each group's beginning
    for t in range(1, steps):
        local[:, :, t].addcmul_(decay[:, :, t], local[:, :, t - 1])
        product[:, :, t].mul_(product[:, :, t - 1])
    ends = _scan(product[:, :, -1], local[:, :, -1], start, steps)
    before = torch.cat([start[:, None], ends[:, :-1]], dim=1)
    local.addcmul_(product, before[:, :, None])
    return local.view(batch, -1, dim)[:, :frames]


def _exported_scan(decay: Tensor, value: Tensor, start: Tensor) -> Tensor:
    """Return the same by few operations whose number does not depend on that of the frames.

    What is more than GROUP groups past, 2.9 hours of frames of 10 ms, is forgotten.
    """
    batch, frames, dim = value.shape
    groups = frame_count(frames, GROUP)
    missing = (0, 0, 0, groups * GROUP - frames)
    shape = (batch, groups, GROUP, dim)
    decay, value = (F.pad(x, missing).reshape(shape) for x in (decay, value))
    local, product = _doubling(decay, value)
    ends, lasting = _doubling(product[:, None, :, -1], local[:, None, :, -1])
    states = (ends + lasting * start[:, None, None])[:, 0]  # after each group
    before = torch.cat([start[:, None], states[:, :-1]], dim=1)
    out = local + product * before[:, :, None]
    return out.reshape(batch, groups * GROUP, dim)[:, :frames]


def _doubling(decay: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the recurrence from zero along the third axis, and the products of the decays.

    Of up to GROUP steps: each round doubles how far back a value hears [1]_.

    References
    ----------
    .. [1] Hillis and Steele, "Data parallel algorithms", 1986.
    """
    length, reach = value.shape[2], 1
    while reach < GROUP:
        earlier = F.pad(value, (0, 0, reach, 0))[:, :, :length]
        value = value + decay * earlier
        decay = decay * F.pad(decay, (0, 0, reach, 0), value=1.0)[:, :, :length]
        reach *= 2
    return value, decay


def _shifted(x: Tensor) -> Tensor:
    """Return the frame before each, zeros before the first."""
    return F.pad(x, (0, 0, 1, 0))[:, :-1]
