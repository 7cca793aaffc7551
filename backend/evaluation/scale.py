"""Whether many tasks go through `preannotate` in flat memory, and what the queue makes of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import redis
from pydantic import SecretStr

from backend.errors import ChildFailed
from backend.evaluation.backend_process import READY_S
from backend.evaluation.children import Child, bare_environment
from backend.evaluation.drawn import draw_picture
from backend.evaluation.figures import Figures
from backend.evaluation.labelstudio_server import REPOSITORY
from backend.evaluation.linux_processes import family_cpu_s, resident_bytes
from backend.evaluation.listed_project import KEY, ListedProject
from backend.evaluation.machine import describe_machine
from backend.evaluation.picture_server import PictureServer
from backend.evaluation.served_backend import label_config
from backend.jobs.bulk import Bulk
from backend.jobs.slots import Slot, slot_environment
from backend.labelstudio.client import LabelStudioClient
from backend.settings import Settings, as_environment
from backend.store.connection import connect
from backend.store.embedded import EmbeddedRedis
from backend.store.fleet import Fleet
from backend.vision.backbones import find_device

SETTLED_TASKS = 1000
"""Tasks after which a worker's memory is taken for settled."""

_FILES = 16
_SIDE_PX = 96
_SAMPLE_S = 0.1

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """tasks: of the project.

    sleepers: workers that each sleep compute_ms a picture; 0 for a single real one.
    """

    tasks: int = 10_000
    sleepers: int = 0
    compute_ms: float = 6.0
    method: str = "cam"


