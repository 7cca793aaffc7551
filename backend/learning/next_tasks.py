"""Which tasks an annotator should do next.

A strategy is a pure function registered by name; docs/learning.md tells what each gains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from backend.domain import FloatArray
from backend.errors import ShapeError
from backend.vision.registry import Registry

SHORTLIST = 4
"""`mixed` spreads its choice over this many times as many of the least certain tasks."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when the next tasks are chosen.

    score: (N,) prediction score of each open task, in [0, 1]; 0 where nothing was found.
    pooled: (N, D) feature vector of each open task's picture; D = 0 where none are known.
    predicted: the labels predicted in each. accepted_pooled: (M, D) of the tasks done.
    accepted_counts: accepted boxes a label.
    """

    score: FloatArray
    pooled: FloatArray
    predicted: tuple[tuple[str, ...], ...]
    accepted_pooled: FloatArray
    accepted_counts: Mapping[str, int]

    def __post_init__(self) -> None:
        count = len(self.predicted)
        if self.score.shape != (count,) or self.pooled.ndim != 2 or len(self.pooled) != count:
            raise ShapeError(
                f"{count} open tasks need score ({count},) and pooled ({count}, D), got "
                f"{self.score.shape} and {self.pooled.shape}."
            )
        if self.accepted_pooled.ndim != 2 or self.accepted_pooled.shape[1] != self.pooled.shape[1]:
            raise ShapeError(
                f"accepted_pooled must be (M, {self.pooled.shape[1]}), got "
                f"{self.accepted_pooled.shape}."
            )

    def __len__(self) -> int:
        return len(self.predicted)


Strategy = Callable[[Situation, int, np.random.Generator], list[int]]
"""Positions of at most count open tasks, the first to be done first."""


@dataclass(frozen=True, slots=True)
class Named:
    """A strategy. needs_pooled: whether it looks at feature vectors."""

    choose: Strategy
    needs_pooled: bool


STRATEGIES: Registry[Named] = Registry("strategy")


def strategy(name: str, *, needs_pooled: bool = False) -> Callable[[Strategy], Strategy]:
    """Register a strategy."""

    def add(choose: Strategy) -> Strategy:
        STRATEGIES.add(name, Named(choose, needs_pooled))
        return choose

    return add


def choose_next(name: str, situation: Situation, count: int, rng: np.random.Generator) -> list[int]:
    """Positions of min(count, N) open tasks, in the order in which to do them.

    Raises: UnknownName.
    """
    return STRATEGIES.get(name).choose(situation, min(count, len(situation)), rng)


@strategy("random")
def random(situation: Situation, count: int, rng: np.random.Generator) -> list[int]:
    """Any, each with the same chance."""
    return [int(at) for at in rng.permutation(len(situation))[:count]]


@strategy("uncertainty")
def uncertainty(situation: Situation, count: int, _rng: np.random.Generator) -> list[int]:
    """The lowest scores first: where the weakest box is most doubtful."""
    return [int(at) for at in np.argsort(situation.score, kind="stable")[:count]]


@strategy("diversity", needs_pooled=True)
def diversity(situation: Situation, count: int, _rng: np.random.Generator) -> list[int]:
    """The pictures that differ most from all done and from each other (k-centre, greedy).

    Source: Sener and Savarese 2018, section 4.2. Differs: cosine distance; with nothing
    done the first is the one nearest to the mean, not a random one.
    """
    return _spread(_unit(situation.pooled), _unit(situation.accepted_pooled), count)


@strategy("mixed", needs_pooled=True)
def mixed(situation: Situation, count: int, rng: np.random.Generator) -> list[int]:
    """The most different ones among the least certain."""
    short = uncertainty(situation, min(len(situation), SHORTLIST * count), rng)
    chosen = _spread(
        _unit(situation.pooled[short]), _unit(situation.accepted_pooled), min(count, len(short))
    )
    return [short[at] for at in chosen]


@strategy("class_balance")
def class_balance(situation: Situation, count: int, _rng: np.random.Generator) -> list[int]:
    """Pictures that seem to hold the labels seen least, of equal ones the least certain.

    Each choice counts its predicted boxes as if accepted, so that one rare label does not
    take every place. A picture in which nothing was found comes last.
    """
    counts = dict(situation.accepted_counts)
    open_tasks = uncertainty(situation, len(situation), _rng)
    chosen: list[int] = []
    while len(chosen) < count:
        rarest = [
            min((counts.get(name, 0) for name in situation.predicted[at]), default=None)
            for at in open_tasks
        ]
        seen = [number for number in rarest if number is not None]
        # Without a predicted label left, the order of uncertainty decides alone.
        best = rarest.index(min(seen)) if seen else 0
        at = open_tasks.pop(best)
        chosen.append(at)
        for name in situation.predicted[at]:
            counts[name] = counts.get(name, 0) + 1
    return chosen


def _spread(open_unit: FloatArray, done_unit: FloatArray, count: int) -> list[int]:
    """Greedy k-centre on unit vectors: always the one farthest from its nearest centre."""
    if count == 0:
        return []
    if len(done_unit):
        nearest = (1.0 - open_unit @ done_unit.T).min(1)
        chosen: list[int] = []
    else:
        first = int(np.argmax(open_unit @ open_unit.mean(0)))
        nearest = 1.0 - open_unit @ open_unit[first]
        nearest[first] = -np.inf
        chosen = [first]
    while len(chosen) < count:
        farthest = int(np.argmax(nearest))
        chosen.append(farthest)
        nearest = np.minimum(nearest, 1.0 - open_unit @ open_unit[farthest])
        nearest[chosen] = -np.inf  # rounding must not choose one twice
    return chosen


def _unit(vectors: FloatArray) -> FloatArray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return scaled
