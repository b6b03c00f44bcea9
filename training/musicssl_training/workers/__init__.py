"""The pretext tasks, by the name that stands in a run's settings."""

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from musicssl.errors import ConfigError, pick
from musicssl_training.data.teaching import NAME
from musicssl_training.targets import TARGETS
from musicssl_training.targets.base import Pooled
from musicssl_training.targets.features import FrameGrid
from musicssl_training.targets.spectral import Context
from musicssl_training.teachers import TEACHERS
from musicssl_training.workers import score
from musicssl_training.workers.base import Batch, Worker
from musicssl_training.workers.contrast import Contrast, Segments
from musicssl_training.workers.equivariance import Transposition
from musicssl_training.workers.masked import Masked
from musicssl_training.workers.pairing import Gim, Lim, Spc
from musicssl_training.workers.regression import Regression
from musicssl_training.workers.teacher import PREFIX, Imitation, Lesson
from musicssl_training.workers.waveform import Waveform, WaveformSpectra

__all__ = ["SELECTIONS", "WORKERS", "Batch", "Worker", "make_workers", "resolve"]

TOKEN_SECONDS = 0.04  # heard by one token of `masked`, at least
ALL_BUT = "all-but-"


Make = Callable[..., Worker]  # dim, grid, hidden; of those that predict a target, `OPTIONS` too
OPTIONS: dict[str, type[int] | type[str]] = {
    "context": int,  # frames of the target side by side, an odd number (PASE+'s r)
    "pool": int,  # read-outs are this much rarer: frames and targets are averaged
    "statistics": str,  # "true" or "pase": see `Regression`
    "edges": str,  # "mask" or "keep"
}


def _regression(name: str) -> Make:
    def make(
        dim: int,
        grid: FrameGrid,
        hidden: int = 256,
        *,
        context: int = 1,
        pool: int = 1,
        **options: str,
    ) -> Worker:
        target = TARGETS[name](grid)
        if pool > 1:
            target = Pooled(grid, target, pool)
        if context > 1:
            target = Context(grid, target, context)
        return Regression(dim, target, hidden=hidden, **options)

    return make


def _masked(dim: int, grid: FrameGrid, hidden: int = 256) -> Worker:
    frames = round(TOKEN_SECONDS * grid.sample_rate / (grid.hop * grid.stride))
    return Masked(dim, TARGETS["log_mel"](grid), stack=max(1, frames))


WORKERS: dict[str, Make] = {
    **{name: _regression(name) for name in TARGETS},  # each predicts the target of its name
    "waveform": lambda dim, grid, hidden=256: Waveform(dim, grid),
    "waveform_stft": lambda dim, grid, hidden=256: WaveformSpectra(dim, grid),
    "lim": lambda dim, grid, hidden=256: Lim(dim, hidden=hidden),
    "gim": lambda dim, grid, hidden=256: Gim(dim, hidden=hidden),
    "spc": lambda dim, grid, hidden=256: Spc(dim, grid, hidden=hidden),
    "contrast": lambda dim, grid, hidden=256: Contrast(dim, hidden=hidden),
    "segments": lambda dim, grid, hidden=256: Segments(dim, grid, hidden=hidden),
    "masked": _masked,
    "transposition": lambda dim, grid, hidden=256: Transposition(dim, grid, hidden=hidden),
    "piano_roll": score.piano_roll,
    "families": score.families,
    "beats": score.beats,
    "tempo": score.tempo,
    "key": score.key,
    "chord": score.chord,
}

SELECTIONS: dict[str, tuple[str, ...]] = {
    # the seven and the twelve of PASE and PASE+ (Pascual et al., 2019; Ravanelli et al., 2020)
    "speech": ("waveform", "lps", "mfcc", "prosody", "lim", "gim", "spc"),
    "pase_plus": (
        "waveform",
        "lps",
        "lps_long",
        "mfcc",
        "mfcc_long",
        "log_mel",
        "log_mel_long",
        "gammatone",
        "gammatone_long",
        "prosody",
        "lim",
        "gim",
    ),
    "music": (
        "notes",
        "chroma",
        "salience",
        "onsets",
        "tempogram",
        "tempogram_fourier",
        "beat_pulse",
        "contrast_bands",
        "harmonic_percussive",
        "loudness",
        "contrast",
    ),
    "score": ("piano_roll", "families", "beats", "tempo", "key", "chord"),
    "all": tuple(WORKERS),
    "teachers": tuple(f"{PREFIX}{name}" for name in TEACHERS),  # no part of "all"
}