@dataclass
class _Memory:
    """A worker's memory along the way. taken: tasks done and bytes, at most so often."""

    pid: int
    taken: list[tuple[int, int]] = field(default_factory=list)
    last_s: float = 0.0

    def note(self, done: int) -> None:
        if done and time.monotonic() - self.last_s >= _SAMPLE_S:
            self.last_s = time.monotonic()
            self.taken.append((done, resident_bytes(self.pid)))

    def growth(self) -> dict[str, float | None]:
        """Of the median of the last tenth over the median of the tenth after it had settled."""
        after = [size for done, size in self.taken if done >= SETTLED_TASKS]
        if len(after) < 2:
            return {"settled_mb": None, "end_mb": None, "growth_percent": None}
        part = max(1, len(after) // 10)
        first, last = float(np.median(after[:part])), float(np.median(after[-part:]))
        return {
            "settled_mb": first / 2**20,
            "end_mb": last / 2**20,
            "growth_percent": (last / first - 1) * 100,
        }


def measure_scale(plan: ScalePlan, settings: Settings, folder: Path, say: Say) -> Figures:
    """One run of `preannotate` over a project of small pictures, all on this machine.

    settings: of the backend that is started, without Redis and Label Studio. folder: for
    what they keep. say: told what comes next.
    Raises: ChildFailed where a worker cannot start or a task has no prediction at the end.
    """
    with ExitStack() as stack:
        pictures = stack.enter_context(PictureServer(_small_pictures()))
        addresses = pictures.addresses("scale", plan.tasks)
        project = stack.enter_context(ListedProject(addresses, label_config(plan.method)))
        settings = settings.model_copy(
            update={
                "redis_url": stack.enter_context(EmbeddedRedis(folder)),
                "allowed_hosts": (pictures.host,),
                "label_studio_url": project.url,
                "label_studio_api_key": SecretStr(KEY),
            }
        )
        connection = stack.enter_context(connect(settings.redis_url))
        client = stack.enter_context(_client(settings))
        say("starting workers")
        workers = stack.enter_context(_workers(plan, settings, folder))
        _wait(connection, workers, plan.sleepers or 1)
        say(f"{plan.tasks} tasks")
        memory = _Memory(workers.pid)
        before, ours, theirs = (
            _redis_use(connection),
            time.process_time(),
            family_cpu_s(workers.pid),
        )
        begun_s = time.perf_counter()
        bulk = Bulk(
            settings, connection, client, 1, on_progress=lambda done, _total: memory.note(done)
        )
        report = bulk.run()
        took_s = time.perf_counter() - begun_s
        after = _redis_use(connection)
        if report.failures or project.twice or project.stored != plan.tasks:
            raise ChildFailed(
                f"{project.stored} of {plan.tasks} tasks were stored, {project.twice} twice, "
                f"{len(report.failures)} failed: {report.failures[:3]}\n{workers.tail()}\n",
                "What the worker logged stands above.",
            )
        ours, theirs = time.process_time() - ours, family_cpu_s(workers.pid) - theirs
    per_task = {name: (after[name] - before[name]) / plan.tasks for name in after}
    values: dict[str, float | None] = {
        "tasks_s": plan.tasks / took_s,
        **(memory.growth() if not plan.sleepers else _fleet_use(plan, took_s)),
        "redis_bytes_per_task": per_task["bytes"],
        "redis_commands_per_task": per_task["commands"],
        "redis_network_bytes_per_task": per_task["network"],
        "redis_cpu_ms_per_task": per_task["cpu_s"] * 1000,
        "worker_cpu_ms_per_task": theirs / plan.tasks * 1000,
        "bulk_cpu_ms_per_task": ours / plan.tasks * 1000,
    }
    who = f"{plan.sleepers} workers that sleep {plan.compute_ms:g} ms a picture"
    heading = f"{plan.tasks} tasks through preannotate, {who if plan.sleepers else 'one worker'}"
    about = {
        "tasks": plan.tasks,
        "workers": plan.sleepers or 1,
        "sleeping": bool(plan.sleepers),
        "compute_ms": plan.compute_ms if plan.sleepers else None,
        "backbone": settings.backbone,
        "seconds": round(took_s, 2),
        **describe_machine(find_device("cpu")),
    }
    return Figures(values, about, heading, missing="too few tasks")


def _fleet_use(plan: ScalePlan, took_s: float) -> dict[str, float | None]:
    """What all workers together could do at best, and the share of it that they did."""
    best_s = plan.sleepers / plan.compute_ms * 1000
    return {"best_tasks_s": best_s, "share_of_best": plan.tasks / took_s / best_s}


def _small_pictures() -> Sequence[bytes]:
    drawn = (draw_picture(number, (_SIDE_PX, _SIDE_PX)).rgb_u8 for number in range(_FILES))
    return [bytes(cv2.imencode(".jpg", rgb_u8[..., ::-1])[1]) for rgb_u8 in drawn]


def _client(settings: Settings) -> LabelStudioClient:
    return LabelStudioClient(
        settings.label_studio_url, settings.label_studio_api_key, settings.label_studio_timeout_s
    )


def _workers(plan: ScalePlan, settings: Settings, folder: Path) -> Child:
    if plan.sleepers:
        place = ["backend.evaluation.sleeping_workers", str(plan.sleepers), str(plan.compute_ms)]
    else:
        place = ["backend", "worker-slot", "--device", "cpu", "--name", "measured"]
    environment = bare_environment(PYTHONPATH=str(REPOSITORY), **as_environment(settings))
    return Child(
        "The worker",
        [sys.executable, "-m", *place],
        env={**environment, **slot_environment(Slot(0, "cpu", 1))},
        log_path=folder / "worker.log",
    )


def _wait(connection: redis.Redis, workers: Child, count: int) -> None:
    until_s = time.monotonic() + READY_S
    fleet = Fleet(connection)
    while sum(info.state == "ready" for info in fleet.alive(60.0)) < count:
        if workers.returncode is not None or time.monotonic() > until_s:
            raise ChildFailed(f"{workers.name} cannot work:\n{workers.tail()}\n", "")
        time.sleep(_SAMPLE_S)


def _redis_use(connection: redis.Redis) -> dict[str, float]:
    info: Any = connection.info()
    return {
        "bytes": float(info["used_memory"]),
        "commands": float(info["total_commands_processed"]),
        "network": float(info["total_net_input_bytes"] + info["total_net_output_bytes"]),
        "cpu_s": float(info["used_cpu_user"] + info["used_cpu_sys"]),
    }
