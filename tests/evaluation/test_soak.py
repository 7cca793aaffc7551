"""The soak run: its schedule, what it counts as wrong, and one short run of all of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.evaluation.linux_processes import children_of
from backend.evaluation.loopback_server import LoopbackServer, QuietHandler
from backend.evaluation.memory_watch import Life, MemoryWatch, growth_percent, role_of, worst_growth
from backend.evaluation.picture_server import PictureServer
from backend.evaluation.soak import SoakPlan, ledger_differences, measure_soak
from backend.evaluation.soak_faults import KINDS, Faults, Happened, Injector, Planned, plan_faults
from backend.evaluation.soak_team import Heard, Load, Team
from backend.evaluation.speed_pictures import jpeg_files
from backend.evaluation.subject import Subject, measured_settings
from backend.evaluation.worked_project import WorkedProject
from backend.learning.ledger import updated_us

MIB = 2**20


@pytest.mark.parametrize("minutes", [0.5, 2, 10, 30])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_every_kind_of_fault_is_planned_and_none_overlap(minutes: float, seed: int) -> None:
    duration_s = minutes * 60
    planned = plan_faults(seed, duration_s)
    assert {one.kind for one in planned} == set(KINDS)
    assert planned == plan_faults(seed, duration_s)
    assert planned != plan_faults(seed + 1, duration_s)
    for one, following in itertools.pairwise(planned):
        assert one.at_s + one.length_s < following.at_s
    assert planned[0].at_s > 0
    assert planned[-1].at_s < duration_s * 0.95
    late = {one.kind for one in planned[len(KINDS) :] if one.at_s > duration_s * 0.45}
    assert not late & {"server_killed", "trainer_killed"}, "their memory is watched by then"


def test_a_call_meets_a_fault_and_the_time_of_getting_up() -> None:
    faults = Faults([Happened("redis_stopped", 100.0, 110.0), Happened("pictures_slow", 300.0)])
    assert faults.met(90.0, 100.5)
    assert faults.met(124.0, 124.5), "just back up"
    assert not faults.met(126.0, 127.0)
    assert not faults.met(90.0, 99.0)
    assert not faults.met(105.0, 106.0, ["server_killed"])
    assert faults.met(1000.0, 1001.0, ["pictures_slow"]), "it still lasts"
    assert faults.counts()["redis_stopped"] == 1
    assert faults.counts()["worker_killed"] == 0


def test_growth_is_that_of_the_end_over_that_after_settling() -> None:
    taken = [(float(at), (100 + (at >= 90) * 5 - (at < 20) * 60) * MIB) for at in range(100)]
    assert growth_percent(taken) == pytest.approx(5.0)
    assert growth_percent(taken[:19]) is None
    lives = [Life("worker", taken), Life("worker", taken[:30]), Life("server", taken[:89])]
    assert worst_growth(lives, least_s=80.0) == {
        "worker": pytest.approx(5.0),
        "server": pytest.approx(0.0),
    }


@pytest.mark.parametrize(
    ("arguments", "role"),
    [
        (["python", "-m", "backend", "worker-slot", "--kind", "predict"], "worker"),
        (["python", "-m", "backend", "worker-slot", "--kind", "train"], "trainer"),
        (["python", "-m", "backend", "serve"], "server"),
        (["/usr/bin/redis-server *:0"], "redis"),
        ([], "unknown"),
    ],
)
def test_processes_are_known_by_their_command_lines(arguments: list[str], role: str) -> None:
    assert role_of(arguments) == role


def test_what_the_ledger_lacks_and_has_too_much() -> None:
    at = {number: f"2026-01-01T00:00:0{number}.000000Z" for number in range(5)}
    held = {number: updated_us(moment) for number, moment in at.items()}
    assert ledger_differences(held, at) == (0, 0)
    assert ledger_differences({**held, 3: held[2]}, at) == (1, 0), "an older state"
    assert ledger_differences({k: v for k, v in held.items() if k > 1}, at) == (2, 0)
    assert ledger_differences(held, {k: v for k, v in at.items() if k > 1}) == (0, 2)


def test_the_host_of_pictures_fails_when_it_is_told_to() -> None:
    with PictureServer(jpeg_files(None, 1)) as pictures:
        (url,) = pictures.addresses("some", 1)
        pictures.trouble = "500"
        assert httpx.get(url).status_code == 500
        assert pictures.refused == {"/some/0.jpg"}
        pictures.trouble, pictures.slow_s = "slow", 0.2
        begun_s = time.monotonic()
        assert httpx.get(url).status_code == 200
        assert time.monotonic() - begun_s >= 0.2
        pictures.trouble = ""
        assert httpx.get(url).status_code == 200


class Answering(LoopbackServer):
    """A backend that answers every call as it is told; the last answer stays."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        left = list(answers)

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                status, body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                content = json.dumps(body).encode()
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        super().__init__(Handler)


def predicted(**changes: Any) -> dict[str, Any]:
    return {"results": [{"result": [], "score": 0.5, "model_version": "m-0-aaaaaaaa"} | changes]}


def open_one(faults: Faults, *answers: tuple[int, Any]) -> tuple[Heard, WorkedProject]:
    """A person opens one task of a backend that answers so."""

    async def opened() -> tuple[Heard, WorkedProject]:
        with Answering(*answers) as backend, WorkedProject("<View/>") as project:
            project.add_tasks(["http://h/0.jpg"])
            async with httpx.AsyncClient(base_url=backend.url) as client:
                team = Team(client, project, faults, Load(), lambda n: [], lambda n: [], 0)
                await team.reopen([1])
            return team.heard, project

    return asyncio.run(opened())


