"""What the backend costs beside the work on pictures: a task in a queue, alone, and cached."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backend.evaluation import tuned_ways
from backend.evaluation.figures import Figures
from backend.evaluation.own_process import own_process
from backend.evaluation.picture_server import PictureServer
from backend.evaluation.samples import Samples
from backend.evaluation.served_backend import ServedBackend, label_config
from backend.evaluation.speed_pictures import marked
from backend.evaluation.subject import Subject
from backend.jobs.slots import Slot, slot_environment
from backend.settings import Settings

_FORWARDS = 8
"""Forward passes of one picture in a round."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """tasks: of a large call. singles: calls of one task in a round. rounds: counted."""

    tasks: int = 400
    singles: int = 40
    rounds: int = 5
    method: str = "cam"

    @property
    def steps(self) -> int:
        """Of a bar."""
        return (self.rounds + 1) * 4


def measure_overhead(
    subject: Subject, files: Sequence[bytes], plan: Plan, settings: Settings, say: Say
) -> Figures:
    """Milliseconds beside the compute, by one server and one worker that do nothing else.

    Compute is what the worker itself measures: waiting for pictures (fetching and decoding
    what was not ready in time), forward passes, boxes. files: JPEG pictures. settings: of
    the backend that is started. say: told what is measured next.
    Raises: ChildFailed where a task has no prediction.
    """
    slot = Slot(0, subject.device, subject.threads)
    with ExitStack() as stack:
        pictures = stack.enter_context(PictureServer(files))
        tuned = stack.enter_context(own_process(slot_environment(slot)))
        settings = settings.model_copy(update={"allowed_hosts": (pictures.host,)})
        backend = stack.enter_context(ServedBackend(settings, [slot]))
        bench = _Bench(plan, pictures, backend, label_config(plan.method))
        for number in range(plan.rounds + 1):
            taken = _Taken() if number == 0 else bench.taken
            say(f"{plan.tasks} tasks in carriers")
            bench.carriers(number, taken)
            say(f"{plan.tasks} tasks again")
            bench.cached(number, taken)
            say("one task at a time")
            bench.singles(number, taken)
            say("forward passes of one picture")
            own = tuple(marked(files[at % len(files)], str(at)) for at in range(_FORWARDS))
            seconds = tuned.submit(tuned_ways.forward, subject, own, 1).result().seconds
            taken.samples.add("forward", seconds / len(own) * 1000)
        about = {
            "backbone": subject.backbone,
            "method": plan.method,
            "threads": subject.threads,
            "rounds": plan.rounds,
            "tasks": plan.tasks,
            "carrier_tasks": settings.carrier_tasks,
            "singles": len(bench.taken.singles_ms),
            **tuned.submit(tuned_ways.describe, subject).result(),
        }
    samples, singles_ms = bench.taken.samples, np.array(bench.taken.singles_ms)
    values = {
        "queue_ms_per_task": samples.median("queue"),
        "single_p50_ms": float(np.percentile(singles_ms, 50)),
        "single_p95_ms": float(np.percentile(singles_ms, 95)),
        "single_whole_p50_ms": float(np.percentile(bench.taken.wholes_ms, 50)),
        "forward_ms": samples.median("forward"),
        f"cached_{plan.tasks}_ms": samples.median("cached"),
    }
    heading = (
        f"{subject.backbone} at {about['side_px']} px, {about['runtime']}, one worker, "
        f"{subject.threads} threads, {plan.method}, medians of {plan.rounds}"
    )
    return Figures(values, about, heading)


@dataclass
class _Taken:
    """singles_ms: of a call above its compute. wholes_ms: of the same calls in all."""

    samples: Samples = field(default_factory=Samples)
    singles_ms: list[float] = field(default_factory=list)
    wholes_ms: list[float] = field(default_factory=list)


@dataclass
class _Bench:
    """The calls of one measurement."""

    plan: Plan
    pictures: PictureServer
    backend: ServedBackend
    config: str
    taken: _Taken = field(default_factory=_Taken)

    def carriers(self, number: int, taken: _Taken) -> None:
        """New tasks: from the first carrier's start to the last one's end, less its compute."""
        computed_s = self.backend.computed_s()
        answered = self.backend.predict(self._tasks(number), self.config)
        computed_s = self.backend.computed_s() - computed_s
        busy_s = self.backend.busy_s(answered.job_ids)
        taken.samples.add("queue", (busy_s - computed_s) / self.plan.tasks * 1000)

    def cached(self, number: int, taken: _Taken) -> None:
        """The same tasks again, after a moment in which the last job is put away."""
        time.sleep(0.1)
        answered = self.backend.predict(self._tasks(number), self.config)
        taken.samples.add("cached", answered.seconds * 1000)

    def singles(self, number: int, taken: _Taken) -> None:
        """New tasks, one call after the other."""
        for address in self.pictures.addresses(f"single-{number}", self.plan.singles):
            before_s = self.backend.computed_s()
            answered = self.backend.predict([{"id": 1, "data": {"image": address}}], self.config)
            computed_s = self.backend.computed_s() - before_s
            taken.singles_ms.append((answered.seconds - computed_s) * 1000)
            taken.wholes_ms.append(answered.seconds * 1000)

    def _tasks(self, number: int) -> list[dict[str, Any]]:
        addresses = self.pictures.addresses(f"carriers-{number}", self.plan.tasks)
        return [{"id": at, "data": {"image": one}} for at, one in enumerate(addresses, 1)]
