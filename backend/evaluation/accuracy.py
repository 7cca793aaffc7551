"""How good proposals become with more accepted pictures, beside the simplest ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.evaluation.bed import Bed
from backend.evaluation.curves import Point, Split, mean_curve
from backend.evaluation.matching import Judgement, accuracy, judge
from backend.evaluation.proposers import ConstantBox, Proposer, learned_on, zero_shot_on
from backend.learning.examples import Example
from backend.plots import Series, line_plot

_COLUMNS = ("accepted", "f1_50", "f1_70", "mean_iou", "no_edit", "fit_s", "ece")


@dataclass(frozen=True, slots=True)
class Curves:
    """data: name of what was measured on. seeds: of the draws, none where time decided.

    by_proposer: mean curves in the order measured.
    """

    data: str
    pictures: int
    backbone: str
    seeds: tuple[int, ...]
    by_proposer: Mapping[str, tuple[Point, ...]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values: the learned curve as ``curves``, what stands beside it by name."""
        rows = {
            name: [point.as_dict() for point in points] for name, points in self.by_proposer.items()
        }
        return {
            "data": self.data,
            "pictures": self.pictures,
            "backbone": self.backbone,
            "seeds": list(self.seeds),
            "curves": rows.pop("learned", []),
            "constant": rows.pop("constant", []),
            "zero_shot": next(iter(rows.pop("zero_shot", [])), None),
        }

    def told(self) -> str:
        """A table for people."""
        lines = [
            f"{self.data}: {self.pictures} pictures, half held out, {self.backbone}; "
            f"means over {len(self.seeds)} draws"
            if self.seeds
            else f"{self.data}: {self.pictures} pictures, the later half held out, {self.backbone}",
            f"{'':<10}" + "".join(f"{name:>10}" for name in _COLUMNS),
        ]
        for name, points in self.by_proposer.items():
            for point in points:
                row = point.as_dict()
                cells = "".join(f"{row[column]:>10.3f}" for column in _COLUMNS[1:])
                lines.append(f"{name:<10}{row['accepted']:>10}{cells}")
        return "\n".join(lines)

    def plot(self) -> str:
        """The F1 curves as SVG; what does not learn is level."""
        most = max(
            (point.accepted for row in self.by_proposer.values() for point in row), default=0
        )
        return line_plot(
            f"{self.data}, {self.backbone}",
            "accepted pictures",
            "F1",
            [
                Series(f"{name}, F1 at IoU {iou}", _level(_figures(points, figure), most))
                for name, points in self.by_proposer.items()
                for iou, figure in (("0.5", "f1_50"), ("0.7", "f1_70"))
            ],
        )


def measure(
    proposer: Proposer,
    splits: Sequence[Split],
    accepted: Sequence[int],
    examples: Mapping[str, Example],
    on_point: Callable[[str], None] = lambda told: None,
) -> tuple[Point, ...]:
    """The mean curve of one way over the splits; the calibration error of all their boxes.

    The calibration error is pooled, as it is no mean: of few boxes it is far too high (100
    boxes with perfect probabilities have one of 0.09 in ten bins).

    accepted: numbers of pictures; those fewer than the way needs are left out. examples:
    the true boxes of every picture in the splits. on_point: told what is measured next.
    """
    runs = []
    pooled: dict[int, list[Judgement]] = {}
    for at, split in enumerate(splits):
        run = []
        for number in accepted:
            if number < proposer.least:
                continue
            on_point(f"{proposer.name}, {number} accepted, draw {at + 1} of {len(splits)}")
            found = proposer.propose(split.pool[:number], split.held_out)
            judged = [judge(found.boxes[one], examples[one].boxes) for one in split.held_out]
            pooled.setdefault(number, []).extend(judged)
            run.append(Point(number, accuracy(judged), found.fit_s))
        runs.append(run)
    return tuple(
        replace(
            point,
            accuracy=replace(point.accuracy, ece=accuracy(pooled[point.accepted]).ece),
        )
        for point in mean_curve(runs)
    )


def compare(
    bed: Bed,
    splits: Sequence[Split],
    accepted: Sequence[int],
    on_point: Callable[[str], None] = lambda told: None,
) -> dict[str, tuple[Point, ...]]:
    """The product's own way beside the constant box and the zero-shot map."""
    zero_shot, constant = zero_shot_on(bed), ConstantBox(bed.examples)
    learned = learned_on(bed, zero_shot)
    return {
        learned.name: measure(learned, splits, accepted, bed.examples, on_point),
        constant.name: measure(constant, splits, accepted, bed.examples, on_point),
        # What does not learn is the same with any number of accepted pictures.
        zero_shot.name: measure(zero_shot, splits, (0,), bed.examples, on_point),
    }


def _figures(points: Sequence[Point], figure: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(one.accepted), getattr(one.accuracy, figure)) for one in points)


def _level(points: tuple[tuple[float, float], ...], most: int) -> tuple[tuple[float, float], ...]:
    return (*points, (float(most), points[0][1])) if len(points) == 1 and most else points
