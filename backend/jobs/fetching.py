"""One picture of a task, fetched and decoded; what goes wrong is a result."""

from __future__ import annotations

from backend.domain import Picture
from backend.errors import BackendError, LabelStudioError, MediaError
from backend.jobs.process import Process
from backend.media.decode import decode_picture
from backend.store import keys


def fetch_picture(
    process: Process, project_id: str, address: str, task_id: int | None, side_px: int
) -> Picture | BackendError:
    """The picture, decoded no larger than side_px needs, or why it cannot be had.

    Safe in threads.
    """
    number = keys.project_id_of(project_id)
    project = int(number) if number.isdecimal() else None
    max_pixels = process.settings.media_pixels
    try:
        encoded = process.fetcher.read(address, task_id, project)
        return decode_picture(encoded, max_pixels=max_pixels, wanted_side_px=side_px)
    except (MediaError, LabelStudioError) as error:  # the latter: no token to fetch with
        return error
