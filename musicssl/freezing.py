"""`Freezable`: models of which all, a part or nothing is trained."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Self

import torch
from torch import nn

from musicssl import arguments
from musicssl.encoders import Encoder
from musicssl.errors import ConfigError, FrozenModelWarning
from musicssl.layers import Layer, Layered

FROZEN = (
    "the model is frozen, as every loaded one: training leaves it as it is. "
    "load_model(..., trainable=True) or model.unfreeze() trains it; model.freeze() says that "
    "it is meant to stay so, for a head of your own on top."
)


class Freezable(Layered):
    """A pretrained encoder of which all, a part or nothing is trained."""

    _trained_layers: tuple[int, ...] | None = None  # those that `unfreeze` was told of

    def freeze(self, upto: int | None = None) -> Self:
        """Exclude parameters from training, in place; the opposite of `unfreeze`.

        Parameters
        ----------
        upto
            A layer: what it and the layers below it are made of is frozen, the rest is left as it
            is. None freezes everything.

        Returns
        -------
        Self
            Its frozen parts stay in evaluation mode, whatever `train` says.

        Raises
        ------
        ConfigError
            If there is no such layer.
        """
        names = None if upto is None else needed_parameters(self.encoder, self._layers_to(upto))
        for name, parameter in self.encoder.named_parameters():
            if names is None or name in names:
                parameter.requires_grad_(False)
        self._frozen_on_loading &= upto is not None  # who freezes a part means to train the rest
        return self.train(self.training)

    def unfreeze(self, layer: Layer = None, *, above: int | None = None) -> Self:
        """Let parameters be trained, in place; the opposite of `freeze`.

        Parameters
        ----------
        layer
            The layers that `forward` will be asked for, as there. What only other layers need is
            left as it is, so that every trained parameter gets a gradient.
        above
            A layer: what it and the layers below it are made of is left as it is. None trains
            everything that `layer` needs.

        Returns
        -------
        Self
            In the mode that it was in.

        Raises
        ------
        ConfigError
            If there is no such layer, or it needs nothing above `above`.
        """
        chosen = self.pick_layers(layer)
        names = needed_parameters(self.encoder, chosen)
        if above is not None:
            names = names - needed_parameters(self.encoder, self._layers_to(above))
        if not names:
            raise ConfigError(
                f"nothing is left to train: layer {max(chosen)} needs nothing above layer "
                f"{above}. Give a smaller one, or layer={self.layers - 1}."
            )
        for name, parameter in self.encoder.named_parameters():
            if name in names:
                parameter.requires_grad_(True)
        self._frozen_on_loading, self._trained_layers = False, chosen
        return self.train(self.training)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train all parameters, or none, as in torch; see `unfreeze` and `freeze`."""
        super().requires_grad_(requires_grad)
        self._frozen_on_loading, self._trained_layers = False, None
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, as in torch; parts that are frozen stay in evaluation mode."""
        super().train(mode)
        if mode:
            keep_frozen_parts_in_evaluation(self.encoder)
            if self._frozen_on_loading and not any(p.requires_grad for p in self.parameters()):
                self._frozen_on_loading = False  # once is enough
                warnings.warn(FROZEN, FrozenModelWarning, stacklevel=2)
        return self

    def _layers_to(self, layer: int) -> tuple[int, ...]:
        """Return the numbers of a layer and all below it."""
        (last,) = self.pick_layers(arguments.integer(layer, "layer", least=None))
        return tuple(range(last + 1))

    def _heed_frozen_layers(self, chosen: tuple[int, ...]) -> None:
        """Warn, once, where layers are asked for that `unfreeze` was not told of."""
        known = chosen if self._trained_layers is None else self._trained_layers
        others = [i for i in chosen if i not in known]
        if others and torch.is_grad_enabled():
            self._trained_layers = None
            warnings.warn(
                f"layer {others[0]} is asked for in training, but the model was unfrozen for layer "
                f"{', '.join(map(str, known))}: what the others lack stays as it is. "
                f"unfreeze(layer={others[0]}) trains it too.",
                FrozenModelWarning,
                stacklevel=5,
            )


def needed_parameters(encoder: Encoder, layers: tuple[int, ...]) -> set[str]:
    """Return the names of the parameters that some layers come from.

    Autograd tells which, for any encoder: gradients of a moment of silence reach these alone. The
    encoder itself is left as it is, its running statistics too.
    """
    with torch.inference_mode(False), torch.enable_grad():
        own = {name: x.detach().requires_grad_() for name, x in encoder.named_parameters()}
        copies = {name: x.clone() for name, x in encoder.named_buffers()}
        some = next(iter(own.values()))
        audio = torch.zeros((2, encoder.hop), device=some.device)
        outputs = torch.func.functional_call(encoder, own | copies, (audio, None, max(layers)))
        total = torch.stack([outputs[i].float().sum() for i in layers]).sum()
        found = torch.autograd.grad(total, list(own.values()), allow_unused=True)
    return {name for name, gradient in zip(own, found, strict=True) if gradient is not None}


def keep_frozen_parts_in_evaluation(module: nn.Module) -> None:
    """Put the parts whose parameters are all frozen into evaluation mode.

    A frozen batch normalization that still followed the batches would not be frozen. Parts without
    parameters stay in the mode of what they belong to.
    """
    parameters = list(module.parameters())
    if not parameters:
        return
    if not any(x.requires_grad for x in parameters):
        module.eval()
        return
    for part in module.children():
        keep_frozen_parts_in_evaluation(part)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while, and each of its parts back into its own."""
    modes = [(part, part.training) for part in module.modules()] if module.training else []
    if modes:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
