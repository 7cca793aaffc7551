"""Answers about whole pictures, learned from accepted ones: one linear classifier a control."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import FloatArray
from backend.learning.examples import Example
from backend.learning.features import F16Array
from backend.learning.folds import FOLDS
from backend.learning.linear import fit_logistic
from backend.learning.naming import fit_lines, fit_naming

_LIMIT = 2.0
"""Values are about -1..1; a choice that a fold never saw is far below."""

_SLOPES = np.geomspace(0.01, 30.0, 50)
_START = np.array([2.0, 0.0], np.float32)
"""Slope and shift of a choice's probability before anything is known of it."""

_START_WEIGHT = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """What a control of choices asks. multiple: whether several may be taken."""

    control: str
    multiple: bool


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a head makes of one question on one picture.

    probability: of each choice that it knows. cut: probability from which a choice is
    taken where several may be; empty where one is.
    """

    probability: Mapping[str, float]
    cut: Mapping[str, float]

    def take(
        self, allowed: Collection[str] | None = None, score_threshold: float = 0.0
    ) -> tuple[tuple[str, ...], float]:
        """The choices to take, best first, with the probability of the least sure of them.

        allowed: those that may be taken, None for all. Of equal ones the first by name.
        """
        ranked = sorted(
            (
                (choice, p)
                for choice, p in self.probability.items()
                if (allowed is None or choice in allowed) and p >= score_threshold
            ),
            key=lambda item: (-item[1], item[0]),
        )
        taken = (
            [item for item in ranked if item[1] >= self.cut[item[0]]] if self.cut else ranked[:1]
        )
        return tuple(choice for choice, _ in taken), min((p for _, p in taken), default=0.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values (N, K) to probabilities: slope and shift (K,), and where to cut them (K,)."""

    slope: FloatArray
    shift: FloatArray
    cut: FloatArray

    def __call__(self, values: FloatArray, *, multiple: bool) -> FloatArray:
        """(N, K): they sum up to one where a single choice is taken."""
        logits = values * self.slope + self.shift
        if multiple:
            return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
        raised = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(raised / raised.sum(1, keepdims=True), np.float32)


@dataclass(frozen=True, slots=True)
class Lines:
    """One line a choice on pooled features of unit length: weights (C, K), offset (K,)."""

    weights: FloatArray
    offset: FloatArray

    def __call__(self, rows: FloatArray) -> FloatArray:
        """(N, K) values within -2..2."""
        return np.asarray(np.clip(rows @ self.weights + self.offset, -_LIMIT, _LIMIT), np.float32)


@dataclass(frozen=True, slots=True)
class ChoiceHead:
    """The answers to one question. choices: as Label Studio stores them. accuracy: out of fold."""

    question: Question
    choices: tuple[str, ...]
    accuracy: float
    lines: Lines
    scale: Scale

    def __call__(self, pooled: Sequence[F16Array]) -> list[Opinion]:
        """An opinion on each picture, from its pooled features (C,)."""
        multiple = self.question.multiple
        cut = dict(zip(self.choices, self.scale.cut.tolist(), strict=True)) if multiple else {}
        if not pooled:
            return []
        probability = self.scale(self.lines(_rows(pooled)), multiple=multiple)
        return [
            Opinion(dict(zip(self.choices, row, strict=True)), cut) for row in probability.tolist()
        ]


@dataclass(frozen=True, slots=True)
class Answered:
    """A question's accepted answers. pictures: by name. wanted: (N, K) 1 where one was taken."""

    question: Question
    choices: tuple[str, ...]
    pictures: tuple[str, ...]
    wanted: FloatArray


def answered(question: Question, examples: Sequence[Example]) -> Answered | None:
    """What was accepted as answers, None before two different answers were.

    With one answer only there is nothing to tell apart. Where one choice is asked for, a
    picture with several (from before the question was changed) is left out.
    """
    taken = {
        example.picture: frozenset(example.choices[question.control])
        for example in examples
        if example.choices.get(question.control)
    }
    if not question.multiple:
        taken = {picture: names for picture, names in taken.items() if len(names) == 1}
    if len(set(taken.values())) < 2:
        return None
    choices = tuple(sorted(frozenset().union(*taken.values())))
    wanted = [[float(choice in names) for choice in choices] for names in taken.values()]
    return Answered(question, choices, tuple(taken), np.array(wanted, np.float32))


def learnable(questions: Sequence[Question], examples: Sequence[Example]) -> tuple[Question, ...]:
    """The questions to which two different answers were accepted."""
    return tuple(one for one in questions if answered(one, examples) is not None)


