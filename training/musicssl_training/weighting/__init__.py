"""Loss weighting: how the workers' gradients are balanced, by name."""

from collections.abc import Sequence

from musicssl.errors import pick
from musicssl_training.weighting import balance, fixed, rates, scales
from musicssl_training.weighting.base import Weighting, WeightingConfig
from musicssl_training.weighting.fixed import EqualConfig
from musicssl_training.weighting.gradients import output_gradients, output_gram

WEIGHTINGS: dict[str, tuple[type[Weighting], type[WeightingConfig]]] = {
    "equal": (fixed.Equal, fixed.EqualConfig),
    "static": (fixed.Static, fixed.StaticConfig),
    "rlw": (fixed.Rlw, fixed.RlwConfig),
    "log": (scales.Log, scales.LogConfig),
    "uncertainty": (scales.Uncertainty, scales.UncertaintyConfig),
    "stch": (scales.Stch, scales.StchConfig),
    "dwa": (rates.Dwa, rates.DwaConfig),
    "gradnorm": (rates.GradNorm, rates.GradNormConfig),
    "famo": (rates.Famo, rates.FamoConfig),
    "mgda": (balance.Mgda, balance.MgdaConfig),
    "pcgrad": (balance.PcGrad, balance.PcGradConfig),
    "cagrad": (balance.CaGrad, balance.CaGradConfig),
    "imtl_g": (balance.ImtlG, balance.ImtlGConfig),
    "nash_mtl": (balance.NashMtl, balance.NashMtlConfig),
    "aligned_mtl": (balance.AlignedMtl, balance.AlignedMtlConfig),
    "upgrad": (balance.UpGrad, balance.UpGradConfig),
}


def make_weighting(config: WeightingConfig, names: Sequence[str]) -> Weighting:
    """Return the weighting that `config` describes, for the workers `names` in their order.

    Raises
    ------
    ConfigError
        If there is no such weighting, or it does not fit the workers.
    """
    kind, _ = pick(WEIGHTINGS, config.name, "weighting")
    return kind(config, names)


__all__ = [
    "WEIGHTINGS",
    "EqualConfig",
    "Weighting",
    "WeightingConfig",
    "make_weighting",
    "output_gradients",
    "output_gram",
]