def resolve(names: Sequence[str]) -> tuple[str, ...]:
    """Return the workers that `names` say, in order, each once.

    Parameters
    ----------
    names
        Workers, selections, and ``-name`` or ``all-but-name`` to leave one of either out:
        the former of what was named before it, the latter of all. A worker that predicts a target
        may have options of its own, ``name:key=value,key=value``: see `OPTIONS`. One that predicts
        what a teacher says is called ``teacher:NAME``.

    Raises
    ------
    ConfigError
        For a name or option that is unknown, or leaves out what was not there, or if nothing is
        left.

    Examples
    --------
    >>> resolve(["score", "-beats", "contrast"])
    ('piano_roll', 'families', 'tempo', 'key', 'chord', 'contrast')
    """
    chosen: dict[str, None] = {}
    for name in names:
        if name.startswith(ALL_BUT):
            chosen |= dict.fromkeys(WORKERS)
        left_out = name.removeprefix(ALL_BUT) if name.startswith(ALL_BUT) else name[1:]
        if not name.startswith((ALL_BUT, "-")):
            chosen |= dict.fromkeys(_members(name))
            continue
        for worker in _members(left_out):
            if worker not in chosen:
                raise ConfigError(
                    f"workers: {name!r} leaves out {worker!r}, which was not chosen before it. "
                    f"Did you mean '{ALL_BUT}{left_out}'?"
                )
            del chosen[worker]
    if not chosen:
        raise ConfigError(f"workers {list(names)} leave none to learn from.")
    return tuple(chosen)


def _members(name: str) -> tuple[str, ...]:
    """Return the workers of a selection, or the one of that name."""
    if name in SELECTIONS:
        return SELECTIONS[name]
    if name.startswith(PREFIX):
        if not NAME.fullmatch(name.removeprefix(PREFIX)):
            raise ConfigError(
                f"workers: {name!r} names no teacher: names have small letters, digits, - and _ "
                "only. One of your own is called as its facts say, not as its module."
            )
        return (name,)
    plain, options = parse(name)
    pick(dict.fromkeys([*WORKERS, *SELECTIONS]), plain, "worker or selection")
    if options and plain not in TARGETS:
        raise ConfigError(f"workers: {name!r} has options, but {plain!r} predicts no target.")
    return (name,)


def parse(name: str) -> tuple[str, dict[str, int | str]]:
    """Return a worker's plain name, and its own options.

    Raises
    ------
    ConfigError
        If an option is unknown or no number where one is needed.

    Examples
    --------
    >>> parse("mfcc:context=7,edges=keep")
    ('mfcc', {'context': 7, 'edges': 'keep'})
    """
    plain, _, text = name.partition(":")
    options: dict[str, int | str] = {}
    for pair in filter(None, text.split(",")):
        key, _, value = pair.partition("=")
        kind = pick(OPTIONS, key, f"option of worker {plain!r}")
        if kind is int and not value.isdecimal():
            raise ConfigError(f"workers: {name!r}: {key} must be a number, got {value!r}.")
        options[key] = kind(value)
    return plain, options


def make_workers(
    names: Sequence[str],
    dim: int,
    grid: FrameGrid,
    hidden: int = 256,
    lessons: Mapping[str, Lesson] | None = None,
    **options: str,
) -> nn.ModuleDict:
    """Return the named workers, in order.

    Parameters
    ----------
    names
        From `resolve`.
    dim
        Values a frame of the encoder.
    grid
        Where targets are measured.
    hidden
        Units of their hidden layers.
    lessons
        Of the teachers, by their names.
    options
        Of those that predict a target and have none of their own: see `OPTIONS`.

    Raises
    ------
    ConfigError
        For an unknown name.
    """
    made = nn.ModuleDict()
    for name in names:
        if name.startswith(PREFIX):
            lesson = pick(lessons or {}, name.removeprefix(PREFIX), "teacher")
            made[name] = Imitation(dim, grid, lesson, hidden=hidden)
            continue
        plain, own = parse(name)
        make = pick(WORKERS, plain, "worker")
        given: dict[str, int | str] = {**options, **own} if plain in TARGETS else {}
        made[name] = make(dim, grid, hidden, **given)
    return made
