"""A whole road without its server: real Redis, real jobs, a tiny network, pictures by HTTP."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
import pytest
import redis
import torch

from backend.domain import Task
from backend.jobs import process
from backend.jobs.enqueue import Dispatcher, PredictCall
from backend.jobs.queues import QUEUES, queue
from backend.jobs.warming import warm
from backend.jobs.worker import SlotWorker
from backend.settings import Settings
from backend.store.fleet import WorkerKind
from backend.vision.backbones import Backbone, backbone_from_tensors
from backend.vision.torchvision_door import load_torchvision
from tests.jobs.plain_learner import PlainLearning
from tests.labelstudio_standin import LabelStudioStandin, running

RECTANGLES = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image"><Label value="Thing"/></RectangleLabels>
</View>
"""


def drawn_png(seed: int, side_px: int = 96) -> bytes:
    """A bright disc somewhere on noise, as PNG."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (side_px, side_px, 3), dtype=np.uint8)
    centre = tuple(int(value) for value in rng.integers(side_px // 4, 3 * side_px // 4, 2))
    cv2.circle(image, centre, side_px // 5, (40, 220, 240), -1)
    return bytes(cv2.imencode(".png", image)[1])


@dataclass
class PictureServer:
    """Pictures by path; asked counts the requests."""

    url: str = ""
    pictures: dict[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    on_get: Callable[[str], None] = lambda path: None

    def add(self, count: int, first: int = 0) -> list[str]:
        """Serve so many drawn pictures; their addresses."""
        paths = [f"/{number}.png" for number in range(first, first + count)]
        for number, path in enumerate(paths, first):
            self.pictures[path] = drawn_png(number)
        return [self.url + path for path in paths]


@pytest.fixture
def pictures() -> Iterator[PictureServer]:
    """A real server of pictures on a free port."""
    served = PictureServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked[self.path] += 1
            served.on_get(self.path)
            content = served.pictures.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield served
    server.shutdown()
    server.server_close()


def seeded_backbone() -> Backbone:
    """A mobilenet with seeded weights and a small input."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    model = load_torchvision().models.mobilenet_v2(weights=None).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        # Statistics of a batch: without them the signal of random weights dies on the way.
        model(torch.randn(4, 3, 64, 64))
    return backbone_from_tensors("mobilenet_v2", model.state_dict(), size_px=96)


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """The same one for all tests."""
    return seeded_backbone()


@dataclass
class Road:
    """Everything a call passes through, in this process."""

    settings: Settings
    connection: redis.Redis
    dispatcher: Dispatcher
    pictures: PictureServer
    backbone: Backbone
    learning: PlainLearning

    def call(
        self,
        addresses: Sequence[str],
        *,
        label_config: str = RECTANGLES,
        first_id: int | None = 1,
        queue_name: str = "predict",
    ) -> PredictCall:
        """A call with a task for each address."""
        return self.call_of(
            [{"image": address} for address in addresses],
            label_config=label_config,
            first_id=first_id,
            queue_name=queue_name,
        )

    def call_of(
        self,
        data: Sequence[Mapping[str, Any]],
        *,
        label_config: str = RECTANGLES,
        first_id: int | None = 1,
        queue_name: str = "predict",
    ) -> PredictCall:
        """A call with a task for each data object."""
        tasks = tuple(
            Task(None if first_id is None else first_id + index, item)
            for index, item in enumerate(data)
        )
        return PredictCall("1", label_config, tasks, queue_name)

    def work(self, kind: WorkerKind = "predict") -> None:
        """Let a worker of this kind do all that is queued for it."""
        worker = SlotWorker(self.connection, uuid.uuid4().hex, on_job_done=lambda: None, kind=kind)
        worker.work(burst=True, logging_level="ERROR")

    def waiting(self, name: str | None = None) -> int:
        """Jobs in one queue, or in all."""
        names = [name] if name else list(QUEUES)
        return sum(len(queue(self.connection, one)) for one in names)

    def predict(self, call: PredictCall) -> list[bytes | None]:
        """One call from begin to end, with a worker that does everything in between."""
        ticket = self.dispatcher.begin(call)
        self.work()
        self.dispatcher.wait_blocking(ticket, 10.0)
        return self.dispatcher.finish(ticket)


MakeRoad = Callable[..., Road]


@pytest.fixture
def make_road(
    settings: Callable[..., Settings],
    connection: redis.Redis,
    pictures: PictureServer,
    backbone: Backbone,
) -> Iterator[MakeRoad]:
    """Builds the road with settings by field name."""

    def make(**overrides: Any) -> Road:
        chosen = settings(
            **{"allowed_hosts": ("127.0.0.1",), "fetch_threads": 2, "media_retries": 0} | overrides
        )
        learning = PlainLearning()
        warm(chosen, "cpu", connection=connection, backbone=backbone, learner=learning.learner())
        dispatcher = Dispatcher(chosen, connection)
        return Road(chosen, connection, dispatcher, pictures, backbone, learning)

    yield make
    process.release()


@pytest.fixture
def road(make_road: MakeRoad) -> Road:
    """The road without an API key."""
    return make_road()


@pytest.fixture
def label_studio() -> Iterator[LabelStudioStandin]:
    """A Label Studio with one project of rectangles."""
    with running() as standin:
        standin.add_project(RECTANGLES)
        yield standin


@pytest.fixture
def keyed_road(make_road: MakeRoad, label_studio: LabelStudioStandin) -> Road:
    """The road with an API key to the stand-in."""
    return make_road(label_studio_url=label_studio.url, label_studio_api_key=label_studio.api_key)
