"""Figures taken once a round, of which the medians count."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


class Samples:
    """Values by name, one a round."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """One more value."""
        self._values.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        """The median, None where nothing was taken."""
        values = self._values.get(name)
        return median(values) if values else None

    def best(self, names: Sequence[str]) -> str:
        """The name with the largest median; each must have one."""
        return max(names, key=lambda name: median(self._values[name]))


def quotient(one: float | None, other: float | None) -> float | None:
    """one / other, None where either is missing or there is nothing to divide by."""
    return one / other if one is not None and other else None
