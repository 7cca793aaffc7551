"""How long annotators wait who all open tasks at once, by real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from backend.evaluation import tuned_ways
from backend.evaluation.figures import Figures
from backend.evaluation.own_process import own_process
from backend.evaluation.picture_server import PictureServer
from backend.evaluation.served_backend import LABEL, REPLY_S, ServedBackend, label_config
from backend.evaluation.speed_pictures import marked
from backend.evaluation.subject import Subject
from backend.jobs.slots import Slot, slot_environment
from backend.settings import Settings

POINTER = "point"
"""Name of the smart tool."""

WARM_TASKS = 32
"""Of a first call that is not counted, for each worker."""

_FORWARDS = 32
_BATCH = 8

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Load:
    """annotators: who each open one task after the other. seconds: how long.

    pause_s: between a prediction and the next task, 0 for people who never look at one.
    clicks: on each opened task, with a smart tool.
    """

    annotators: int = 50
    seconds: float = 60.0
    pause_s: float = 0.0
    method: str = "cam"
    clicks: int = 0


@dataclass
class Heard:
    """What annotators got. waits_ms: of each task that was opened. clicks_ms: of each click.

    errors: what went wrong, in words.
    """

    waits_ms: list[float] = field(default_factory=list)
    clicks_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def measure_latency(
    subject: Subject,
    files: Sequence[bytes],
    load: Load,
    settings: Settings,
    slots: Sequence[Slot],
    say: Say,
) -> Figures:
    """Every annotator's calls of /predict, each with one task that nobody has asked for yet.

    files: JPEG pictures, other ones to every cache each time. slots: of the workers.
    settings: of the backend that is started. say: told what is measured next.
    Raises: ChildFailed where the backend does not get ready.
    """
    with ExitStack() as stack:
        pictures = stack.enter_context(PictureServer(files))
        tuned = stack.enter_context(own_process(slot_environment(slots[0])))
        say("the bare forward pass")
        own = tuple(marked(files[at % len(files)], str(at)) for at in range(_FORWARDS))
        for _warm_then_count in range(2):
            taken = tuned.submit(tuned_ways.forward, subject, own, _BATCH).result()
        about = tuned.submit(tuned_ways.describe, subject).result()
        settings = settings.model_copy(update={"allowed_hosts": (pictures.host,)})
        backend = stack.enter_context(ServedBackend(settings, slots))
        config = label_config(load.method, pointer=POINTER)
        say("a first call")
        warm = pictures.addresses("warm", WARM_TASKS * len(slots))
        backend.predict([{"id": 1, "data": {"image": one}} for one in warm], config)
        say(f"{load.annotators} annotators")
        begun_s = time.perf_counter()
        heard = asyncio.run(_annotate(backend.url, _addresses(pictures), config, load))
        took_s = time.perf_counter() - begun_s
    waits_ms = heard.waits_ms or [float("nan")]
    values: dict[str, float | None] = {
        "requests": float(len(heard.waits_ms) + len(heard.clicks_ms) + len(heard.errors)),
        "errors": float(len(heard.errors)),
        "requests_s": len(heard.waits_ms) / took_s,
        "forward_images_s": len(own) / taken.seconds,
        **{f"p{share}_ms": float(np.percentile(waits_ms, share)) for share in (50, 95, 99)},
    }
    if heard.clicks_ms:
        values |= {f"click_p{p}_ms": float(np.percentile(heard.clicks_ms, p)) for p in (50, 95)}
    heading = (
        f"{subject.backbone} at {about['side_px']} px, {about['runtime']}, {load.method}; "
        f"{len(slots)} workers, {load.annotators} annotators for {load.seconds:g} s"
    )
    about |= {
        "backbone": subject.backbone,
        "method": load.method,
        "workers": len(slots),
        "threads": slots[0].threads,
        "annotators": load.annotators,
        "seconds": load.seconds,
        "pause_s": load.pause_s,
        "clicks": load.clicks,
        "error_examples": sorted(set(heard.errors))[:3],
    }
    return Figures(values, about, heading)


async def _annotate(url: str, addresses: Iterator[str], config: str, load: Load) -> Heard:
    heard, until_s = Heard(), time.perf_counter() + load.seconds
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=url, timeout=REPLY_S, trust_env=False, limits=limits
    ) as client:

        async def asked(body: dict[str, Any], waits_ms: list[float]) -> None:
            begun_s = time.perf_counter()
            error = await _error_of(client, body)
            if error is None:
                waits_ms.append((time.perf_counter() - begun_s) * 1000)
            else:
                heard.errors.append(error)
            await asyncio.sleep(load.pause_s)

        async def annotator(number: int) -> None:
            places = np.random.default_rng(number)
            while time.perf_counter() < until_s:
                task = {"id": 1, "data": {"image": next(addresses)}}
                body = {"tasks": [task], "project": "1", "label_config": config}
                await asked(body, heard.waits_ms)
                for _ in range(load.clicks):
                    await asked(body | {"params": _click(places)}, heard.clicks_ms)

        await asyncio.gather(*(annotator(number) for number in range(load.annotators)))
    return heard


def _click(places: np.random.Generator) -> dict[str, Any]:
    """Parameters of a call that points somewhere in the middle of the picture."""
    x, y = places.uniform(25, 75, 2).tolist()
    region = {
        "type": "keypointlabels",
        "from_name": POINTER,
        "to_name": "image",
        "original_width": 1000,
        "original_height": 1000,
        "is_positive": True,
        "value": {"x": x, "y": y, "width": 1, "keypointlabels": [LABEL]},
    }
    return {"context": {"result": [region]}}


async def _error_of(client: httpx.AsyncClient, body: dict[str, Any]) -> str | None:
    """What went wrong, None where a prediction came."""
    try:
        reply = await client.post("/predict", json=body)
    except httpx.HTTPError as error:
        return f"{type(error).__name__} {error}".strip()
    if reply.status_code != 200:
        return f"status {reply.status_code}"
    return None if reply.json()["results"][0] else "no prediction"


def _addresses(pictures: PictureServer) -> Iterator[str]:
    number = 0
    while True:
        yield from pictures.addresses(f"opened-{number}", 1000)
        number += 1
