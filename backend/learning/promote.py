"""Whether a new head takes the place of what is in use: only where it is not worse.

Both are judged on the same accepted pictures, each of them unseen by the one judged: a
head's counts on pictures it was trained on are those of its out-of-fold predictions, kept
with it, all others are those of its direct predictions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.domain import Boxes, Points
from backend.learning.matching import LOOSE, TIGHT, match
from backend.learning.nearness import hits

if TYPE_CHECKING:  # they need torch, and the server reads what versions tell of themselves
    from backend.learning.examples import Example
    from backend.learning.regression import Estimate


_KEY_POINT = "key point "


@dataclass(frozen=True, slots=True)
class Counts:
    """Boxes right (tp), wrong (fp) and missed (fn) at IoU 0.5 and 0.7, and answers.

    answers: of one picture, whether each answered control of the whole picture was right.
    """

    tp50: int = 0
    fp50: int = 0
    fn50: int = 0
    tp70: int = 0
    fp70: int = 0
    fn70: int = 0
    answers: Mapping[str, bool] = field(default_factory=dict)

    @property
    def boxes(self) -> tuple[int, int, int, int, int, int]:
        """The counts of boxes, in the order of the fields."""
        return self.tp50, self.fp50, self.fn50, self.tp70, self.fp70, self.fn70

    def to_row(self) -> list[Any]:
        """For JSON: the numbers, and the answers where there are any."""
        return [*self.boxes, dict(self.answers)] if self.answers else list(self.boxes)

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Counts:
        """What ``to_row`` wrote."""
        tp50, fp50, fn50, tp70, fp70, fn70 = (int(value) for value in row[:6])
        answers = row[6] if len(row) > 6 else {}
        return cls(tp50, fp50, fn50, tp70, fp70, fn70, answers)

    @property
    def f1_50(self) -> float:
        return _f1(self.tp50, self.fp50, self.fn50)

    @property
    def f1_70(self) -> float:
        return _f1(self.tp70, self.fp70, self.fn70)

    @property
    def score(self) -> float:
        """Mean of F1 at both overlaps; 1 where there was nothing to find and nothing was."""
        return (self.f1_50 + self.f1_70) / 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """publish: whether the new one is taken. pictures: how many both were judged on."""

    publish: bool
    new_score: float
    current_score: float
    pictures: int
    reason: str


def judge(found: Boxes, accepted: Boxes) -> Counts:
    """Counts of one picture: label and box must match, one to one, best score first."""
    tp50, tp70 = (len(match(found, accepted, least)) for least in (LOOSE, TIGHT))
    return Counts(
        tp50, len(found) - tp50, len(accepted) - tp50, tp70, len(found) - tp70, len(accepted) - tp70
    )


def judge_example(
    found: Boxes,
    chosen: Mapping[str, Collection[str]],
    example: Example,
    estimated: Mapping[str, Estimate] = MappingProxyType({}),
) -> Counts:
    """Counts of one picture with its answers, of the controls that were answered.

    An answer is right where just the accepted choices were taken, or a value is one step
    off at most. Where no box was asked for, none is wrong.
    """
    counts = judge(found, example.boxes) if example.drawn_on else Counts()
    answers = {
        control: set(chosen[control]) == set(accepted)
        for control, accepted in example.choices.items()
        if control in chosen
    } | {
        control: estimated[control].right(accepted)
        for control, accepted in example.numbers.items()
        if control in estimated
    }
    return replace(counts, answers=answers)


def point_answer(label: str) -> str:
    """Under which a key-point label stands among the answers."""
    return _KEY_POINT + label


def judge_points(counts: Counts, told: Points, example: Example, labels: Iterable[str]) -> Counts:
    """The counts with an answer a key-point label, where key points were asked for.

    labels: those that are judged. One is right where just the accepted points were told.
    """
    if not example.pointed_on:
        return counts
    answers = {}
    for label in labels:
        own = sorted(
            (at for at, name in enumerate(told.label) if name == label),
            key=lambda at: -float(told.score[at]),
        )
        accepted = example.points_px.get(label, np.zeros((0, 2), np.float32))
        near = hits(told.xy_px[own], accepted, told.size_hw)
        answers[point_answer(label)] = int(near.sum()) == len(own) == len(accepted)
    return replace(counts, answers={**counts.answers, **answers})


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of boxes over pictures; answers belong to a picture each."""
    rows = np.array([one.boxes for one in counts], np.int64).reshape(-1, 6)
    return Counts.from_row(rows.sum(0).tolist())


