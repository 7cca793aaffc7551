"""What people did with predictions is counted with each training."""

from __future__ import annotations

import time
from typing import Any

import pytest

from backend.store.acceptance import Acceptance, AcceptanceStore
from backend.store.counters import Counters
from tests.jobs.conftest import Road
from tests.jobs.test_train import Team, region


def began_with(number: int, result: list[dict[str, Any]], version: str) -> dict[str, Any]:
    """Members of an annotation that was made from a prediction."""
    return {
        "parent_prediction": number,
        "prediction": {"id": number, "model_version": version, "result": result},
    }


def test_a_training_counts_what_became_of_proposals(road: Road) -> None:
    team = Team(road)
    before_s = time.time()
    proposed = [region()]
    outcomes = [proposed, proposed, [region(x=10)], []]
    for number, (address, result) in enumerate(zip(road.pictures.add(4), outcomes, strict=True), 1):
        version = "old" if number == 1 else "new"
        team.report(number, address, result, at=number, **began_with(number, proposed, version))
        # Told twice, as webhooks are.
        team.report(number, address, result, at=number, **began_with(number, proposed, version))
    team.train()
    counted = AcceptanceStore(road.connection).read()["1"]
    assert before_s <= counted.counted_at_s <= time.time()
    assert counted.versions == (
        Acceptance("old", pictures=1, untouched=1, kept=1),
        Acceptance("new", pictures=3, untouched=1, kept=1, changed=1, rejected=1),
    )
    assert counted.versions[1].proposed == 3
    # A change of mind takes the place of what was counted before.
    team.report(3, road.pictures.url + "/2.png", proposed, at=9, **began_with(3, proposed, "new"))
    team.train()
    counted = AcceptanceStore(road.connection).read()["1"]
    assert counted.versions[1] == Acceptance("new", pictures=3, untouched=2, kept=2, rejected=1)


@pytest.mark.parametrize("accepted", [0, 4], ids=["nothing", "enough"])
def test_trainings_are_counted_by_outcome(road: Road, accepted: int) -> None:
    team = Team(road)
    team.accept(road.pictures.add(accepted), lambda: [region()])
    team.train()
    told = "published" if accepted else "nothing_to_learn"
    counted = Counters(road.connection).read()
    assert counted["trainings", (("outcome", told),)] == 1
    if accepted:
        team.train()
        kept = {dict(labels)["outcome"] for name, labels in Counters(road.connection).read()
                if name == "trainings"}  # fmt: skip
        assert kept <= {"published", "not_better"}
