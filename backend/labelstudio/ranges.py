"""Which values a ``<Rating>`` or ``<Number>`` takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from backend.errors import LabelConfigInvalid

_STARS = "5"
_LARGEST = 1e12
"""float32 has room for its square; no picture shows more."""

_CLOSE = 1e-6
"""Of a step: decimals such as 0.1 are not exact in binary."""


@dataclass(frozen=True, slots=True)
class NumberRange:
    """low, high: None where open. step: between neighbouring values, from low or 0."""

    low: float | None
    high: float | None
    step: float

    def nearest(self, value: float) -> float:
        """The value of the range that is nearest; whole where low and step are."""
        base = self.low or 0.0
        steps = round((self.clip(value) - base) / self.step)
        # The highest value need not be a whole number of steps away from the lowest.
        if self.high is not None:
            steps = min(steps, math.floor((self.high - base) / self.step + _CLOSE))
        return round(base + steps * self.step, 9)

    def clip(self, value: float) -> float:
        """The value, or the end of the range beyond which it lies."""
        low = -math.inf if self.low is None else self.low
        return max(low, min(value, math.inf if self.high is None else self.high))

    def holds(self, value: float) -> bool:
        """Whether the value is no further out than the ends."""
        return self.clip(value) == value

    def near(self, value: float, other: float) -> bool:
        """Whether two values are at most one step apart."""
        return abs(value - other) <= self.step * (1 + _CLOSE)


def read_range(element: Element) -> NumberRange:
    """The range of a control, by Label Studio's defaults: 5 stars, steps of 1.

    Rating 0 is one that was cleared: no answer. Raises: LabelConfigInvalid for text that is
    no number, an empty range, a step that is not positive.
    """
    if element.tag == "Rating":
        most = _number(element, "maxRating", _STARS)
        return _checked(element, NumberRange(1.0, most, 1.0))
    low, high = (_number(element, side) for side in ("min", "max"))
    step = _number(element, "step", "1")
    return _checked(element, NumberRange(low, high, 1.0 if step is None else step))


def as_number(value: Any) -> float | None:
    """A number out of JSON that can be reckoned with, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -_LARGEST <= value <= _LARGEST else None  # NaN compares false


def _number(element: Element, attribute: str, default: str = "") -> float | None:
    text = element.get(attribute, "").strip() or default
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise LabelConfigInvalid(
            f"<{element.tag}> {element.get('name', '')!r} has {attribute}={text!r}.",
            "Allowed: a number.",
        )
    return value


def _checked(element: Element, found: NumberRange) -> NumberRange:
    low, high = found.low, found.high
    if found.step <= 0 or (low is not None and high is not None and low >= high):
        raise LabelConfigInvalid(
            f"<{element.tag}> {element.get('name', '')!r} has no two values to choose from.",
            "Let the lowest value be below the highest, and the step positive.",
        )
    return found
