"""Trees of parts on places that are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import FloatArray
from backend.learning.part_relations import Relations, fit_relations
from backend.vision.peaks import Peaks


def learned(count: int = 12) -> Relations:
    """Parts 0, 1, 2 in a row .2 apart, part 3 anywhere."""
    random = np.random.RandomState(0)
    first = random.uniform(0.2, 0.5, (count, 2))
    noise = random.normal(0, 0.01, (count, 3, 2))
    row = first[:, None] + np.array([(0, 0), (0.2, 0), (0.4, 0)])
    anywhere = random.uniform(0, 1, (count, 1, 2))
    return fit_relations(np.concatenate([row + noise, anywhere], 1).astype(np.float32))


def peaks(*rows: tuple[float, float, float]) -> Peaks:
    values = np.array(rows, np.float32).reshape(-1, 3)
    return Peaks(values[:, :2], values[:, 2])


def test_a_lower_peak_in_the_right_place_is_taken() -> None:
    relations = learned()
    candidates = [
        peaks((0.3, 0.3, 0.9)),
        peaks((0.9, 0.9, 0.6), (0.5, 0.3, 0.5)),
        peaks((0.7, 0.3, 0.8)),
        peaks((0.1, 0.9, 0.7), (0.4, 0.4, 0.2)),
    ]
    assert relations.choose(candidates) == [0, 1, 0, 0]


def test_the_best_together_are_found_as_by_trying_all() -> None:
    relations = learned()
    random = np.random.RandomState(3)
    candidates = [
        Peaks(random.uniform(0, 1, (4, 2)).astype(np.float32), random.rand(4).astype(np.float32))
        for _ in range(4)
    ]

    def worth(chosen: tuple[int, ...]) -> float:
        total = sum(40 * float(one.value[at]) for one, at in zip(candidates, chosen, strict=True))
        for part, parent in enumerate(relations.parent.tolist()):
            if parent < 0:
                continue
            off = (
                candidates[part].xy_unit[chosen[part]]
                - candidates[parent].xy_unit[chosen[parent]]
                - relations.offset[part]
            )
            total -= min(float(off @ relations.precision[part] @ off) / 2, 18.0)
        return total

    best = max(np.ndindex(4, 4, 4, 4), key=worth)
    assert relations.choose(candidates) == list(best)


def test_a_part_that_is_not_there_pulls_nobody_along() -> None:
    found = learned().choose([peaks((0.3, 0.3, 0.9)), peaks(), peaks((0.7, 0.3, 0.8)), peaks()])
    assert found == [0, -1, 0, -1]


def test_strain_is_none_where_parts_lie_as_learned() -> None:
    relations = learned()
    row: list[FloatArray | None] = [
        np.array(place, np.float32) for place in ((0.3, 0.3), (0.5, 0.3), (0.7, 0.3))
    ]
    assert relations.strain([*row, None])[:3].max() < 0.1
    row[1] = np.array((0.9, 0.9), np.float32)
    assert relations.strain([*row, None])[1] == pytest.approx(1.0)
    assert relations.strain([None] * 4).tolist() == [0.0] * 4


@pytest.mark.parametrize("pictures", [0, 1])
def test_what_was_not_seen_together_is_not_joined(pictures: int) -> None:
    relations = fit_relations(np.full((pictures, 3, 2), 0.5, np.float32))
    assert relations.parent.tolist() == [-1, -1, -1]
    assert sorted(relations.order.tolist()) == [0, 1, 2]
    assert relations.choose([peaks((0.1, 0.1, 1.0))] * 3) == [0, 0, 0]


def test_parts_that_never_meet_are_trees_of_their_own() -> None:
    places = np.full((6, 4, 2), np.nan, np.float32)
    places[:3, :2] = 0.3
    places[3:, 2:] = 0.6
    parent = fit_relations(places).parent
    assert sorted((parent[:2] >= 0).tolist()) == sorted((parent[2:] >= 0).tolist()) == [False, True]
    assert {parent[0], parent[1]} <= {-1, 0, 1}
    assert {parent[2], parent[3]} <= {-1, 2, 3}
