"""What the demo checks before it starts anything; the rest is in tests/real."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.cli.demo import TEMPLATES, pictures_in, template_text
from backend.errors import RequestError, UnknownName
from backend.labelstudio.labelspec import parse_label_config


@pytest.mark.parametrize("files", [[], ["notes.txt", "clip.mp4"]], ids=["empty", "no picture"])
def test_a_folder_without_pictures_is_refused(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(RequestError, match="no picture in") as caught:
        pictures_in(tmp_path, 3)
    assert str(tmp_path) in caught.value.what


def test_pictures_come_by_name_from_subfolders_and_no_more_than_wanted(tmp_path: Path) -> None:
    (tmp_path / "more.jpg").mkdir()  # a folder with the name of a picture is none
    for name in ("b.PNG", "a.jpeg", "more.jpg/c.webp", "z.txt"):
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in pictures_in(tmp_path, 9)]
    assert found == ["a.jpeg", "b.PNG", "more.jpg/c.webp"]
    assert len(pictures_in(tmp_path, 2)) == 2


def test_an_unknown_template_is_told_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"no template named 'box'.*boxes"):
        template_text("box")


@pytest.mark.parametrize("name", sorted(path.stem for path in TEMPLATES.glob("*.xml")))
def test_every_template_can_be_served(name: str) -> None:
    assert parse_label_config(template_text(name)).controls