def fit_choices(
    known: Answered, pooled: Mapping[str, F16Array]
) -> tuple[ChoiceHead, dict[str, bool]]:
    """A head for one question, and by picture whether its out-of-fold answer was right.

    pooled: (C,) of each picture. Lines, probabilities and cuts that a picture is judged by
    have not seen it.
    """
    multiple = known.question.multiple
    rows, wanted = _rows([pooled[picture] for picture in known.pictures]), known.wanted
    fold = np.arange(len(rows)) % min(FOLDS, len(rows))
    values = np.zeros(wanted.shape, np.float32)
    for one in np.unique(fold):
        inside = fold == one
        values[inside] = _lines(rows[~inside], wanted[~inside], multiple)(rows[inside])
    right = np.zeros(len(rows), bool)
    for one in np.unique(fold):
        inside = fold == one
        scale = _scale(values[~inside], wanted[~inside], multiple)
        probability = scale(values[inside], multiple=multiple)
        # A tie goes to the first, as it does in ``Opinion.take``: choices are sorted.
        said = (
            probability >= scale.cut
            if multiple
            else np.eye(wanted.shape[1])[probability.argmax(1)] > 0
        )
        right[inside] = (said == (wanted[inside] > 0)).all(1)
    head = ChoiceHead(
        known.question,
        known.choices,
        float(right.mean()),
        _lines(rows, wanted, multiple),
        _scale(values, wanted, multiple),
    )
    return head, dict(zip(known.pictures, right.tolist(), strict=True))


def _rows(pooled: Sequence[F16Array]) -> FloatArray:
    """(N, C) of unit length."""
    rows = np.stack([np.asarray(one, np.float32) for one in pooled])
    return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6), np.float32)


def _lines(rows: FloatArray, wanted: FloatArray, multiple: bool) -> Lines:
    """Ridge regression. Of choices that exclude each other every one weighs the same,
    however often it was taken; of several that may be taken, cuts see to that.
    """
    if multiple:
        named = fit_lines(rows, wanted, np.ones(len(rows)))
    else:
        named = fit_naming(rows, wanted.argmax(1).tolist(), wanted.shape[1])
    return Lines(named.weights, named.offset - named.mean @ named.weights)


def _scale(values: FloatArray, wanted: FloatArray, multiple: bool) -> Scale:
    """Probabilities that fit out-of-fold values (N, K), never surer than their number allows."""
    count = wanted.shape[1]
    if not multiple:
        none = np.zeros(count, np.float32)
        return Scale(np.full_like(none, _softmax_slope(values, wanted)), none, none)
    columns = [_logistic(values[:, k], wanted[:, k]) for k in range(count)]
    slope, shift = (np.array([one[i] for one in columns], np.float32) for i in range(2))
    probability = Scale(slope, shift, np.zeros(count, np.float32))(values, multiple=True)
    cut = [_best_cut(probability[:, k], wanted[:, k]) for k in range(count)]
    return Scale(slope, shift, np.array(cut, np.float32))


def _softmax_slope(values: FloatArray, wanted: FloatArray) -> float:
    """The slope of least log loss, with one more picture of which nothing can be told."""
    unsure = 1 / (len(values) + 1)
    target = (1 - unsure) * wanted + unsure / wanted.shape[1]

    def loss(slope: float) -> float:
        logits = values * slope
        top = logits.max(1, keepdims=True)
        log_sum = top + np.log(np.exp(logits - top).sum(1, keepdims=True))
        return float((target * (log_sum - logits)).sum())

    return float(min(_SLOPES, key=loss))


def _logistic(value: FloatArray, hit: FloatArray) -> tuple[float, float]:
    """Slope and shift; values that point the wrong way say nothing, so the share is left."""
    rows = np.stack([value, np.ones_like(value)], 1)
    slope, shift = fit_logistic(rows, hit, _START, _START_WEIGHT).tolist()
    if slope > 0:
        return slope, shift
    share = (hit.sum() + 1) / (len(hit) + 2)
    return 0.0, float(np.log(share / (1 - share)))


def _best_cut(probability: FloatArray, hit: FloatArray) -> float:
    """The probability of best F1 between two neighbours; of equal ones the highest."""
    order = np.argsort(-probability, kind="stable")
    ranked, hits = probability[order], np.cumsum(hit[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + max(float(hit.sum()), 1.0))
    # Equal probabilities are taken together.
    f1[:-1][ranked[:-1] == ranked[1:]] = -1
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)
