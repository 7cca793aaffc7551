"""What the doctor asks about the backend's own parts: Redis, workers, weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import redis

from backend.cli.check import Check
from backend.domain import BackboneIdentity
from backend.settings import Settings
from backend.store.embedded import running_url
from backend.store.fleet import WorkerInfo
from backend.store.heads import HeadRef
from backend.store.keys import SCHEMA
from backend.store.ledgers import Changes
from backend.vision.choice import BETTER, EMBEDDED, stands_for

_START = "Start everything with `python -m backend up`"


def redis_address(settings: Settings) -> str | None:
    """REDIS_URL, else the embedded Redis that a running `up` has under DATA_DIR."""
    return settings.redis_url or running_url(settings.data_dir)


def no_redis(settings: Settings) -> Check:
    """REDIS_URL is empty and nothing runs under DATA_DIR."""
    return Check(
        "Redis",
        "problem",
        f"REDIS_URL is empty and no backend runs on DATA_DIR={settings.data_dir}.",
        f"{_START}, or give this command the REDIS_URL or DATA_DIR of the running one.",
    )


def check_redis(connection: redis.Redis) -> Check:
    """A connection that ``connect`` opened has answered and has our schema."""
    info: Any = connection.info()
    version, policy = info["redis_version"], info.get("maxmemory_policy", "noeviction")
    found = f"Redis {version}, schema {SCHEMA}, {info['used_memory_human']} in use"
    if policy != "noeviction":
        return Check(
            "Redis",
            "warning",
            f"{found}; it may evict jobs (maxmemory-policy {policy}).",
            "Set maxmemory-policy noeviction.",
        )
    return Check("Redis", "ok", f"{found}.")


def check_runtime(settings: Settings, openvino: str | None) -> Check:
    """What runs a worker's forward pass. openvino: the release installed here, if any."""
    if settings.runtime == "torch" or settings.device.startswith("cuda"):
        return Check("runtime", "ok", "torch.")
    if openvino is not None:
        return Check(
            "runtime",
            "ok",
            f"OpenVINO {openvino} for a worker of this machine on a CPU, if it agrees with torch; "
            "its log says so (backbone_loaded).",
        )
    found = "torch; OpenVINO, two to three times as fast on a CPU, is not installed here."
    if settings.runtime == "auto":
        return Check("runtime", "ok", found)
    remedy = "Install it with `pip install openvino`, or set RUNTIME=auto."
    return Check("runtime", "problem", found, remedy)


def installed_release(package: str) -> str | None:
    """The installed release of a package, None where it is not; nothing is imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_workers(workers: Sequence[WorkerInfo]) -> Check:
    """Whether somebody predicts. workers: those heard lately that do."""
    if not workers:
        return Check(
            "workers",
            "problem",
            "No worker lives; tasks queue up and nothing is predicted.",
            f"{_START}, or a single one with `python -m backend worker`; its log says why it ends.",
        )
    states = Counter(worker.state for worker in workers)
    found = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    devices = ", ".join(sorted({worker.device for worker in workers}))
    broken = [worker for worker in workers if worker.state == "failed"]
    if broken:
        reasons = "; ".join(f"{worker.name}: {worker.reason}" for worker in broken)
        return Check(
            "workers",
            "warning" if states["ready"] else "problem",
            f"{found}. {reasons}",
            "Correct what the reason names, then restart that worker.",
        )
    if not states["ready"]:
        return Check(
            "workers",
            "warning",
            f"{found} on {devices}: the model is being loaded.",
            "Wait a moment and ask again; a first start may download weights.",
        )
    return Check("workers", "ok", f"{found} on {devices}.")


def check_trainers(trainers: Sequence[WorkerInfo]) -> Check:
    """Whether somebody learns. trainers: those heard lately that train."""
    name = "training"
    if not trainers:
        return Check(
            name,
            "warning",
            "No worker trains: what people accept is kept, and not learned.",
            "Start the backend, or `python -m backend worker`, with TRAIN_WORKERS of at least 1.",
        )
    broken = [trainer for trainer in trainers if trainer.state == "failed"]
    if broken:
        reasons = "; ".join(f"{trainer.name}: {trainer.reason}" for trainer in broken)
        return Check(
            name,
            "warning",
            f"{len(broken)} of {len(trainers)} failed. {reasons}",
            "Correct what the reason names, then restart that worker.",
        )
    return Check(name, "ok", f"{len(trainers)} workers." if len(trainers) > 1 else "1 worker.")


def check_learned(pointed: HeadRef, head: HeadRef, pictures: int, changes: Changes) -> Check:
    """What a project has learned.

    pointed: the head it was given. head: the one that predicts. pictures: that it was
    trained on. changes: what people did since the last training began.
    """
    name = "learned"
    waiting = f"{changes.count} changes since the last training began."
    if pointed.number and not head.number:
        return Check(
            name,
            "warning",
            f"Head {pointed.number} was learned on another backbone and predicts nothing; "
            f"{waiting}",
            "Train anew, or go back to that BACKBONE and its weights.",
        )
    if not head.number:
        return Check(name, "ok", f"No head yet, the zero-shot way predicts; {waiting}")
    return Check(name, "ok", f"Head {head.number}, from {pictures} pictures; {waiting}")


def check_weights(identity: BackboneIdentity | None, settings: Settings) -> Check:
    """Whether the workers loaded what the settings name."""
    if identity is None:
        return Check(
            "weights",
            "warning",
            "No worker has published which weights it loaded.",
            "Wait until a worker is ready.",
        )
    found = f"{identity.name} {identity.digest}, {identity.size_px} px, from {identity.source}"
    if identity.name not in stands_for(settings.backbone):
        return Check(
            "weights",
            "warning",
            f"The workers loaded {found}; BACKBONE here is {settings.backbone}.",
            "Give server, workers and this command the same BACKBONE, and restart them.",
        )
    if identity.name == EMBEDDED and settings.backbone != EMBEDDED:
        return Check("weights", "warning", f"{found}.", BETTER)
    return Check("weights", "ok", f"{found}.")
