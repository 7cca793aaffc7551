"""What to label next, on situations small enough to see the answer."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import FloatArray
from backend.errors import ShapeError, UnknownName
from backend.learning.next_tasks import STRATEGIES, Situation, choose_next

NAMES = ("class_balance", "diversity", "mixed", "random", "uncertainty")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def situation(
    score: list[float],
    angles: list[float] | None = None,
    predicted: list[tuple[str, ...]] | None = None,
    done: list[float] | None = None,
    counts: dict[str, int] | None = None,
) -> Situation:
    """Pictures as points on a circle: their distance is that of their angles (degrees)."""
    return Situation(
        np.array(score, np.float32),
        circle(angles or [0.0] * len(score)),
        tuple(predicted or [()] * len(score)),
        circle(done or []),
        counts or {},
    )


def circle(degrees: list[float]) -> FloatArray:
    turned = np.radians(np.array(degrees, np.float64)).reshape(-1)
    return np.stack([np.cos(turned), np.sin(turned)], 1).astype(np.float32) * 3


def test_all_are_registered() -> None:
    assert STRATEGIES.names() == NAMES
    with pytest.raises(UnknownName, match="mixed"):
        choose_next("mixd", situation([]), 1, rng())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("tasks", "count", "chosen"),
    [(0, 0, 0), (0, 5, 0), (1, 0, 0), (1, 1, 1), (1, 9, 1), (4, 2, 2), (4, 4, 4), (4, 9, 4)],
)
@pytest.mark.parametrize("done", [[], [10.0]], ids=["nothing done", "one done"])
def test_each_chooses_that_many_and_none_twice(
    name: str, tasks: int, count: int, chosen: int, done: list[float]
) -> None:
    # All alike: what is left to rounding and ties must still be different tasks.
    found = choose_next(name, situation([0.5] * tasks, done=done), count, rng())
    assert len(found) == len(set(found)) == chosen
    assert all(0 <= at < tasks for at in found)


def test_uncertainty_takes_the_lowest_scores_in_order() -> None:
    assert choose_next("uncertainty", situation([0.9, 0.1, 0.5, 0.1]), 3, rng()) == [1, 3, 2]


def test_random_depends_on_the_generator_alone() -> None:
    tasks = situation([0.5] * 50)
    first = choose_next("random", tasks, 10, np.random.default_rng(1))
    assert first == choose_next("random", tasks, 10, np.random.default_rng(1))
    assert first != choose_next("random", tasks, 10, np.random.default_rng(2))


@pytest.mark.parametrize(
    ("angles", "done", "expected"),
    [
        # The mean of all points to 27 degrees: 20 is nearest; 90 is farthest from it; of the
        # others 0 is farther from both.
        pytest.param([0, 10, 20, 90], [], [2, 3, 0], id="begins in the middle"),
        pytest.param([0, 10, 20, 90], [179], [0, 3, 2], id="away from what is done"),
    ],
)
def test_diversity(angles: list[float], done: list[float], expected: list[int]) -> None:
    assert choose_next("diversity", situation([0.5] * 4, angles, done=done), 3, rng()) == expected


def test_length_of_a_vector_does_not_count() -> None:
    tasks = situation([0.5, 0.5, 0.5], [0, 90, 91], done=[0])
    longer = Situation(
        tasks.score,
        tasks.pooled * np.array([[9], [1], [1]], np.float32),
        tasks.predicted,
        tasks.accepted_pooled,
        tasks.accepted_counts,
    )
    assert choose_next("diversity", longer, 1, rng()) == [2]


def test_mixed_spreads_over_the_least_certain() -> None:
    # One task: the shortlist is the four lowest scores (all but the last); of those the
    # farthest from what is done is at 90, although the sure one at 180 is farther.
    tasks = situation([0.1, 0.2, 0.3, 0.4, 0.9], [5, 90, 10, 20, 180], done=[0])
    assert choose_next("mixed", tasks, 1, rng()) == [1]
    assert choose_next("diversity", tasks, 1, rng()) == [4]


def test_class_balance_fills_the_rarest_label_and_counts_its_own_choices() -> None:
    tasks = situation(
        [0.9, 0.8, 0.7, 0.6, 0.1],
        predicted=[("b",), ("b", "a"), ("a",), ("b",), ()],
        counts={"a": 5, "b": 3},
    )
    # b is rarest: the least certain with b is 3 (b: 4), then 1 (b: 5, a: 6), then 0 at 5;
    # then a; the picture without any prediction last, though its score is lowest.
    assert choose_next("class_balance", tasks, 5, rng()) == [3, 1, 0, 2, 4]


@pytest.mark.parametrize(
    ("score", "pooled", "done"),
    [((2,), (3, 4), (0, 4)), ((3,), (2, 4), (0, 4)), ((3,), (3, 4), (0, 5)), ((3,), (3,), (0, 4))],
)
def test_shapes_are_checked(
    score: tuple[int, ...], pooled: tuple[int, ...], done: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError):
        Situation(
            np.zeros(score, np.float32),
            np.zeros(pooled, np.float32),
            ((), (), ()),
            np.zeros(done, np.float32),
            {},
        )
