"""Which proposed box stands for which true one."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import Boxes
from backend.learning.matching import LOOSE, TIGHT, match

SIZE_HW = (100, 100)
Box = tuple[float, float, float, float]


def boxes(*entries: tuple[str, float, Box]) -> Boxes:
    return Boxes(
        np.array([box for _, _, box in entries], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in entries], np.float32),
        tuple(name for name, _, _ in entries),
        SIZE_HW,
    )


def true(*entries: tuple[str, Box]) -> Boxes:
    return boxes(*((name, 1.0, box) for name, box in entries))


NOTHING = Boxes.empty(SIZE_HW)
SQUARE: Box = (0, 0, 10, 10)
IOU_60: Box = (0, 0, 6, 10)


@pytest.mark.parametrize(
    ("found", "truth"),
    [
        pytest.param(NOTHING, NOTHING, id="nothing and nothing"),
        pytest.param(boxes(("a", 0.5, SQUARE)), NOTHING, id="nothing there"),
        pytest.param(NOTHING, true(("a", SQUARE)), id="nothing found"),
        pytest.param(boxes(("b", 0.5, SQUARE)), true(("a", SQUARE)), id="other label"),
        pytest.param(boxes(("a", 0.5, (3, 3, 3, 3))), true(("a", SQUARE)), id="without area"),
    ],
)
def test_no_pair(found: Boxes, truth: Boxes) -> None:
    assert match(found, truth, LOOSE) == ()


def test_the_better_score_chooses_first() -> None:
    # Both overlap the one true box; the worse overlap has the better score and takes it.
    pairs = match(boxes(("a", 0.3, SQUARE), ("a", 0.9, IOU_60)), true(("a", SQUARE)), LOOSE)
    assert [(pair.found, pair.truth) for pair in pairs] == [(1, 0)]
    assert pairs[0].iou == pytest.approx(0.6)


def naive_iou(a: Box, b: Box) -> float:
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - across * down
    return across * down / union if union > 0 else 0.0


def naive_pairs(found: Boxes, truth: Boxes, threshold: float) -> list[tuple[int, int]]:
    """The rule written out with lists and loops."""
    taken: set[int] = set()
    pairs = []
    for at in sorted(range(len(found)), key=lambda i: (-float(found.score[i]), i)):
        best, best_iou = -1, 0.0
        for other in range(len(truth)):
            iou = naive_iou(tuple(found.xyxy_px[at].tolist()), tuple(truth.xyxy_px[other].tolist()))
            right = truth.label[other] == found.label[at]
            if other not in taken and right and iou >= threshold and iou > best_iou:
                best, best_iou = other, iou
        if best >= 0:
            taken.add(best)
            pairs.append((at, best))
    return pairs


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_a_naive_implementation(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(count: int) -> Boxes:
        # Coarse corners and scores give many ties and near misses.
        low = rng.integers(0, 6, (count, 2)) * 10
        high = low + rng.integers(1, 5, (count, 2)) * 10
        return boxes(
            *(
                (str(rng.choice(["a", "b"])), float(rng.integers(0, 4) / 4), (x0, y0, x1, y1))
                for (x0, y0), (x1, y1) in zip(low.tolist(), high.tolist(), strict=True)
            )
        )

    found, truth = some(int(rng.integers(0, 12))), some(int(rng.integers(0, 9)))
    for threshold in (LOOSE, TIGHT):
        pairs = [(pair.found, pair.truth) for pair in match(found, truth, threshold)]
        assert pairs == naive_pairs(found, truth, threshold)
