"""Dataclasses to and from dictionaries: types, limits, messages."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

import pytest

from musicssl.config import Length, Range, from_dict, named_from_dict, named_to_dict, to_dict
from musicssl.encoders import ENCODERS, EncoderConfig
from musicssl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: Annotated[float, Range(0, 1)] = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer(EncoderConfig):
    """In a module that postpones its annotations, as a user's may be."""

    name: ClassVar[str] = "outer"
    size: int
    inner: Inner = field(default_factory=Inner)
    window: int | None = None
    count: Annotated[int, Range(1, 8)] | None = None
    label: str = ""
    on: bool = False
    rate: float = 1.0
    sizes: Annotated[tuple[Annotated[int, Range(1, 8)], ...], Length(1, 3)] = (1,)


WHOLE = {
    **{"size": 3, "inner": {"share": 0.25}, "window": 5, "count": None, "label": "a"},
    **{"on": True, "rate": 2.0, "sizes": [8, 1]},
}


def test_postponed_annotations_are_read() -> None:
    config = from_dict(Outer, WHOLE, "config")
    assert config == Outer(
        size=3, inner=Inner(share=0.25), window=5, label="a", on=True, rate=2.0, sizes=(8, 1)
    )
    assert to_dict(config) == WHOLE
    assert named_from_dict({"outer": Outer}, named_to_dict(config), "config") == config
    assert from_dict(Outer, {"size": 3, "window": None, "rate": 2}, "config").rate == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": None}, "config.size must be of type int, got None"),
        ({"size": True}, "config.size must be of type int, got True"),
        ({"size": 2**63}, "config.size must fit 64 bits, got 9223372036854775808"),
        ({"window": "5"}, "config.window must be of type int, got '5'"),
        ({"count": 9}, "config.count must be between 1 and 8, got 9"),
        ({"label": 5}, "config.label must be of type str"),
        ({"on": 1}, "config.on must be of type bool, got 1"),
        ({"rate": math.inf}, "config.rate must be a finite number, got inf"),
        ({"rate": math.nan}, "config.rate must be a finite number, got nan"),
        ({"rate": 10**30}, "config.rate must be of type float"),
        ({"inner": {"share": 1.5}}, r"config.inner.share must be between 0 and 1, got 1.5"),
        ({"inner": {"share": math.nan}}, "config.inner.share must be a finite number"),
        ({"inner": {"shar": 1}}, "config.inner.shar: unknown key. Did you mean 'share'"),
        ({"inner": [1]}, r"config.inner must be a mapping, got \[1\]"),
        ({"sizes": []}, r"config.sizes must be a list of 1 to 3 entries, got \[\]"),
        ({"sizes": [1] * 4}, "config.sizes must be a list of 1 to 3 entries"),
        ({"sizes": [1, 9]}, r"config.sizes\[1\] must be between 1 and 8, got 9"),
        ({"sizes": 1}, "config.sizes must be a list, got 1"),
        ({"siz\ne": 1}, r"config has the unknown key 'siz\\ne'"),
        ({"k" * 1000: 1}, r"config has the unknown key 'k+\.\.\.k+'"),
        ({5: 1}, "config has the unknown key 5"),
    ],
)
def test_what_is_wrong_is_named_in_a_short_line(change: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        from_dict(Outer, {"size": 3} | change, "config")
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"config lacks size\."):
        from_dict(Outer, {"window": 3}, "config")


def test_a_fault_in_the_class_itself_is_not_taken_for_a_missing_key() -> None:
    @dataclass(frozen=True)
    class Faulty:
        size: int = 1

        def __post_init__(self) -> None:
            raise TypeError("mine")

    Faulty.__annotations__["size"] = int
    with pytest.raises(TypeError, match="mine"):
        from_dict(Faulty, {}, "config")


@pytest.mark.parametrize("name", ENCODERS)
def test_limits_hold_for_configurations_made_in_python_too(name: str) -> None:
    kind = ENCODERS[name][1]
    for wrong in (0, -1, 10**9, math.nan):
        with pytest.raises(ConfigError, match="dim must be between 1 and"):
            kind(dim=wrong)  # type: ignore[call-arg]


def numbers(kind: Any) -> bool:
    """Tell whether a type holds numbers anywhere without limits."""
    if dataclasses.is_dataclass(kind):
        return any(numbers(hint) for hint in hints(kind).values())
    if hasattr(kind, "__metadata__"):
        inner, *limits = get_args(kind)
        tuples = inner if getattr(inner, "__origin__", None) is tuple else None
        if tuples:
            return numbers(tuples)
        return not any(isinstance(limit, Range) for limit in limits)
    if getattr(kind, "__origin__", None) is tuple:
        return numbers(get_args(kind)[0])
    return kind in (int, float)


def hints(kind: Any) -> dict[str, Any]:
    found = get_type_hints(kind, include_extras=True)
    return {f.name: found[f.name] for f in dataclasses.fields(kind)}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_number_of_every_encoder_has_limits(name: str) -> None:
    """A config.json is laid out before its weights are looked at."""
    for field_name, kind in hints(ENCODERS[name][1]).items():
        assert not numbers(kind), field_name
    assert numbers(tuple[int, ...])
    assert numbers(Annotated[int, "no limits"])