def away() -> Faults:
    return Faults([Happened("redis_stopped", time.monotonic())])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((503, {}), "open: status 503"),
        ((500, {}), "open: status 500"),
        ((422, {}), "open: status 422"),
        ((200, {"results": []}), "open: not an entry a task"),
        ((200, {"results": [{"result": []}]}), "open: a broken prediction"),
        ((200, predicted(result="x")), "open: a broken prediction"),
    ],
)
def test_what_a_person_would_see_as_wrong_is_an_error(answer: tuple[int, Any], error: str) -> None:
    heard, project = open_one(Faults(), answer)
    assert len(heard.errors) == 1
    assert heard.errors[0].startswith(error)
    assert project.unpredicted() == {1}


def test_no_fault_explains_a_500() -> None:
    heard, _ = open_one(away(), (500, {}))
    assert len(heard.errors) == 1


def test_what_a_fault_explains_is_asked_for_again() -> None:
    heard, project = open_one(away(), (503, {}), (200, predicted()))
    assert (heard.errors, heard.repeated, heard.requests["open"]) == ([], 1, 2)
    assert project.unpredicted() == set()
    assert len(heard.waits) == 1
    assert heard.waits[0][1] >= 1000, "a person waits for both"


def test_a_reply_without_a_prediction_is_a_promise() -> None:
    heard, project = open_one(Faults(), (200, {"results": [[]]}))
    assert (heard.errors, heard.promised, project.unpredicted()) == ([], {1}, {1})


@contextmanager
def family(*commands: list[str]) -> Iterator[int]:
    """A process with such children; its id."""
    script = (
        "import subprocess, sys, json, signal\n"
        "for one in json.loads(sys.argv[1]): subprocess.Popen([sys.executable, '-c', "
        "'import signal; signal.pause()', *one])\n"
        "print(flush=True); signal.pause()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(commands)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    try:
        yield parent.pid
    finally:
        for pid in children_of(parent.pid):
            os.kill(pid, 9)
        parent.kill()
        parent.communicate()


WORKER = ["worker-slot", "--kind", "predict", "--name"]


def test_faults_hit_whom_they_shall(until: Callable[..., None]) -> None:
    commands = [[*WORKER, "host-1-aa"], [*WORKER, "host-0-bb"], ["serve"]]
    answered = iter([False, True])
    planned = [
        Planned(0.0, "worker_killed", 0.0),
        Planned(0.0, "trainer_killed", 0.0),
        Planned(0.0, "server_killed", 0.0),
        Planned(0.0, "label_studio_down", 0.1),
        Planned(0.0, "answer_lost", 0.0),
        Planned(0.0, "pictures_failing", 0.1),
    ]
    with (
        family(*commands) as pid,
        WorkedProject("<View/>") as project,
        PictureServer(jpeg_files(None, 1)) as pictures,
    ):
        until(lambda: len(children_of(pid)) == 3)
        with Injector(planned, pid, project, pictures, lambda: next(answered)) as injector:
            until(
                lambda: (
                    len(injector.faults.happened) == 5
                    and injector.faults.happened[-1].ended_s < float("inf")
                )
            )
        # A killed child that its parent has not waited for is still listed, without a command.
        left = [arguments for arguments in children_of(pid).values() if arguments]
        assert [arguments[-1] for arguments in left] == ["host-1-aa"]
        assert injector.faults.missed == ["trainer_killed"], "there was none"
        assert [one.kind for one in injector.faults.happened] == [
            "worker_killed", "server_killed", "label_studio_down", "answer_lost",
            "pictures_failing",
        ]  # fmt: skip
        assert (project.is_down, project.forgetful, pictures.trouble) == (False, 1, "")
        lasted = [one.ended_s - one.began_s for one in injector.faults.happened]
        assert lasted[2] >= 0.1
        assert lasted[4] >= 0.1


def test_memory_of_a_family_is_watched_by_role(until: Callable[..., None]) -> None:
    with family([*WORKER, "host-0-aa"], ["serve"]) as pid, MemoryWatch(pid) as watch:
        until(lambda: {life.role for life in watch.lives} == {"supervisor", "worker", "server"})
        assert all(size > MIB for life in watch.lives for _, size in life.taken)


@pytest.mark.slow
def test_a_short_run_loses_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    settings = measured_settings(Subject.of("embedded", None, "cpu", 1), tmp_path)
    found = measure_soak(SoakPlan(minutes=0.5), settings, tmp_path, told.append).as_dict()
    assert told[1].startswith("0.5 minutes of load with ")
    assert found["error_examples"] == []
    assert (found["errors"], found["lost"], found["duplicated"]) == (0.0, 0.0, 0.0)
    assert found["requests"] == sum(found["requests_by_kind"].values()) > 50
    assert set(found["requests_by_kind"]) == {
        "setup", "open", "large", "webhook", "explain", "preannotate",
    }  # fmt: skip
    assert found["faults"] + found["faults_missed"] >= len(KINDS)
    assert found["faults_by_kind"]["server_killed"] >= 1
    assert found["repeated_in_faults"] >= 1, "the server was really away"
    assert found["annotations"] >= 5
    assert found["p95_ms"] > 0
