"""Options of a box rule, read from text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from backend.errors import LabelConfigInvalid

PREFIX = "model_"

O = TypeVar("O")  # noqa: E741 - no other letter says what it is


@dataclass(frozen=True, slots=True)
class Bounds:
    """Smallest and largest value allowed; both whole numbers for a whole-number option."""

    low: float
    high: float


def within(default: float, low: float, high: float) -> Any:
    """A dataclass field with a default and bounds."""
    return dataclasses.field(default=default, metadata={"bounds": Bounds(low, high)})


def read_options(kind: type[O], text: Mapping[str, str]) -> O:
    """An instance of a dataclass of ``within`` fields, overridden by text where given.

    text: option name, with or without the prefix "model_", to value. Names that the
    dataclass does not have are left to others. A field is a whole number where its
    default is. Raises: LabelConfigInvalid with what is allowed.
    """
    given = {name.removeprefix(PREFIX): value for name, value in text.items()}
    changed: dict[str, float] = {}
    for option in dataclasses.fields(kind):  # type: ignore[arg-type]
        if option.name in given:
            bounds: Bounds = option.metadata["bounds"]
            changed[option.name] = _number(
                option.name, given[option.name], type(option.default), bounds
            )
    return kind(**changed)


def _number(name: str, text: str, number: type, bounds: Bounds) -> float:
    try:
        value: float = number(text)
    except ValueError:
        value = float("nan")
    if not bounds.low <= value <= bounds.high:
        what = "a whole number" if number is int else "a number"
        raise LabelConfigInvalid(
            f"{PREFIX}{name}={text!r} cannot be used.",
            f"Give {what} from {bounds.low:g} to {bounds.high:g}.",
        )
    return value
