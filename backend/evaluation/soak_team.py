"""People who work on a project for a soak run, and the Label Studio between them and the backend.

What a fault hides from Label Studio it asks for again when the task is opened again, as
people open it again; a webhook is sent once, whatever becomes of it. A call is wrong, an
error, where a person would see something else than a wait: no answer, a refusal or a broken
reply, unless the server or its Redis was down by an injected fault at that time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from backend.evaluation.soak_faults import SERVER_AWAY, Faults
from backend.evaluation.worked_project import WorkedProject

REPLY_S = 100.0
"""As long as Label Studio waits for predictions."""

_AGAIN_S = 1.0
_LARGE_TASKS = 40
_ROUND_TRIP_S = 0.2


@dataclass(frozen=True, slots=True)
class Load:
    """What people do. people: who each open one task after the other. pause_s: between two.

    large_every_s: between two calls for many tasks. explain_every_s: between two pictures of
    where a method looks.
    """

    people: int = 3
    pause_s: float = 0.4
    large_every_s: float = 20.0
    explain_every_s: float = 7.0
    annotated: float = 0.5
    corrected: float = 0.1
    deleted: float = 0.05
    told_twice: float = 0.1


@dataclass
class Heard:
    """What people got.

    waits: of each opened task when it began and how many ms it took, repetitions included.
    promised: tasks that a reply left out, so that they have to come by themselves.
    """

    requests: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    webhooks_lost: int = 0
    errors: list[str] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    promised: set[int] = field(default_factory=set)


class Team:
    """People at work. result_of: a correct annotation of a task."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        project: WorkedProject,
        faults: Faults,
        load: Load,
        new_images: Callable[[int], Sequence[str]],
        result_of: Callable[[int], list[dict[str, Any]]],
        seed: int,
    ) -> None:
        self.heard = Heard()
        self._client, self._project, self._faults = client, project, faults
        self._load, self._new_images, self._result_of = load, new_images, result_of
        self._draw = random.Random(seed)
        self._again: list[int] = []
        self._annotated: list[tuple[int, int]] = []
        self._telling: set[asyncio.Task[None]] = set()

    async def setup(self) -> None:
        """Connect, as Label Studio does."""
        body = {
            "project": "1.1767225600",
            "schema": self._project.label_config,
            "hostname": self._project.url,
            "extra_params": None,
        }
        reply, _ = await self._call("setup", "POST", "/setup", json=body)
        if reply is None or not reply.json().get("model_version"):
            self.heard.errors.append("setup: no model version")

    async def work(self, until_s: float) -> None:
        """Until then (time.monotonic), then finish what is begun."""
        people = [self._person(number, until_s) for number in range(self._load.people)]
        await asyncio.gather(*people, self._large_calls(until_s), self._explains(until_s))
        if self._telling:
            await asyncio.gather(*self._telling)

    async def reopen(self, task_ids: Iterable[int]) -> None:
        """Open tasks once more, one after the other."""
        for task_id in task_ids:
            await self._open(task_id)

    # ---- what each does

    async def _person(self, number: int, until_s: float) -> None:
        while time.monotonic() < until_s:
            await self._while_label_studio_is_down()
            if self._again and self._draw.random() < 0.5:
                task_id = self._again.pop(0)
            else:
                (task_id,) = self._project.add_tasks(self._new_images(1))
            await self._open(task_id)
            await asyncio.sleep(self._load.pause_s)
            await self._while_label_studio_is_down()
            if self._draw.random() < self._load.annotated:
                self._annotate(task_id, number + 1)

    async def _large_calls(self, until_s: float) -> None:
        while time.monotonic() + self._load.large_every_s < until_s:
            await asyncio.sleep(self._load.large_every_s * self._draw.uniform(0.5, 1.0))
            await self._while_label_studio_is_down()
            await self._predict("large", self._project.add_tasks(self._new_images(_LARGE_TASKS)))

    async def _explains(self, until_s: float) -> None:
        while time.monotonic() + self._load.explain_every_s < until_s:
            await asyncio.sleep(self._load.explain_every_s)
            if self._annotated:
                task_id = self._draw.choice(self._annotated)[0]
                query = {"project": 1, "task": task_id, "method": "cam"}
                # It reads the task from Label Studio and its picture from the host.
                excused = (*SERVER_AWAY, "label_studio_down", "pictures_failing", "pictures_slow")
                reply, _ = await self._call(
                    "explain", "GET", "/explain", params=query, excused=excused
                )
                if reply is not None and not reply.content.startswith(b"\x89PNG"):
                    self.heard.errors.append("explain: no picture")

    async def _open(self, task_id: int) -> None:
        began_s = time.monotonic()
        if self._project.prediction_of(task_id) is None:
            await self._predict("open", [task_id])
            self.heard.waits.append((began_s, (time.monotonic() - began_s) * 1000))

    async def _predict(self, kind: str, task_ids: Sequence[int]) -> None:
        """Ask for what has no prediction, as often as a fault explains that there was no reply."""
        while True:
            # Looked at each time, as Label Studio does: it may have come by a push meanwhile.
            task_ids = [one for one in task_ids if self._project.prediction_of(one) is None]
            if not task_ids:
                return
            reply, by_fault = await self._call(kind, "POST", "/predict", json=self._body(task_ids))
            if reply is not None:
                break
            if not by_fault:
                self._again += task_ids
                return
            self.heard.repeated += 1
            await asyncio.sleep(_AGAIN_S)
        if self._project.is_down:
            self._again += task_ids  # who asked was stopped before the reply came
            return
        results = reply.json().get("results")
        if not isinstance(results, list) or len(results) != len(task_ids):
            self.heard.errors.append(f"{kind}: not an entry a task")
            return
        for task_id, entry in zip(task_ids, results, strict=True):
            if not entry:
                self.heard.promised.add(task_id)
            elif entry.get("model_version") and isinstance(entry.get("result"), list):
                self._project.store(task_id, entry)
            else:
                self.heard.errors.append(f"{kind}: a broken prediction")

    def _annotate(self, task_id: int, user: int) -> None:
        draw, load, project = self._draw, self._load, self._project
        payload = project.annotate(task_id, self._result_of(task_id), user)
        self._annotated.append((task_id, payload["annotation"]["id"]))
        payloads = [payload]
        if draw.random() < load.corrected:
            at = draw.randrange(len(self._annotated))
            task_id, number = self._annotated[at]
            payloads.append(project.correct(task_id, number, self._result_of(task_id)))
        if draw.random() < load.deleted:
            at = draw.randrange(len(self._annotated))
            payloads.append(project.delete(*self._annotated.pop(at)))
        payloads += [one for one in payloads if draw.random() < load.told_twice]
        draw.shuffle(payloads)
        for one in payloads:
            told = asyncio.create_task(self._tell(one))
            self._telling.add(told)
            told.add_done_callback(self._telling.discard)

    async def _tell(self, payload: dict[str, Any]) -> None:
        await asyncio.sleep(self._draw.uniform(0, _ROUND_TRIP_S))
        reply, _ = await self._call("webhook", "POST", "/webhook", json=payload)
        self.heard.webhooks_lost += reply is None

    async def _while_label_studio_is_down(self) -> None:
        while self._project.is_down:
            await asyncio.sleep(0.1)

    def _body(self, task_ids: Sequence[int]) -> dict[str, Any]:
        return {
            "tasks": [self._project.data(one) for one in task_ids],
            "project": "1.1767225600",
            "label_config": self._project.label_config,
        }

    async def _call(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        excused: Sequence[str] = SERVER_AWAY,
        **request: Any,
    ) -> tuple[httpx.Response | None, bool]:
        """The reply of status 200; None with whether a fault explains that there is none.

        Where none does, it is noted as an error.
        """
        began_s = time.monotonic()
        self.heard.requests[kind] += 1
        try:
            reply = await self._client.request(method, path, **request)
            if reply.status_code == 200:
                return reply, False
            failed = f"{kind}: status {reply.status_code}: {reply.text[:200]}"
            explicable = reply.status_code != 500
        except httpx.HTTPError as error:
            failed = f"{kind}: {type(error).__name__} {error}".rstrip()
            explicable = True
        if explicable and self._faults.met(began_s, time.monotonic(), excused):
            return None, True
        self.heard.errors.append(failed)
        return None, False
