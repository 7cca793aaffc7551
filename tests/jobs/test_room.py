"""Batches for which the device has no memory: halved, remembered, said. No device is needed:
what raises is the network, as torch does it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis
import structlog
import torch

from backend.domain import Failed
from backend.errors import OutOfMemory
from backend.jobs.process import current
from backend.jobs.room import HALVED, Room, is_out_of_memory
from backend.jobs.training import request_training
from backend.store.counters import Counters
from tests.jobs.conftest import MakeRoad, Road
from tests.jobs.test_train import Team, region


class Device:
    """Has room for so many items at once; done: what it worked on."""

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.asked: list[int] = []
        self.done: list[int] = []

    def work(self, items: Sequence[int]) -> None:
        self.asked.append(len(items))
        if len(items) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.done += items


def halved(connection: redis.Redis) -> int:
    return Counters(connection).read().get((HALVED, ()), 0)


@pytest.mark.parametrize(
    ("items", "holds", "asked", "most"),
    [
        pytest.param(0, 8, [], 8, id="nothing"),
        pytest.param(8, 8, [8], 8, id="fits"),
        pytest.param(8, 3, [8, 4, 2, 2, 2, 2], 2, id="a quarter fits"),
        pytest.param(5, 2, [5, 2, 2, 1], 2, id="odd"),
        pytest.param(3, 1, [3, 1, 1, 1], 1, id="one at a time"),
    ],
)
def test_a_batch_is_halved_until_it_fits(
    connection: redis.Redis, items: int, holds: int, asked: list[int], most: int
) -> None:
    room, device = Room(8, Counters(connection)), Device(holds)
    assert room.use(range(items), device.work) == []
    assert (device.asked, device.done) == (asked, list(range(items)))
    assert room.most == most
    assert halved(connection) == sum(count > holds for count in asked)


def test_what_fitted_is_remembered(connection: redis.Redis) -> None:
    room, device = Room(8, Counters(connection)), Device(4)
    room.use(range(8), device.work)
    device.asked.clear()
    room.use(range(8), device.work)
    assert device.asked == [4, 4]


def test_one_for_which_there_is_no_room_is_told_and_the_others_go_on(
    connection: redis.Redis,
) -> None:
    def work(items: Sequence[int]) -> None:
        if 2 in items:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        done.extend(items)

    done: list[int] = []
    room = Room(4, Counters(connection))
    with structlog.testing.capture_logs() as told:
        assert room.use(range(4), work) == [2]
    assert done == [0, 1, 3]
    assert [line["pictures"] for line in told] == [4, 2, 1]
    with pytest.raises(OutOfMemory, match="one picture"):
        room.use_all([2], work)


def test_other_errors_are_raised_at_once(connection: redis.Redis) -> None:
    def work(items: Sequence[int]) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    room = Room(4, Counters(connection))
    with pytest.raises(RuntimeError, match="shapes"):
        room.use(range(4), work)
    assert room.most == 4


@pytest.mark.parametrize(
    ("error", "so"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (OutOfMemory("said already", ""), False),
    ],
    ids=["cuda", "python", "cublas", "cpu", "assert", "ours"],
)
def test_what_counts_as_out_of_memory(error: Exception, so: bool) -> None:
    assert is_out_of_memory(error) == so


def short_of_memory(road: Road, monkeypatch: pytest.MonkeyPatch, holds: Callable[[], int]) -> Any:
    """The backbone of a road whose forward passes take no more; the sizes it was asked for."""
    sizes: list[int] = []
    features = type(road.backbone).features

    def with_little(self: Any, images_u8: torch.Tensor) -> Any:
        sizes.append(len(images_u8))
        if len(images_u8) > holds():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return features(self, images_u8)

    monkeypatch.setattr(type(road.backbone), "features", with_little)
    return sizes


def test_a_carrier_is_done_in_smaller_batches_with_the_same_answers(
    make_road: MakeRoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = make_road(batch_pictures=8)
    call = road.call(road.pictures.add(14))
    with_room = road.predict(call)
    road.connection.flushall()
    sizes = short_of_memory(road, monkeypatch, lambda: 3)
    for one, other in zip(road.predict(call), with_room, strict=True):
        (region,), (expected,) = (json.loads(reply or b"")["result"] for reply in (one, other))
        assert region["value"] == expected["value"]
        assert region["score"] == pytest.approx(expected["score"], abs=1e-3)
    assert max(size for size in sizes if size <= 3) == 2
    assert sum(size > 3 for size in sizes) == halved(road.connection) == 1
    counted = Counters(road.connection).read()
    assert counted["pictures", ()] == counted["tasks_predicted", ()] == 14
    assert counted["batches", ()] == sum(size <= 3 for size in sizes)

    sizes.clear()
    assert None not in road.predict(road.call(road.pictures.add(8, first=100)))
    assert max(sizes) <= 2, "the process remembers"
    assert halved(road.connection) == 1


def test_where_nothing_fits_each_task_says_so_and_is_done_once_there_is_room(
    make_road: MakeRoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = make_road()
    room = [0]
    short_of_memory(road, monkeypatch, lambda: room[0])
    call = road.call(road.pictures.add(2))
    ticket = road.dispatcher.begin(call)
    road.work()
    road.dispatcher.wait_blocking(ticket, 10.0)
    assert road.dispatcher.finish(ticket) == [None, None]
    for answer in ticket.answers:
        assert isinstance(answer, Failed)
        assert answer.code == "out_of_memory"
        assert "BACKBONE" in answer.reason
    assert road.dispatcher.job(ticket.own_jobs[0]).state == "done", "no error of the job"
    assert current().cache.owners([key or "" for key in ticket.keys]) == [None, None]
    room[0] = 1
    current().cache.forget_failures([key or "" for key in ticket.keys])
    assert None not in road.predict(call)


def test_a_training_learns_from_smaller_batches(
    make_road: MakeRoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = make_road(batch_pictures=8)
    team = Team(road)
    team.accept(road.pictures.add(6), lambda: [region()])
    sizes = short_of_memory(road, monkeypatch, lambda: 3)
    outcome = team.train()
    assert outcome["published"] is True, outcome
    assert outcome["pictures"] == 6
    assert [size for size in sizes if size > 3] == [6]
    assert halved(road.connection) == 1
    assert current().room.most == 3


def test_a_training_without_room_for_a_picture_fails_and_says_why(
    make_road: MakeRoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = make_road(batch_pictures=1)
    team = Team(road)
    team.accept(road.pictures.add(2), lambda: [region()])
    short_of_memory(road, monkeypatch, lambda: 0)
    job_id = request_training(road.connection, road.settings, "1", 0.0, asked=True)
    road.work("train")
    view = road.dispatcher.job(job_id)
    assert (view.state, "one picture" in view.reason) == ("failed", True)
