"""What a long video costs: memory beyond a short one, and time, by a worker's own way."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from backend.domain import Task, U8Array
from backend.errors import ConfigError
from backend.evaluation.figures import Figures
from backend.evaluation.linux_processes import resident_bytes
from backend.jobs.enqueue import Dispatcher, PredictCall
from backend.jobs.process import release
from backend.jobs.warming import warm
from backend.jobs.worker import SlotWorker
from backend.settings import Settings, load_settings
from backend.store.connection import connect
from backend.store.embedded import EmbeddedRedis

FPS = 25.0
_SHORT_S = 8.0
_SAMPLE_S = 0.2
_CELL_PX = 24
"""Of the drawn ground: fine enough to be followed, coarse enough to be encoded quickly."""

_CONFIG = """
<View>
  <Labels name="label" toName="video" model_video_way="{way}"><Label value="Thing"/></Labels>
  <Video name="video" value="$video" framerate="25"/>
  <VideoRectangle name="box" toName="video"/>
</View>
"""

Say = Callable[[str], None]


def measure_long_film(
    *, backbone: str, weights: Path | None, device: str, way: str, minutes: float,
    size_hw: tuple[int, int], say: Say,
) -> Figures:  # fmt: skip
    """A drawn film of some minutes, predicted by one worker in this process.

    growth_mb: the most memory while it is looked at, beyond that of the idle worker;
    beyond_short_mb: beyond that after a film of eight seconds. fps: frames a second.
    Raises: ConfigError where it is not predicted.
    """
    with TemporaryDirectory(prefix="long-film-") as temporary:
        folder = Path(temporary)
        say("writing the film")
        for name, seconds in (("short.mp4", _SHORT_S), ("long.mp4", 60 * minutes)):
            write_film(folder / name, round(seconds * FPS), size_hw)
        with EmbeddedRedis(folder) as url:
            settings = load_settings(
                redis_url=url,
                data_dir=folder,
                local_files_root=folder,
                backbone=backbone,
                backbone_weights=weights,
                workers=1,
            )
            warm(settings, device)
            idle_bytes = resident_bytes(os.getpid())
            try:
                say("looking at a short one")
                _predict(settings, "short.mp4", way)
                before_bytes = resident_bytes(os.getpid())
                say("looking at the long one")
                started_s = time.perf_counter()
                with _peak() as peak:
                    tracks = _predict(settings, "long.mp4", way)
                took_s = time.perf_counter() - started_s
            finally:
                release()
        frames = round(60 * minutes * FPS)
        values: dict[str, float | None] = {
            "growth_mb": (max(peak) - idle_bytes) / 2**20,
            "beyond_short_mb": (max(peak) - before_bytes) / 2**20,
            "idle_mb": idle_bytes / 2**20,
            "fps": frames / took_s,
            "tracks": float(tracks),
        }
    about = {"minutes": minutes, "size_hw": list(size_hw), "way": way, "backbone": backbone}
    high, wide = size_hw
    return Figures(values, about, f"{minutes:g} minutes of {wide}x{high}, {frames} frames")


def write_film(path: Path, frames: int, size_hw: tuple[int, int]) -> None:
    """A textured square that goes round on a textured ground. Raises: ConfigError."""
    height, width = size_hw
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (width, height))
    if not writer.isOpened():
        raise ConfigError(
            "This OpenCV writes no mp4v videos.", "Use opencv-python-headless of PyPI."
        )
    ground = _texture(0, size_hw) // 3
    side = height // 4
    thing = _texture(1, (side, side))
    for number in range(frames):
        angle = number / (8 * FPS) * 2 * np.pi
        x = round((0.5 + 0.35 * np.cos(angle)) * (width - side))
        y = round((0.5 + 0.35 * np.sin(angle)) * (height - side))
        frame = ground.copy()
        frame[y : y + side, x : x + side] = thing
        writer.write(frame)
    writer.release()


def _texture(seed: int, size_hw: tuple[int, int]) -> U8Array:
    cells = (size_hw[0] // _CELL_PX + 1, size_hw[1] // _CELL_PX + 1, 3)
    small = np.random.default_rng(seed).integers(0, 256, cells).astype(np.uint8)
    return np.asarray(cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def _predict(settings: Settings, name: str, way: str) -> int:
    """Tracks of a film of the folder."""
    with connect(settings.redis_url) as connection:
        dispatcher = Dispatcher(settings, connection)
        data = {"video": f"/data/local-files/?d={name}"}
        call = PredictCall("1", _CONFIG.format(way=way), (Task(1, data),), "bulk")
        ticket = dispatcher.begin(call)
        worker = SlotWorker(connection, f"film-{name}", on_job_done=lambda: None)
        worker.work(burst=True, logging_level="ERROR")
        (reply,) = dispatcher.finish(ticket)
        if reply is None:
            raise ConfigError(f"The film was not predicted: {ticket.answers[0]!r}.", "See above.")
        return len(json.loads(reply)["result"])


@contextmanager
def _peak() -> Iterator[list[int]]:
    """Bytes of this process, sampled while the context lasts."""
    taken = [resident_bytes(os.getpid())]
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_S):
            taken.append(resident_bytes(os.getpid()))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()
