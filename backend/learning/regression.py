"""Values of whole pictures, learned from accepted ratings and numbers: one line a control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from backend.domain import FloatArray
from backend.errors import ConfigError
from backend.labelstudio.ranges import NumberRange
from backend.learning.examples import Example
from backend.learning.features import F16Array
from backend.learning.folds import Folds
from backend.learning.naming import fit_lines
from backend.vision.backbones import Backbone
from backend.vision.classes import ClassName

FEWEST = 10
"""Accepted values from which a control is answered. Of values that pictures do not show, a
line passes for better than the mean by luck: in 16 % of 400 draws of 5 pictures, in 12 % of
10, in 9 % of 20."""

_MOST_MISSES = 99
"""Misses kept of a head; of more pictures those that stand for all, in order."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a Rating or Number asks. allowed: the values that it takes."""

    control: str
    allowed: NumberRange


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a head makes of one picture. value: before it is rounded to one that is allowed.

    misses: (Q,) accepted minus estimated values, out of fold.
    """

    value: float
    misses: FloatArray
    allowed: NumberRange

    def take(self, allowed: NumberRange | None = None) -> tuple[float, float]:
        """The nearest value of the range, and the probability that it is a step off at most.

        As often as it would have been with the misses on accepted pictures, each the miss
        of a line that had not seen the picture; one more hit and one more miss are counted,
        so that few pictures never promise certainty. allowed: None for the head's own range.
        """
        within = allowed or self.allowed
        answer = within.nearest(self.value)
        likely = [within.nearest(self.value + miss) for miss in self.misses.tolist()]
        hits = sum(within.near(answer, one) for one in likely)
        return answer, (hits + 1) / (len(likely) + 2)

    def right(self, accepted: float) -> bool:
        """Whether the answer is one step off at most."""
        return self.allowed.near(self.allowed.nearest(self.value), accepted)


@dataclass(frozen=True, slots=True)
class Line:
    """value = pooled @ weights + offset; weights (C,) over the channels of the last cells.

    Values are in the control's own unit and stay within low and high, the least and largest
    that were accepted.
    """

    weights: FloatArray
    offset: float
    low: float
    high: float

    def __call__(self, rows: FloatArray) -> FloatArray:
        """(N,) values of pooled cells (N, C)."""
        values = np.clip(rows @ self.weights + self.offset, self.low, self.high)
        return np.asarray(values, np.float32)


@dataclass(frozen=True, slots=True)
class NumberHead:
    """The values of one control. misses: as in ``Estimate``."""

    measure: Measure
    line: Line
    misses: FloatArray

    def __call__(self, pooled: Sequence[F16Array]) -> list[Estimate]:
        """An estimate for each picture, from its pooled features (C,)."""
        if not pooled:
            return []
        values = self.line(_rows(pooled)).tolist()
        return [Estimate(value, self.misses, self.measure.allowed) for value in values]


@dataclass(frozen=True, slots=True)
class Measured:
    """A control's accepted values. pictures: by name. values: (N,)."""

    measure: Measure
    pictures: tuple[str, ...]
    values: FloatArray


@dataclass(frozen=True, slots=True)
class FittedNumber:
    """head: None where it is no better than the mean of accepted values.

    error, error_of_mean: root mean square of the misses of both, out of fold. right: by picture,
    whether the out-of-fold answer was one step off at most.
    """

    head: NumberHead | None
    error: float
    error_of_mean: float
    right: Mapping[str, bool]


def measured(measure: Measure, examples: Sequence[Example]) -> Measured | None:
    """What was accepted as values, None before two different ones were.

    A value outside the control's range (from before the range was changed) is left out.
    """
    values = {
        example.picture: example.numbers[measure.control]
        for example in examples
        if measure.control in example.numbers
        and measure.allowed.holds(example.numbers[measure.control])
    }
    if len(set(values.values())) < 2:
        return None
    return Measured(measure, tuple(values), np.array(list(values.values()), np.float32))


def fit_numbers(known: Measured, pooled: Mapping[str, F16Array]) -> FittedNumber:
    """Ridge regression of accepted values on pooled cells.

    pooled: (C,) of each picture. The head answers from FEWEST pictures, and only if its
    squared misses, out of fold, are smaller than those of the mean of the same accepted
    values, by more than one standard error of the differences: a line that was lucky on a
    few pictures is not believed.
    Source: global average pooling under a linear regression, Wang & Yang 2017 ("Diabetic
    Retinopathy Detection via Deep Convolutional Networks for Discriminative Localization and
    Visual Explanation", eq. 1-3). Differs: the trunk stays frozen, the line is a ridge.
    """
    rows, values = _rows([pooled[picture] for picture in known.pictures]), known.values
    folds = Folds.dealt(len(rows))
    fold = np.array(folds.of)
    said, mean = np.zeros_like(values), np.zeros_like(values)
    for number in folds.numbers:
        outside, inside = fold != number, fold == number
        said[inside] = _line(rows[outside], values[outside])(rows[inside])
        mean[inside] = values[outside].mean()
    misses, misses_of_mean = values - said, values - mean
    head = None
    if len(rows) >= FEWEST and _clearly_positive(np.square(misses_of_mean) - np.square(misses)):
        spread = np.linspace(0, len(misses) - 1, min(len(misses), _MOST_MISSES)).round()
        kept = np.sort(misses)[spread.astype(int)]
        head = NumberHead(known.measure, _line(rows, values), kept)
    estimates = [Estimate(value, misses, known.measure.allowed) for value in said.tolist()]
    return FittedNumber(
        head,
        float(np.sqrt(np.square(misses).mean())),
        float(np.sqrt(np.square(misses_of_mean).mean())),
        {
            picture: estimate.right(accepted)
            for picture, estimate, accepted in zip(
                known.pictures, estimates, values.tolist(), strict=True
            )
        },
    )


def _clearly_positive(differences: npt.NDArray[np.floating]) -> bool:
    """Whether their mean is above zero by more than its standard error."""
    error = differences.std(ddof=1) / len(differences) ** 0.5
    return bool(differences.mean() > error)


def _rows(pooled: Sequence[F16Array]) -> FloatArray:
    # Not of unit length, as for choices: a map has to add up to the value.
    return np.stack([np.asarray(one, np.float32) for one in pooled])


def _line(rows: FloatArray, values: FloatArray) -> Line:
    low, high = float(values.min()), float(values.max())
    half = max(high - low, 1e-6) / 2
    fitted = fit_lines(rows, ((values - low) / (2 * half))[:, None], np.ones(len(rows)))
    weights = half * fitted.weights[:, 0]
    # Regressed were -1 for the least value and 1 for the largest.
    offset = low + half * (1 + float(fitted.offset[0])) - float(fitted.mean @ weights)
    return Line(np.asarray(weights, np.float32), offset, low, high)


def regression_backbone(backbone: Backbone, numbers: Sequence[NumberHead]) -> Backbone:
    """The backbone with controls of values as its classes, in this order.

    A logit is the control's value, before it is held within what was accepted; the map of
    a class is the regression activation map: weights times cells, whose mean plus the
    offset is the value. numbers: learned with this backbone.
    Raises: ConfigError where there are none.
    """
    if not numbers:
        raise ConfigError(
            "The head answers no Rating or Number, so there is nothing to explain.",
            "Accept different values, and train the project again.",
        )
    classes = tuple(ClassName("", one.measure.control) for one in numbers)
    weight = torch.from_numpy(np.stack([one.line.weights for one in numbers]))
    bias = torch.tensor([one.line.offset for one in numbers], dtype=torch.float32)
    return backbone.classifying(weight, bias, classes)
