"""`Layered`: models whose encoder has layers to choose from."""

from collections.abc import Sequence

from musicssl import arguments
from musicssl.checkpoint.pretrained import Pretrained
from musicssl.encoders import Encoder
from musicssl.errors import ConfigError, shown

Layer = int | Sequence[int] | str | None  # None: the checkpoint's choice


class Layered(Pretrained):
    """A pretrained encoder."""

    encoder: Encoder
    layers: int

    def pick_layers(self, layer: Layer) -> tuple[int, ...]:
        """Return layer numbers for an int, several, "all", or None for the checkpoint's choice.

        "auto" is that choice too.

        Raises
        ------
        ConfigError
            If there is no such layer.
        """
        if layer is None or (isinstance(layer, str) and layer == "auto"):
            layer = self.config.layer
        if isinstance(layer, str):
            if layer != "all":
                raise ConfigError(
                    f"layer {shown(layer)} is unknown; give a number, several, or 'all'."
                )
            return tuple(range(self.layers))
        numbers = arguments.integers(layer, "layer")
        for number in numbers:
            if not -self.layers <= number < self.layers:
                known = f"layers 0 to {self.layers - 1}" if self.layers > 1 else "one layer, 0"
                raise ConfigError(f"layer {number!r} does not exist; this model has {known}.")
        return tuple(number % self.layers for number in numbers)
