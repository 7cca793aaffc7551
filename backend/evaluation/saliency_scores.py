"""What a comparison of saliency methods found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backend.domain import FloatArray
from backend.plots import Series, line_plot
from backend.vision.boxes.levels import Calibration

FIGURES = ("ms_per_image", "pointing", "deletion", "insertion", "f1_50")
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class MethodScores:
    """ms_per_image: a look, a map and its boxes, the median over batches.

    pointing, deletion, insertion: see ``faithfulness``; of each true label of each
    picture, pointing as the mean over labels. f1_50: of the boxes that ``detect`` gives, all
    labels asked for. calibration: of ``model_threshold``, the box rule's share of the
    maximum at which the map fits the true boxes best; None without a true box. deleted,
    inserted: mean curves.
    """

    method: str
    ms_per_image: float
    pointing: float
    deletion: float
    insertion: float
    f1_50: float
    calibration: Calibration | None
    deleted: FloatArray
    inserted: FloatArray

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded."""
        figures = {name: round(float(getattr(self, name)), _DIGITS) for name in FIGURES}
        return {"method": self.method, **figures}


@dataclass(frozen=True, slots=True)
class SaliencyScores:
    """centre: pointing accuracy of the pictures' centres. left_out: why, by method."""

    data: str
    pictures: int
    backbone: str
    steps: int
    centre: float
    methods: tuple[MethodScores, ...]
    left_out: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values: ``methods`` has one object a method, ``thresholds`` what suits it here."""
        return {
            "data": self.data,
            "pictures": self.pictures,
            "backbone": self.backbone,
            "steps": self.steps,
            "methods": [one.as_dict() for one in self.methods],
            "thresholds": {
                one.method: round(one.calibration.threshold, _DIGITS)
                for one in self.methods
                if one.calibration is not None
            },
            "centre": {"pointing": round(self.centre, _DIGITS)},
            "left_out": self.left_out,
        }

    def told(self) -> str:
        """A table for people."""
        lines = [
            f"{self.data}: {self.pictures} pictures, {self.backbone}; the centre points at "
            f"{self.centre:.3f}",
            f"{'':<24}" + "".join(f"{name:>14}" for name in (*FIGURES, "threshold")),
        ]
        for one in self.methods:
            row = one.as_dict()
            cells = "".join(f"{row[name]:>14.3f}" for name in FIGURES)
            best = f"{one.calibration.threshold:>14.2f}" if one.calibration else ""
            lines.append(f"{one.method:<24}{cells}{best}")
        lines += [f"{name} is left out: {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)

    def plot(self) -> str:
        """The mean curves of deletion and insertion as SVG."""
        return line_plot(
            f"{self.data}, {self.backbone}",
            "share of pixels",
            "probability",
            [
                Series(f"{one.method}, {name}", tuple(_points(curve)))
                for one in self.methods
                for name, curve in (("deletion", one.deleted), ("insertion", one.inserted))
            ],
        )


def _points(curve: FloatArray) -> Iterator[tuple[float, float]]:
    steps = len(curve) - 1
    return ((step / steps, float(value)) for step, value in enumerate(curve))
