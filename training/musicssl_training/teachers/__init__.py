"""Other people's models whose values an encoder can learn to predict."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from musicssl.checkpoint.bundled import bundled_models
from musicssl.errors import ConfigError, MusicSSLError, pick
from musicssl.folder.paths import reason
from musicssl_training.teachers.base import Facts, Teacher, check_teacher

__all__ = ["TEACHERS", "Facts", "Teacher", "load_teacher"]


def _musicnn(data: str) -> Teacher:
    from musicssl_training.teachers.musicnn import Musicnn

    return Musicnn(data)


def _basic_pitch() -> Teacher:
    from musicssl_training.teachers.basic_pitch import BasicPitch

    return BasicPitch.load()


def _swift_f0() -> Teacher:
    from musicssl_training.teachers.swift_f0 import SwiftF0

    return SwiftF0.load()


def _beatnet() -> Teacher:
    from musicssl_training.teachers.beatnet import BeatNet

    return BeatNet.load()


def _crema() -> Teacher:
    from musicssl_training.teachers.crema import Crema

    return Crema.load()


TEACHERS: dict[str, Callable[[], Teacher]] = {
    "musicnn-msd": lambda: _musicnn("MSD"),
    "musicnn-mtt": lambda: _musicnn("MTT"),
    "basic-pitch": _basic_pitch,
    "swift-f0": _swift_f0,
    "beatnet": _beatnet,
    "crema": _crema,
}
OWN = "musicssl"  # in place of a module: one of our own models


def _embedding(model: str) -> Teacher:
    from musicssl_training.teachers.embedding import EmbeddingTeacher

    return EmbeddingTeacher.load(model)


def _efficientat(file: str) -> Teacher:
    from musicssl_training.teachers.efficientat import EfficientAt

    return EfficientAt(Path(file).expanduser())


# what a colon may follow that is no module: what comes after it says which
FAMILIES: dict[str, Callable[[str], Teacher]] = {OWN: _embedding, "efficientat": _efficientat}


def load_teacher(name: str) -> Teacher:
    """Return a teacher.

    Parameters
    ----------
    name
        A name of `TEACHERS`; ``musicssl:MODEL`` for a model that `musicssl.load_model` finds;
        ``efficientat:FILE`` for released weights of EfficientAT; or ``module:function`` of one
        that returns a `Teacher`.

    Raises
    ------
    ConfigError
        If there is none of that name, or the function fails or returns something else.
    DependencyError
        If the package with its weights is not installed.
    ModelError
        If its weights cannot be read, or there is no such model.
    """
    module, colon, function = name.partition(":")
    if not colon:
        if name not in TEACHERS and name in bundled_models():
            raise ConfigError(f"teacher {name!r} is a model of ours: call it {OWN}:{name}.")
        return pick(TEACHERS, name, "teacher")()
    if module in FAMILIES:
        return FAMILIES[module](function)
    teacher = _own(name, module, function)
    check_teacher(teacher)
    return teacher


def _own(name: str, module: str, function: str) -> Teacher:
    """Return what a function of somebody's returns."""
    try:
        make = getattr(import_module(module), function)
    except Exception as error:  # a module may raise anything
        raise ConfigError(f"teacher {name!r} cannot be imported: {_said(error)}.") from error
    try:
        inspect.signature(make).bind()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"teacher {name!r} must be a function that can be called without arguments: {error}."
        ) from None
    try:
        teacher = make()
    except MusicSSLError:
        raise
    except Exception as error:
        raise ConfigError(f"teacher {name!r} cannot be made: {_said(error)}.") from error
    if not isinstance(teacher, Teacher):
        raise ConfigError(
            f"teacher {name!r} must return a musicssl_training.teachers.Teacher, "
            f"got {type(teacher).__name__}."
        )
    return teacher


def _said(error: Exception) -> str:
    """Return the words of an error, and its kind where these may need it."""
    plain = isinstance(error, ImportError | AttributeError)
    return reason(error) if plain else f"{type(error).__name__}: {reason(error)}"
