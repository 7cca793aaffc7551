"""Figures by name with what they were taken on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """values: None where something is missing that they need. about: of the measurement.

    heading: a line for people. missing: what to say in place of None.
    """

    values: dict[str, float | None]
    about: dict[str, Any]
    heading: str
    missing: str = "not installed"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded."""
        rounded = {
            name: None if value is None else round(value, _DIGITS)
            for name, value in self.values.items()
        }
        return {**rounded, **self.about}

    def told(self) -> str:
        """A table for people."""
        width = max(map(len, self.values)) + 2
        lines = [self.heading]
        for name, value in self.values.items():
            shown = self.missing if value is None else f"{value:.2f}"
            lines.append(f"{name:<{width}}{shown:>14}")
        return "\n".join(lines)
