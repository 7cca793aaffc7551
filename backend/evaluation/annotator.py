"""A simulated annotator who accepts the true boxes of what a strategy chooses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from backend.domain import Boxes, FloatArray
from backend.evaluation.curves import Point, Split, mean_curve
from backend.evaluation.matching import accuracy, judge
from backend.evaluation.proposers import Learned
from backend.learning.examples import Example
from backend.learning.next_tasks import Situation, choose_next
from backend.plots import Series, line_plot

BASELINE = "random"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many pictures are accepted: start (at random), then step by step up to most."""

    start: int = 3
    step: int = 5
    most: int = 33

    @property
    def points(self) -> int:
        """How often a head is fitted in one draw."""
        return 1 + -(-(self.most - self.start) // self.step)


@dataclass(frozen=True, slots=True)
class Savings:
    """Mean learning curves by strategy. goal: F1 at IoU 0.5 that `random` has at the end."""

    data: str
    backbone: str
    seeds: tuple[int, ...]
    curves: Mapping[str, tuple[Point, ...]]

    @property
    def goal(self) -> float:
        return self.curves[BASELINE][-1].accuracy.f1_50

    def needed(self, strategy: str) -> int | None:
        """Fewest accepted pictures with which a strategy reaches the goal; None: never."""
        reached = [one.accepted for one in self.curves[strategy] if one.accuracy.f1_50 >= self.goal]
        return min(reached, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values; saved: annotations spared against random, below 0 where it costs."""
        most = self.needed(BASELINE)
        rows = []
        for name, points in self.curves.items():
            needed = self.needed(name)
            rows.append(
                {
                    "strategy": name,
                    "needed": needed,
                    "saved": None if needed is None or most is None else most - needed,
                    "mean_f1_50": round(fmean(point.accuracy.f1_50 for point in points), 4),
                    "mean_f1_70": round(fmean(point.accuracy.f1_70 for point in points), 4),
                    "curve": [point.as_dict() for point in points],
                }
            )
        return {
            "data": self.data,
            "backbone": self.backbone,
            "seeds": list(self.seeds),
            "goal_f1_50": round(self.goal, 4),
            "strategies": rows,
        }

    def told(self) -> str:
        """A table for people, and what it means."""
        lines = [
            f"{self.data}, {self.backbone}, means over {len(self.seeds)} draws: F1 at IoU 0.5",
            f"{'accepted':<14}"
            + "".join(f"{point.accepted:>7}" for point in self.curves[BASELINE])
            + f"{'needed':>9}{'saved':>7}",
        ]
        for row in self.as_dict()["strategies"]:
            figures = "".join(f"{point['f1_50']:>7.3f}" for point in row["curve"])
            needed, saved = ("-" if row[key] is None else row[key] for key in ("needed", "saved"))
            lines.append(f"{row['strategy']:<14}{figures}{needed:>9}{saved:>7}")
        lines.append(
            f"needed: pictures to reach what random has at the end, {self.goal:.3f}; -: never"
        )
        return "\n".join(lines)

    def plot(self) -> str:
        """F1 at IoU 0.5 as SVG."""
        return line_plot(
            f"{self.data}, {self.backbone}: choosing the next pictures",
            "accepted pictures",
            "F1 at IoU 0.5",
            [
                Series(name, tuple((float(one.accepted), one.accuracy.f1_50) for one in points))
                for name, points in self.curves.items()
            ],
        )


class Annotator:
    """Works through pools of pictures; what was learned from the same ones is not learned again.

    examples: the true boxes of every picture. pooled: a feature vector of each.
    """

    def __init__(
        self, learned: Learned, examples: Mapping[str, Example], pooled: Mapping[str, FloatArray]
    ) -> None:
        self._learned = learned
        self._examples = examples
        self._pooled = pooled
        self._proposed: dict[tuple[str, ...], tuple[Mapping[str, Boxes], float]] = {}

    def curve(
        self,
        strategy: str,
        splits: Mapping[int, Split],
        plan: Plan,
        on_point: Callable[[str], None] = lambda told: None,
    ) -> tuple[Point, ...]:
        """The mean learning curve over draws by seed. Raises: UnknownName."""
        runs = []
        for seed, split in splits.items():
            runs.append(self._run(strategy, split, plan, seed, on_point))
        return mean_curve(runs)

    def _run(
        self,
        strategy: str,
        split: Split,
        plan: Plan,
        seed: int,
        on_point: Callable[[str], None],
    ) -> list[Point]:
        # The draw has laid the pool in random order: its first pictures are random ones.
        accepted, rng, points = list(split.pool[: plan.start]), np.random.default_rng(seed), []
        while True:
            on_point(f"{strategy}, {len(accepted)} accepted, draw {seed}")
            proposed, fit_s = self._propose(accepted, (*split.held_out, *split.pool))
            judged = [judge(proposed[one], self._examples[one].boxes) for one in split.held_out]
            points.append(Point(len(accepted), accuracy(judged), fit_s))
            open_pictures = [one for one in split.pool if one not in accepted]
            count = min(plan.step, plan.most - len(accepted))
            if count <= 0 or not open_pictures:
                return points
            situation = self._situation(open_pictures, accepted, proposed)
            chosen = choose_next(strategy, situation, count, rng)
            accepted += [open_pictures[at] for at in chosen]

    def _propose(
        self, accepted: Sequence[str], asked: Sequence[str]
    ) -> tuple[Mapping[str, Boxes], float]:
        key = tuple(accepted)
        if key not in self._proposed:
            proposals = self._learned.propose(accepted, asked)
            self._proposed[key] = (proposals.boxes, proposals.fit_s)
        return self._proposed[key]

    def _situation(
        self,
        open_pictures: Sequence[str],
        accepted: Sequence[str],
        proposed: Mapping[str, Boxes],
    ) -> Situation:
        boxes = [proposed[one] for one in open_pictures]
        return Situation(
            # As in a prediction: the lowest score of a region, 0 without one.
            np.array([one.score.min() if len(one) else 0.0 for one in boxes], np.float32),
            np.stack([self._pooled[one] for one in open_pictures]),
            tuple(one.label for one in boxes),
            np.stack([self._pooled[one] for one in accepted]),
            Counter(name for one in accepted for name in self._examples[one].boxes.label),
        )
