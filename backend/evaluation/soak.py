"""Whether the whole backend stays right, fast and lean under load while parts of it fail."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redis
from pydantic import SecretStr

from backend.evaluation.backend_process import READY_S, BackendProcess
from backend.evaluation.children import Child, bare_environment
from backend.evaluation.figures import Figures
from backend.evaluation.labelstudio_server import REPOSITORY
from backend.evaluation.machine import describe_machine
from backend.evaluation.memory_watch import MemoryWatch, worst_growth
from backend.evaluation.served_backend import label_config
from backend.evaluation.soak_faults import Faults, Injector, plan_faults
from backend.evaluation.soak_pictures import SoakPictures
from backend.evaluation.soak_team import REPLY_S, Heard, Load, Team
from backend.evaluation.worked_project import KEY, WorkedProject
from backend.jobs.push import MARGIN_S
from backend.jobs.push_requests import job_limit_s
from backend.learning.ledger import Ledger, updated_us
from backend.settings import Settings, as_environment
from backend.store.connection import connect
from backend.store.deliveries import Deliveries
from backend.store.embedded import running_url
from backend.store.heads import HeadStore
from backend.store.ledgers import LedgerStore
from backend.vision.backbones import find_device

_PREANNOTATED = 60
_PREANNOTATE_AT = (0.3, 0.7)
_MOST_RUNS = 6
_REOPEN_ROUNDS = 3
_QUIET_LOOKS = 5
_LONGEST_SETTLE_S = 1800.0
_WATCHED_PART = 0.5
"""Part of the run that a process has to live through for its memory to be judged."""

_LABEL_STUDIO_TIMEOUT_S = 5.0
_FAILURE_TTL_S = 5

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """minutes: of load. seed: of the faults and of what people do."""

    minutes: float = 30.0
    seed: int = 0
    method: str = "cam"
    load: Load = field(default_factory=Load)


@dataclass(frozen=True, slots=True)
class Losses:
    """What the stand-in and the ledger hold otherwise than they should, at the end."""

    predictions_lost: int = 0
    predictions_twice: int = 0
    annotations_lost: int = 0
    annotations_extra: int = 0


def measure_soak(plan: SoakPlan, settings: Settings, folder: Path, say: Say) -> Figures:
    """One run; everything is on loopback ports of this machine.

    settings: of the backend that is started, without Redis and Label Studio. folder: for
    what they keep. say: told what comes next.
    Raises: ChildFailed where the backend does not get ready.
    """
    pictures = SoakPictures()
    with ExitStack() as stack:
        stack.enter_context(pictures.server)
        project = stack.enter_context(WorkedProject(label_config(plan.method)))
        settings = settings.model_copy(
            update={
                "allowed_hosts": (pictures.server.host,),
                "label_studio_url": project.url,
                "label_studio_api_key": SecretStr(KEY),
                "label_studio_timeout_s": _LABEL_STUDIO_TIMEOUT_S,
                "failure_cache_ttl_s": _FAILURE_TTL_S,
                "workers": 2,
                "train_workers": 1,
            }
        )
        environment = bare_environment(PYTHONPATH=str(REPOSITORY), **as_environment(settings))
        backend = BackendProcess(folder, env=environment, port=settings.port)
        say("starting")
        stack.enter_context(backend)
        connection = stack.enter_context(connect(running_url(folder) or ""))
        run = _Run(plan, settings, backend, connection, project, pictures)
        return asyncio.run(run.whole(say))


class _Run:
    """One run, once all is started."""

    def __init__(
        self,
        plan: SoakPlan,
        settings: Settings,
        backend: BackendProcess,
        connection: redis.Redis,
        project: WorkedProject,
        pictures: SoakPictures,
    ) -> None:
        self._plan, self._settings, self._backend = plan, settings, backend
        self._redis, self._project, self._pictures = connection, project, pictures
        self._runs = 0
        self._children: list[Child] = []

    async def whole(self, say: Say) -> Figures:
        """Load with faults, then quiet, then the comparison."""
        plan, begun_s = self._plan, time.monotonic()
        duration_s = plan.minutes * 60
        planned = plan_faults(plan.seed, duration_s)
        pid = self._backend.child.pid
        injector = Injector(planned, pid, self._project, self._pictures.server, self._answers)
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=self._backend.url, timeout=REPLY_S, trust_env=False, limits=limits
        ) as client:
            team = Team(
                client, self._project, injector.faults, plan.load,
                self._pictures.new, self._result_of, plan.seed,
            )  # fmt: skip
            await team.setup()
            say(f"{plan.minutes:g} minutes of load with {len(planned)} faults")
            with MemoryWatch(pid) as memory:
                until_s = time.monotonic() + duration_s
                with injector:
                    times_s = [begun_s + part * duration_s for part in _PREANNOTATE_AT]
                    beside = (
                        self._preannotate(team.heard, injector.faults, at_s) for at_s in times_s
                    )
                    await asyncio.gather(team.work(until_s), *beside)
                say("waiting until nothing waits")
                await self._settle()
            say("comparing")
            await self._check_health(team.heard)
            losses, repaired = await self._compare(team)
        growth = worst_growth(memory.lives, _WATCHED_PART * duration_s)
        return self._figures(team.heard, injector.faults, losses, growth, repaired)

    # ---- beside the load

    def _result_of(self, task_id: int) -> list[dict[str, Any]]:
        return self._pictures.result_of(self._project.image(task_id))

    async def _preannotate(self, heard: Heard, faults: Faults, at_s: float) -> None:
        """New tasks by the command; where a fault stopped it, it is run again, as it says."""
        await asyncio.sleep(max(0.0, at_s - time.monotonic()))
        wanted = self._project.add_tasks(self._pictures.new(_PREANNOTATED))
        for _ in range(_MOST_RUNS):
            began_s = time.monotonic()
            heard.requests["preannotate"] += 1
            status, told = await self._command("preannotate", "--project", "1", "--only-new")
            # 1 is also told where people added tasks meanwhile; then ours count alone.
            if status in (0, 1) and not self._project.unpredicted().intersection(wanted):
                return
            if not faults.met(began_s, time.monotonic()):
                heard.errors.append(f"preannotate: status {status}: {told[-300:]}")
                return
            heard.repeated += 1
        heard.errors.append(f"preannotate: failed {_MOST_RUNS} times")

    async def _command(self, *arguments: str) -> tuple[int, str]:
        """Exit status and output of one of our commands, run beside the backend."""
        self._runs += 1
        log_path = self._settings.data_dir / f"command-{self._runs}.log"
        child = Child(
            arguments[0],
            [sys.executable, "-m", "backend", *arguments],
            env=self._backend.env,
            log_path=log_path,
        )
        with child:
            while (status := child.returncode) is None:
                await asyncio.sleep(0.1)
        return status, child.tail(20)

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(
                f"{self._backend.url}/healthz", timeout=2.0, trust_env=False
            ).is_success
        return False

    # ---- the end

    async def _settle(self) -> None:
        """Until nothing is queued and nothing is to be pushed; what is stuck stays so."""
        deliveries = Deliveries(self._redis)
        # A claim whose fate is unknown is settled after this, by design.
        patience_s = job_limit_s(self._settings) + MARGIN_S + 60
        quiet, before, changed_s = 0, None, time.monotonic()
        until_s = changed_s + _LONGEST_SETTLE_S
        while quiet < _QUIET_LOOKS and time.monotonic() < min(changed_s + patience_s, until_s):
            with suppress(httpx.HTTPError):
                waits = (self._backend.health()["queues"], deliveries.pending_count("1"))
                busy = any(waits[0].values()) or deliveries.projects_with_pending()
                quiet = 0 if busy else quiet + 1
                if waits != before:
                    before, changed_s = waits, time.monotonic()
            await asyncio.sleep(0.5)

    async def _check_health(self, heard: Heard) -> None:
        """By now everything that was killed works again, without a hand."""
        until_s = time.monotonic() + READY_S
        state: Any = None
        while time.monotonic() < until_s:
            with suppress(httpx.HTTPError):
                health = self._backend.health()
                state = (health["workers"]["states"]["ready"], health["trainers"])
                if state == (self._settings.workers, self._settings.train_workers):
                    return
            await asyncio.sleep(0.5)
        heard.errors.append(f"health: {state} workers and trainers are ready at the end")

    async def _compare(self, team: Team) -> tuple[Losses, int]:
        """What is lost and what came twice, and how many annotations the last sync repaired."""
        before = self._ledger_states()
        status, told = await self._command("sync", "--project", "1", "--json")
        if status:
            team.heard.errors.append(f"sync: status {status}: {told[-300:]}")
        held, known = self._ledger_states(), self._project.annotations()
        missing = self._project.unpredicted()
        image = self._project.image
        broken = {
            one for one in missing & team.heard.promised if not self._pictures.refused(image(one))
        }
        # The others were never answered, or their picture could not be had: asked again.
        for _ in range(_REOPEN_ROUNDS):
            if missing <= broken:
                break
            await team.reopen(sorted(missing - broken))
            await self._settle()
            missing = self._project.unpredicted()
        lost, extra = ledger_differences(held, known)
        losses = Losses(len(missing | broken), len(self._project.twice), lost, extra)
        return losses, sum(before.get(one) != held.get(one) for one in before.keys() | held.keys())

    def _ledger_states(self) -> dict[int, int]:
        entries = Ledger(LedgerStore(self._redis)).entries("1")
        return {entry.annotation_id: entry.updated_us for entry in entries}

    def _figures(
        self,
        heard: Heard,
        faults: Faults,
        losses: Losses,
        growth: Mapping[str, float],
        repaired: int,
    ) -> Figures:
        backend_growth = [grown for role, grown in growth.items() if role != "redis"]
        quiet = [ms for at_s, ms in heard.waits if not faults.met(at_s, at_s + ms / 1000)]
        values: dict[str, float | None] = {
            "requests": float(heard.requests.total()),
            "errors": float(len(heard.errors)),
            "lost": float(losses.predictions_lost + losses.annotations_lost),
            "duplicated": float(losses.predictions_twice + losses.annotations_extra),
            "p95_ms": _percentile([ms for _, ms in heard.waits]),
            "p95_quiet_ms": _percentile(quiet),
            "memory_growth": max(backend_growth, default=None),
        }
        about = {
            "minutes": self._plan.minutes,
            "seed": self._plan.seed,
            "backbone": self._settings.backbone,
            "method": self._plan.method,
            "tasks": self._pictures.made,
            "annotations": len(self._project.annotations()),
            "requests_by_kind": dict(heard.requests),
            "repeated_in_faults": heard.repeated,
            "webhooks_lost_in_faults": heard.webhooks_lost,
            "annotations_repaired_by_sync": repaired,
            "heads": HeadStore(self._redis, most=1).current("1").number,
            "faults": sum(faults.counts().values()),
            "faults_by_kind": faults.counts(),
            "faults_missed": len(faults.missed),
            "losses": {name: getattr(losses, name) for name in Losses.__slots__},
            "error_examples": sorted(set(heard.errors))[:5],
            "duplicate_examples": self._project.twice[:5],
            "memory_growth_by_role": {role: round(grown, 2) for role, grown in growth.items()},
            **describe_machine(find_device("cpu")),
        }
        heading = (
            f"{self._plan.minutes:g} minutes of mixed load, {about['faults']} faults, "
            f"{self._pictures.made} tasks, {about['annotations']} annotations"
        )
        return Figures(values, about, heading, missing="too short")


def ledger_differences(held: Mapping[int, int], known: Mapping[int, str]) -> tuple[int, int]:
    """Annotations that a ledger lacks or holds in an older state, and those it has too many.

    held: of the ledger, when each was changed last, in microseconds since the epoch. known:
    of Label Studio, the same as its API tells it.
    """
    lost = sum(held.get(one) != updated_us(at) for one, at in known.items())
    return lost, len(held.keys() - known.keys())


def _percentile(waits_ms: Sequence[float]) -> float | None:
    return float(np.percentile(waits_ms, 95)) if waits_ms else None
