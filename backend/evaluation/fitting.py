"""How long fitting a head takes, and how much memory, with more accepted pictures."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from backend.evaluation.bed import Bed
from backend.evaluation.shelf import BATCH
from backend.evaluation.subject import squares_of, timed
from backend.jobs.learner import FeaturePair, PairsAsked
from backend.jobs.lessons import labels_of
from backend.plots import Series, line_plot

_COLUMNS = ("pictures", "fit_s", "cpu_s", "forward_s", "peak_mib", "f1_50")
_DIGITS = 4
_TIMES = 5
_WARM_UP = 3
"""Pictures of a first fit that is not counted: it loads libraries."""

# The kernel tells kibibytes, macOS bytes.
_MIB = 1024**2 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class FitPoint:
    """What one fit took, reading the kept features included.

    forward_s: of the bare forward pass over as many pictures, beside which it is to be read.
    peak_mib: most memory of the process so far, its libraries included. f1_50: out of fold.
    """

    pictures: int
    fit_s: float
    cpu_s: float
    forward_s: float
    peak_mib: float
    f1_50: float


@dataclass(frozen=True, slots=True)
class Fits:
    """data: name of the set of distinct pictures. before_mib: memory before the first fit."""

    data: str
    distinct: int
    backbone: str
    before_mib: float
    points: tuple[FitPoint, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded."""
        return {
            "data": self.data,
            "distinct": self.distinct,
            "backbone": self.backbone,
            "before_mib": round(self.before_mib, _DIGITS),
            "fits": [
                {name: round(value, _DIGITS) for name, value in asdict(point).items()}
                for point in self.points
            ],
        }

    def told(self) -> str:
        """A table for people."""
        lines = [
            f"{self.data}: {self.distinct} distinct pictures, {self.backbone}; "
            f"{self.before_mib:.0f} MiB before the first fit",
            "".join(f"{name:>10}" for name in _COLUMNS),
        ]
        for one in self.points:
            lines.append(
                f"{one.pictures:>10}{one.fit_s:>10.2f}{one.cpu_s:>10.2f}"
                f"{one.forward_s:>10.2f}{one.peak_mib:>10.0f}{one.f1_50:>10.3f}"
            )
        return "\n".join(lines)

    def plot(self) -> str:
        """Seconds over pictures as SVG."""
        series = [
            Series(name, tuple((float(one.pictures), getattr(one, figure)) for one in self.points))
            for name, figure in (("by the clock", "fit_s"), ("of the processor", "cpu_s"))
        ]
        return line_plot(f"{self.data}, {self.backbone}", "accepted pictures", "seconds", series)


def measure_fits(
    bed: Bed, counts: Sequence[int], on_point: Callable[[str], None] = lambda told: None
) -> Fits:
    """A fit for each number of pictures, fewest first: the peak of memory never falls.

    Beyond the set its pictures come again under other names, which takes the same work; F1
    then tells little, as a picture may be judged by what was fitted to itself.
    """
    small = bed.shelf.learner.wants_small(list(bed.examples.values()))
    on_point("features of every picture")
    for at in range(0, len(bed.ids), BATCH):
        bed.shelf.both(bed.ids[at : at + BATCH], small=small)
    _fit(bed, min(_WARM_UP, min(counts)), small)
    forward_s = _forward_s(bed)
    before_mib = _peak_mib()
    points = []
    for count in sorted(counts):
        on_point(f"{count} pictures")
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        f1_50 = _fit(bed, count, small)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        points.append(FitPoint(count, wall_s, cpu_s, count * forward_s, _peak_mib(), f1_50))
    backbone = bed.shelf.backbone.identity.name
    return Fits(bed.name, len(bed.ids), backbone, before_mib, tuple(points))


def _forward_s(bed: Bed) -> float:
    """Seconds of the bare forward pass over one picture, of a batch of them."""
    backbone = bed.shelf.backbone
    pictures, _ = bed.shelf.sight(bed.ids[:BATCH], objects=False)  # which warms it up
    images_u8 = squares_of(pictures, backbone.size_px)
    took = [timed(backbone.device, lambda: backbone.features(images_u8))[0] for _ in range(_TIMES)]
    return median(took) / len(pictures)


def _fit(bed: Bed, count: int, small: bool) -> float:
    """F1 at IoU .5, out of fold, of a head for so many pictures."""
    picture_of = {
        f"{bed.ids[i % len(bed.ids)]}-{i}": bed.ids[i % len(bed.ids)] for i in range(count)
    }
    examples = [replace(bed.examples[one], picture=name) for name, one in picture_of.items()]

    def pair_of(name: str) -> FeaturePair:
        picture = picture_of[name]
        return bed.shelf.both([picture], small=small)[picture]

    fitted = bed.shelf.learner.fit(
        examples,
        PairsAsked(picture_of, pair_of),
        labels_of(examples),
        (),
        bed.shelf.backbone.identity,
        lambda share: None,
    )
    return fitted.metrics["f1_50"]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB
