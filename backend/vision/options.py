"""Options of saliency methods and box rules, read from text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from backend.errors import LabelConfigInvalid

PREFIX = "model_"

NO_OPTIONS: Mapping[str, str] = MappingProxyType({})

O = TypeVar("O")  # noqa: E741 - no other letter says what it is

Read = Callable[[str], Any]
"""Text to value. Raises: ValueError with what is allowed."""

_YES_NO = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def within(default: float, low: float, high: float) -> Any:
    """A dataclass field with a default and bounds; a whole number where its default is."""
    number, what = (int, "a whole number") if isinstance(default, int) else (float, "a number")

    def read(text: str) -> float:
        try:
            value = number(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:  # NaN compares false
            raise ValueError(f"{what} from {low:g} to {high:g}")
        return value

    return _field(default, read)


def within_or_none(low: float, high: float) -> Any:
    """A dataclass field for a number with bounds, None where it is left to another option."""
    number: Any = within(low, low, high)
    return _field(None, number.metadata["read"])


def several(default: tuple[float, ...], low: float, high: float, most: int) -> Any:
    """A dataclass field of up to ``most`` numbers, parted by commas."""

    def read(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if not 1 <= len(values) <= most or not all(low <= value <= high for value in values):
            raise ValueError(f"1 to {most} numbers from {low:g} to {high:g}, parted by commas")
        return values

    return _field(default, read)


def one_of(default: str, *others: str) -> Any:
    """A dataclass field that takes one of a few words."""
    words = (default, *others)

    def read(text: str) -> str:
        if text not in words:
            raise ValueError("one of " + ", ".join(words))
        return text

    return _field(default, read)


def yes_no(default: bool) -> Any:
    """A dataclass field that is true or false."""

    def read(text: str) -> bool:
        if text.lower() not in _YES_NO:
            raise ValueError("true or false")
        return _YES_NO[text.lower()]

    return _field(default, read)


def boxes_pct() -> Any:
    """A dataclass field of rectangles (x0, y0, x1, y1) in percent of the picture, or none.

    As text "x0,y0,x1,y1", several parted by ";".
    """

    def read(text: str) -> tuple[tuple[float, ...], ...]:
        try:
            boxes = tuple(tuple(float(n) for n in part.split(",")) for part in text.split(";"))
        except ValueError:
            boxes = ((),)
        for box in boxes:
            if not (len(box) == 4 and 0 <= box[0] < box[2] <= 100 and 0 <= box[1] < box[3] <= 100):
                raise ValueError(
                    "x0,y0,x1,y1 in percent of the picture with x0 < x1 and y0 < y1, "
                    "several parted by ;"
                )
        return boxes

    return _field((), read)


def read_options(kind: type[O], text: Mapping[str, str]) -> O:
    """An instance of a dataclass of the fields above, overridden by text where given.

    text: option name, with or without the prefix "model_", to value. Names that the
    dataclass does not have are left to others.
    Raises: LabelConfigInvalid with what is allowed.
    """
    given = {name.removeprefix(PREFIX): value for name, value in text.items()}
    changed: dict[str, Any] = {}
    for option in dataclasses.fields(kind):  # type: ignore[arg-type]
        if option.name not in given:
            continue
        read: Read = option.metadata["read"]
        try:
            changed[option.name] = read(given[option.name].strip())
        except ValueError as error:
            raise LabelConfigInvalid(
                f"{PREFIX}{option.name}={given[option.name]!r} cannot be used.", f"Give {error}."
            ) from None
    return kind(**changed)


def _field(default: Any, read: Read) -> Any:
    return dataclasses.field(default=default, metadata={"read": read})
