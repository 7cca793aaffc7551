"""Pascal VOC folders, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.errors import ImageSetInvalid, UnknownName
from backend.evaluation.voc import FORMATS, read_image_set

SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def an_object(name: str = "cat", corners: tuple[object, ...] = (1, 2, 11, 22)) -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, corners, strict=True))
    return f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"


def write(folder: Path, stem: str, content: str, size_hw: tuple[int, int] = (30, 40)) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    picture = cv2.imencode(".png", np.zeros((*size_hw, 3), np.uint8))[1]
    (folder / "images" / f"{stem}.png").write_bytes(picture.tobytes())
    (folder / "annotations" / f"{stem}.xml").write_text(content)


def test_pictures_come_by_name_and_boxes_as_written(tmp_path: Path) -> None:
    write(tmp_path, "b", f"<annotation>{SIZE}</annotation>")
    inside = an_object("cat", (1, 2, 11, 22)) + an_object(" dog ", ("30.5", -3, 45, 30))
    write(tmp_path, "a", f"<annotation>{SIZE}{inside}</annotation>")
    found = read_image_set(tmp_path, "voc")
    assert found.name == tmp_path.name
    assert [one.path.name for one in found.pictures] == ["a.png", "b.png"]
    assert found.labels == ("cat", "dog")
    first, second = (one.truth for one in found.pictures)
    assert first.xyxy_px.tolist() == [[1, 2, 11, 22], [30.5, 0, 40, 30]]  # the second clipped
    assert first.size_hw == (30, 40)
    assert len(second) == 0


@pytest.mark.parametrize(
    "size",
    ["", "<size><width>0</width><height>0</height></size>"],
    ids=["no size", "a size of nought"],
)
def test_the_picture_tells_its_size(tmp_path: Path, size: str) -> None:
    write(tmp_path, "a", f"<annotation>{size}{an_object()}</annotation>", (1, 1))
    (tmp_path / "annotations" / "a.xml").write_text(
        f"<annotation>{size}{an_object(corners=(0, 0, 1, 1))}</annotation>"
    )
    assert read_image_set(tmp_path, "voc").pictures[0].truth.size_hw == (1, 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("", "a.xml cannot be read", id="empty"),
        pytest.param("<annotation>", "a.xml cannot be read", id="cut short"),
        pytest.param(
            '<!DOCTYPE x [<!ENTITY e "boo">]><annotation>&e;</annotation>',
            "a.xml cannot be read",
            id="an entity",
        ),
        pytest.param(
            "<annotation><size><width>30</width><height>40</height></size></annotation>",
            "30x40 pixels, the file shows 40x30",
            id="another size",
        ),
        pytest.param(
            f"<annotation>{an_object(corners=(5, 5, 5, 9))}</annotation>",
            "without area",
            id="no width",
        ),
        pytest.param(
            f"<annotation>{an_object(corners=(50, 5, 60, 9))}</annotation>",
            "without area inside",
            id="outside",
        ),
        pytest.param(
            f"<annotation>{an_object(corners=('nan', 5, 6, 9))}</annotation>",
            "<xmin> is 'nan'",
            id="not a number",
        ),
        pytest.param(
            "<annotation><object><name>a</name></object></annotation>",
            "without bndbox",
            id="no box",
        ),
        pytest.param(f"<annotation>{an_object(' ')}</annotation>", "without a name", id="no name"),
    ],
)
def test_a_file_that_is_refused_is_named(tmp_path: Path, content: str, says: str) -> None:
    write(tmp_path, "a", content)
    with pytest.raises(ImageSetInvalid) as refused:
        read_image_set(tmp_path, "voc")
    assert says in refused.value.what
    assert refused.value.remedy


def test_folders_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageSetInvalid, match="not a folder"):
        read_image_set(tmp_path, "voc")
    write(tmp_path, "a", f"<annotation>{an_object()}</annotation>")
    (tmp_path / "annotations" / "b.xml").write_text("<annotation/>")
    with pytest.raises(ImageSetInvalid, match=r"1 annotations lack a picture.*: b"):
        read_image_set(tmp_path, "voc")
    (tmp_path / "annotations" / "b.xml").unlink()
    (tmp_path / "annotations" / "a.xml").unlink()
    with pytest.raises(ImageSetInvalid, match=r"1 pictures lack an annotation.*: a"):
        read_image_set(tmp_path, "voc")
    (tmp_path / "images" / "a.jpg").write_bytes(b"no")
    with pytest.raises(ImageSetInvalid, match="suffix alone"):
        read_image_set(tmp_path, "voc")
    (tmp_path / "images" / "a.png").unlink()
    (tmp_path / "annotations" / "a.xml").write_text("<annotation/>")
    with pytest.raises(ImageSetInvalid, match=r"a\.jpg"):
        read_image_set(tmp_path, "voc")
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(ImageSetInvalid, match="holds no picture"):
        read_image_set(tmp_path, "voc")


def test_an_unknown_format_answers_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="voc"):
        read_image_set(tmp_path, "vos")
    assert FORMATS.names() == ("voc",)
