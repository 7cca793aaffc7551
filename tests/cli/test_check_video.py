"""The doctor's look at a task's video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.cli.check_labelstudio import check_picture
from backend.domain import Task
from backend.errors import MediaUnreadable
from backend.labelstudio.labelspec import parse_label_config
from backend.media.fetch import MediaFetcher
from backend.settings import Settings, load_settings
from tests.jobs.test_video import config, moving
from tests.video.drawn import FPS, write_film


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_film(tmp_path / "film.mp4", moving(10))
    (tmp_path / "text.mp4").write_text("no film")
    return load_settings(data_dir=tmp_path, local_files_root=tmp_path)


@pytest.fixture
def fetcher(settings: Settings) -> Iterator[MediaFetcher]:
    made = MediaFetcher(settings, None)
    yield made
    made.close()


def address(name: str) -> dict[str, str]:
    return {"video": f"/data/local-files/?d={name}"}


@pytest.mark.parametrize(
    ("framerate", "data", "state", "told"),
    [
        pytest.param(FPS, address("film.mp4"), "ok", "240x180, 10 frames at 25 a second", id="ok"),
        pytest.param(24.0, address("film.mp4"), "warning", "counts 24 frames", id="rate"),
        pytest.param(FPS, {"image": "a.png"}, "problem", "no video under video", id="no video"),
    ],
)
def test_a_video_is_told(
    settings: Settings,
    fetcher: MediaFetcher,
    framerate: float,
    data: dict[str, str],
    state: str,
    told: str,
) -> None:
    spec = parse_label_config(config(framerate))
    check = check_picture(Task(1, data), spec, fetcher, settings)
    assert (check.name, check.state) == ("video", state)
    assert told in check.detail
    assert bool(check.remedy) is (state != "ok")


def test_what_is_no_video_is_refused(settings: Settings, fetcher: MediaFetcher) -> None:
    spec = parse_label_config(config())
    with pytest.raises(MediaUnreadable):
        check_picture(Task(1, address("text.mp4")), spec, fetcher, settings)