def unseen_counts(
    accepted: Mapping[str, str],
    learned: Mapping[str, tuple[str, Counts]],
    predict: Callable[[list[str]], Mapping[str, Counts]],
) -> dict[str, Counts]:
    """How the current head does on each accepted picture it has not seen.

    accepted: digest of what is accepted now, by picture. learned: digest and out-of-fold
    counts of the pictures it was trained on. predict: counts of direct predictions. A
    picture that it learned with other labels than are accepted now is left out: its direct
    prediction would know the picture, its old counts refer to the old labels.
    """
    counts = {
        picture: learned[picture][1]
        for picture, digest in accepted.items()
        if picture in learned and learned[picture][0] == digest
    }
    new = [picture for picture in accepted if picture not in learned]
    return {**counts, **(predict(new) if new else {})}


def with_answers(counts: Mapping[str, Counts], others: Mapping[str, Counts]) -> dict[str, Counts]:
    """Counts completed by the answers of another way, of controls that have none there."""
    return {
        picture: replace(one, answers={**others[picture].answers, **one.answers})
        if picture in others
        else one
        for picture, one in counts.items()
    }


def without_answers(counts: Mapping[str, Counts], controls: Collection[str]) -> dict[str, Counts]:
    """Counts that leave out the answers of these controls."""
    return {
        picture: replace(
            one, answers={name: one.answers[name] for name in one.answers if name not in controls}
        )
        for picture, one in counts.items()
    }


def worse_answers(new: Mapping[str, Counts], current: Mapping[str, Counts]) -> frozenset[str]:
    """The controls that the new way answers right less often, on the pictures that both have."""
    lead: Counter[str] = Counter()
    for picture in new.keys() & current.keys():
        theirs = current[picture].answers
        for control, right in new[picture].answers.items():
            if control in theirs:
                lead[control] += right - theirs[control]
    return frozenset(control for control, ahead in lead.items() if ahead < 0)


def decide(
    new: Mapping[str, Counts], current: Mapping[str, Counts], *, allow_chance: bool
) -> Verdict:
    """Judge both on the pictures that both have; equal is not worse.

    Neither boxes nor key points nor answers may be worse: boxes by their score; the others by
    how many are right, of the controls and labels that both have answered on a picture.
    allow_chance: boxes and key points may fall behind by one standard error of the paired
    differences of pictures. It is for heads against heads: one that was lucky on a few
    pictures would hold up all that follow, and they know more. What was never taught has no
    such excuse to be replaced.
    """
    shared = sorted(new.keys() & current.keys())
    ours = total(new[picture] for picture in shared).score
    theirs = total(current[picture] for picture in shared).score
    if not shared:
        return Verdict(
            True, ours, theirs, 0, "The current head was trained on other labels of every picture."
        )
    told = f"{ours:.3f} against {theirs:.3f} on {len(shared)} pictures"
    chance = 0.0
    if allow_chance:
        chance = _standard_error([new[one].score - current[one].score for one in shared])
        told += f", by chance {chance:.3f}"
    leads = {
        pointed: [_lead(new[picture], current[picture], pointed) for picture in shared]
        for pointed in (False, True)
    }
    for pointed, name in ((False, "answers"), (True, "key points")):
        our_right, their_right, of = (sum(one[at] for one in leads[pointed]) for at in range(3))
        if of:
            told += f", {our_right} against {their_right} of {of} {name} right"
    behind = {pointed: sum(one[1] - one[0] for one in leads[pointed]) for pointed in leads}
    lucky = 0.0
    if allow_chance:
        lucky = len(shared) * _standard_error([float(one[0] - one[1]) for one in leads[True]])
    # Sums of the same whole numbers divide alike: equal counts compare equal.
    if ours >= theirs - chance and behind[False] <= 0 and behind[True] <= lucky:
        return Verdict(True, ours, theirs, len(shared), f"Not worse: {told}.")
    return Verdict(False, ours, theirs, len(shared), f"Worse than the current one: {told}.")


def _lead(new: Counts, current: Counts, pointed: bool) -> tuple[int, int, int]:
    """Right answers of both, and how many both have: of key points, or of all else."""
    both = [
        (right, current.answers[name])
        for name, right in new.answers.items()
        if name in current.answers and name.startswith(_KEY_POINT) is pointed
    ]
    return sum(one for one, _ in both), sum(one for _, one in both), len(both)


def _standard_error(differences: Sequence[float]) -> float:
    """Of their mean; 0 where a single one tells nothing of chance."""
    count = len(differences)
    return float(np.std(differences, ddof=1)) / count**0.5 if count > 1 else 0.0


def _f1(tp: int, fp: int, fn: int) -> float:
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
