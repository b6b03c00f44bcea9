"""A wider encoder that computes what a narrower one does, to be trained on from there."""

from dataclasses import replace
from typing import TypeGuard

import torch
from torch import nn

from musicssl.encoders import Encoder
from musicssl.encoders.dilated import Block, Dilated

WIDTHS = ("dim", "inner")
NOISE = 0.5  # its deviation beside that of the weights which copies share


def can_widen(narrow: Encoder, wide: Encoder) -> bool:
    """Tell whether `wide` has the shape of `narrow` but for its width.

    Both are `Dilated`; `dim` is a multiple, `inner` as much or more, and not both are the same.
    """
    if not (_is_dilated(narrow) and _is_dilated(wide)) or narrow.config == wide.config:
        return False
    return (
        replace(wide.config, **{name: getattr(narrow.config, name) for name in WIDTHS})
        == narrow.config
        and wide.dim % narrow.dim == 0
        and wide.config.inner >= narrow.config.inner
    )


def former_widths(narrow: Encoder, wide: Encoder) -> dict[str, int]:
    """Return what `widen` changes of the shape, as it is before; nothing if it changes nothing."""
    if not can_widen(narrow, wide):
        return {}
    before = {name: getattr(narrow.config, name) for name in WIDTHS}
    return {name: width for name, width in before.items() if width != getattr(wide.config, name)}


@torch.no_grad()
def widen(narrow: Encoder, wide: Encoder) -> None:
    """Give a wider encoder weights by which it has the values of a narrower one, several times.

    Every value is copied ``wide.dim / narrow.dim`` times, one copy of all after the other, so
    that mean and deviation over the values stay. What reads copies shares its weight out among
    them, with noise that adds up to zero: once training makes the copies differ, they are read
    differently. Further units of the blocks keep the weights by which they read, and nothing
    reads them yet. So does Net2Net [1]_, whose copies are of units drawn at random.

    Parameters
    ----------
    narrow
        The encoder to begin with.
    wide
        One that `can_widen` allows, with random weights, which are overwritten.

    References
    ----------
    .. [1] Chen et al., "Net2Net: accelerating learning via knowledge transfer", 2016.
    """
    assert can_widen(narrow, wide)
    own = dict(narrow.named_parameters())
    copies = wide.dim // narrow.dim
    for name, parameter in wide.named_parameters():
        if own[name].shape == parameter.shape:
            parameter.copy_(own[name])
        elif not name.endswith(("expand.weight", "expand.bias", "reduce.weight")):
            parameter.copy_(torch.cat([own[name]] * copies))
    for block, before in zip(wide.modules(), narrow.modules(), strict=True):
        if isinstance(block, Block) and isinstance(before, Block):
            _widen_expand(block.expand, before.expand, copies)
            block.reduce.weight.zero_()
            inner = before.reduce.in_features
            block.reduce.weight[:, :inner] = torch.cat([before.reduce.weight] * copies)


def _widen_expand(wide: nn.Linear, narrow: nn.Linear, copies: int) -> None:
    """Let the first units of a layer read copies as those of another read what is copied."""
    shape, weight = (copies, *narrow.weight.shape), narrow.weight
    noise = NOISE * weight.std() * torch.randn(shape, device=weight.device)
    shares = weight / copies + noise - noise.mean(dim=0)
    wide.weight[: narrow.out_features] = torch.cat(list(shares), dim=1)
    wide.bias[: narrow.out_features] = narrow.bias


def _is_dilated(encoder: Encoder) -> TypeGuard[Dilated]:
    return isinstance(encoder, Dilated)
