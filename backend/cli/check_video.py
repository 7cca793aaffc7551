"""A check of `doctor`: the way of one task's video."""

from __future__ import annotations

import time

from backend.cli.check import Check
from backend.domain import Task
from backend.jobs.video import rates_differ
from backend.labelstudio.labelspec import FRAMERATE, Control
from backend.media.address import shown
from backend.media.fetch import MediaFetcher
from backend.settings import Settings
from backend.video.frames import read_clip


def check_video(task: Task, control: Control, fetcher: MediaFetcher, settings: Settings) -> Check:
    """Whether it can be had and decoded, and has the configuration's rate. Raises: MediaError."""
    name, address = "video", task.data.get(control.data_key)
    if not isinstance(address, str):
        return Check(
            name,
            "problem",
            f"Task {task.id} has no video under {control.data_key}; its data has "
            f"{', '.join(task.data) or 'nothing'}.",
            'Let value="$…" of the <Video> name a key of the task\'s data.',
        )
    start = time.perf_counter()
    with fetcher.video(address, task.id) as video:
        fetched = time.perf_counter()
        clip = read_clip(video.path, max_pixels=settings.media_pixels)
        size_bytes = video.path.stat().st_size
    height, width = clip.size_hw
    told = (
        f"Task {task.id}, {shown(address)}: {width}x{height}, {clip.frames} frames at "
        f"{clip.fps:g} a second, {size_bytes} bytes; fetched in {1000 * (fetched - start):.0f} ms."
    )
    framerate = control.framerate or FRAMERATE
    if rates_differ(clip.fps, framerate):
        return Check(
            name,
            "warning",
            f"{told} The labelling configuration counts {framerate:g} frames a second.",
            f'Write framerate="{clip.fps:g}" at the <Video>, if all files are alike.',
        )
    return Check(name, "ok", told)
