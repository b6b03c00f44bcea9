"""Settings of a pre-training run, to and from a TOML or JSON mapping."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from musicssl.config import from_dict, named_from_dict, named_to_dict, to_dict
from musicssl.encoders import ENCODERS, DilatedConfig, EncoderConfig
from musicssl.errors import ConfigError, pick
from musicssl_training.augment import MaskConfig, SpectrogramAugmentConfig, WaveformAugmentConfig
from musicssl_training.pairs import split_pair
from musicssl_training.weighting import WEIGHTINGS, EqualConfig, WeightingConfig
from musicssl_training.workers import (
    WORKERS,
    Entry,
    WorkerConfig,
    read_workers,
    worker_configs,
)

log = logging.getLogger(__name__)
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}  # ours: Fabric's
MASKED_EXCERPTS = 0.5  # share, where a worker needs masks and the settings do not say
SCHEDULES = ("plateau", "cosine")
Names = Mapping[str, str | None]  # former names: those of today, or None for what is gone
AUGMENT_IN = ("auto", "spectrum", "wave", "both")
RENAMED: Names = {  # settings of older runs, and what they are called now; None: no longer there
    "distort": "augment_spectrogram",
    "wave": "augment_waveform",
    "distort_in": "augment_in",
}
RENAMED_AUGMENT: Names = {
    "equalise": "equalize",
    "equalise_db": "equalize_db",
    "equalise_peaks": "equalize_peaks",
    "equalise_q": "equalize_q",
    "quantise": "quantize",
    "quantise_bits": "quantize_bits",
    "noise_colour": "noise_color",
    "noise_power": None,  # an absolute level; noise_db is relative to the sound
}
RENAMED_WEIGHTING: Names = {"normalise": "normalize"}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Music that the encoder hears."""

    sources: tuple[str, ...]  # packs, or manifests of folders
    shares: tuple[float, ...]  # of the batch, one a source
    seconds: float = 7.04  # an excerpt
    recordings: int = 10  # a batch, over all processes
    per_recording: int = 2  # excerpts of each
    gain_db: float = 12.0  # of excerpt and targets alike, at most, up or down
    isolated: float = 0.0  # share of excerpts of which only a stretch sounds
    same_source: float = 0.0  # share of a batch's recordings that come from one of its sources
    layered: float = 0.0  # share of rendered recordings with a second one on top
    workers: int = 1  # processes that read ahead; 0: none, each step is read when it is needed

    def __post_init__(self) -> None:
        if len(self.sources) != len(self.shares):
            raise ConfigError(f"{len(self.sources)} sources but {len(self.shares)} shares.")
        if not self.sources or min(self.shares) <= 0:
            raise ConfigError(f"shares must be positive, one a source, got {list(self.shares)}.")
        for name in ("isolated", "same_source", "layered"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ConfigError(f"data.{name} is a share, 0 to 1, got {share}.")
        if not 0 < self.seconds < math.inf:
            raise ConfigError(f"data.seconds must be positive, got {self.seconds}.")
        if self.per_recording < 1:
            raise ConfigError(f"data.per_recording must be at least 1, got {self.per_recording}.")
        if self.workers < 0:
            raise ConfigError(f"data.workers must be at least 0, got {self.workers}.")
        if self.recordings < 2:
            raise ConfigError(
                f"recordings must be at least 2 (contrast needs others), got {self.recordings}."
            )


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimization of encoder and workers."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: int = 500  # steps
    schedule: str = "plateau"  # then straight down to zero; or "cosine" all the way
    cool_down: float = 0.2  # share of the steps in which a plateau's rate falls to zero
    clip: float = 1.0  # largest norm of the encoder's gradient
    clip_heads: float = 1.0  # and of the workers'
    average: float = 0.999  # decay of the averaged weights
    accumulate: int = 1  # parts in which a batch is heard, one after the other

    def __post_init__(self) -> None:
        pick(dict.fromkeys(SCHEDULES), self.schedule, "optim.schedule")
        if self.accumulate < 1:
            raise ConfigError(f"optim.accumulate must be at least 1, got {self.accumulate}.")


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Downstream scores during a run."""

    every: int = 0  # steps; 0: never
    collections: tuple[str, ...] = ()  # labelled music: NAME=FOLDER, as for `evaluate --at`
    tasks: tuple[str, ...] = ()  # none: all that there is data for
    layer: tuple[int, ...] = (-1,)
    pooling: str = "meanstd"
    seeds: int = 1

    def __post_init__(self) -> None:
        self.places()
        if self.every and not self.collections:
            raise ConfigError(
                "probe.every is set, but there are no probe.collections to measure on."
            )

    def places(self) -> list[tuple[str, str]]:
        """Return names and folders of the collections."""
        return [split_pair(text, "probe.collections", "NAME=FOLDER") for text in self.collections]


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pre-training run."""

    data: DataConfig
    workers: tuple[Entry, ...] = ("music",)  # selections, names, tables: see `worker_configs`
    encoder: EncoderConfig = field(default_factory=DilatedConfig)
    weighting: WeightingConfig = field(default_factory=EqualConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment_spectrogram: SpectrogramAugmentConfig = field(default_factory=SpectrogramAugmentConfig)
    augment_waveform: WaveformAugmentConfig = field(default_factory=WaveformAugmentConfig)
    augment_in: str = "auto"  # "spectrum", "wave" or "both"; auto: spectrum if the encoder has one
    mask: MaskConfig = field(default_factory=MaskConfig)  # blocks, for the worker `masked`
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    hidden: int = 256  # units of the workers' heads
    statistics: str = "true"  # of regression targets, or "pase": see `workers.regression`
    edges: str = "mask"  # steps whose target hears beyond the excerpt, or "keep"
    start_from: str = ""  # a model (name, folder or repository) whose encoder it begins with
    steps: int = 100_000
    precision: str = "fp32"
    compile: bool = False
    seed: int = 0
    measure_batches: int = 40  # for the targets' statistics
    save_every: int = 100  # steps
    log_every: int = 10
    compare_every: int = 100  # steps between the gradients' norms and cosines
    patience: int = 20  # steps in a row with a loss or gradient that is not finite

    def __post_init__(self) -> None:
        pick(PRECISIONS, self.precision, "precision")
        pick(dict.fromkeys(AUGMENT_IN), self.augment_in, "augment_in")
        self.worker_configs()
        for name in ("steps", "hidden", "measure_batches", "save_every", "log_every", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.data.recordings % self.optim.accumulate:
            raise ConfigError(
                f"data.recordings ({self.data.recordings}) must be a multiple of "
                f"optim.accumulate ({self.optim.accumulate})."
            )

    def worker_configs(self) -> dict[str, WorkerConfig]:
        """Return each worker's settings, by its name in logs and checkpoints."""
        return worker_configs(
            self.workers, hidden=self.hidden, statistics=self.statistics, edges=self.edges
        )


def read_config(values: dict[str, Any]) -> PretrainConfig:
    """Return a run's settings from a TOML or JSON mapping.

    Parameters
    ----------
    values
        Of `PretrainConfig`, also under the names that older runs wrote; an encoder or weighting
        without a ``name`` is the default one. ``workers`` holds names and tables.

    Raises
    ------
    ConfigError
        For an unknown key or name, or a value that is not allowed.
    """
    values = _renamed(values, RENAMED, "config")
    for table, names in {
        "augment_spectrogram": RENAMED_AUGMENT,
        "augment_waveform": RENAMED_AUGMENT,
        "weighting": RENAMED_WEIGHTING,
    }.items():
        if isinstance(values.get(table), dict):
            values[table] = _renamed(values[table], names, f"config.{table}")
    tables: dict[str, Any] = {"encoder": ENCODERS, "weighting": WEIGHTINGS}
    defaults = {"encoder": DilatedConfig.name, "weighting": EqualConfig.name}
    named: dict[str, Any] = {}
    if "workers" in values:
        named["workers"] = read_workers(values.pop("workers"))
    for key in [key for key in tables if key in values]:
        shape = values.pop(key)
        if isinstance(shape, dict):
            shape = {"name": defaults[key]} | shape
        kinds = {name: kind for name, (_, kind) in tables[key].items()}
        named[key] = named_from_dict(kinds, shape, f"config.{key}")
    config = replace(from_dict(PretrainConfig, values, "config"), **named)
    needs_mask = any(
        configured.name in WORKERS and WORKERS[configured.name][0].needs_mask
        for configured in config.worker_configs().values()
    )
    if needs_mask and "mask" not in values:
        return replace(config, mask=MaskConfig(excerpts=MASKED_EXCERPTS))
    if needs_mask and not config.mask.excerpts:
        log.warning("a worker asks only of masked frames, but mask.excerpts is 0: it is absent.")
    return config


def _renamed(values: Mapping[str, Any], names: Names, where: str) -> dict[str, Any]:
    """Return settings under the names that they have now.

    Raises
    ------
    ConfigError
        If a setting is there under both names.
    """
    out: dict[str, Any] = {}
    for key, value in values.items():
        name = names.get(key, key)
        if name is None:
            log.warning("%s.%s is no longer a setting and has no effect.", where, key)
        elif name != key and name in values:
            raise ConfigError(f"{where}: {key!r} is the former name of {name!r}; give one of them.")
        else:
            out[name] = value
    return out


def write_config(config: PretrainConfig) -> dict[str, Any]:
    """Return JSON-able values; `read_config` is the inverse."""
    named = {key: named_to_dict(getattr(config, key)) for key in ("encoder", "weighting")}
    return to_dict(config) | named
