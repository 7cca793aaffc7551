"""Folders of pictures with true boxes: Pascal VOC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from backend.domain import Boxes, clip_xyxy_px
from backend.errors import ImageSetInvalid, MediaError
from backend.media.header import read_header
from backend.vision.registry import Registry

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture file and its true boxes, in pixels of the oriented original, score 1."""

    path: Path
    truth: Boxes


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Labelled pictures, sorted by file name. labels: every name that occurs, sorted."""

    name: str
    pictures: tuple[LabelledPicture, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted({name for one in self.pictures for name in one.truth.label}))


Reader = Callable[[Path], ImageSet]
FORMATS: Registry[Reader] = Registry("annotation format")


def read_image_set(folder: Path, format_name: str) -> ImageSet:
    """The labelled pictures of a folder.

    Raises: UnknownName for a format, ImageSetInvalid with the file and what to do.
    """
    return FORMATS.get(format_name)(folder)


def read_voc(folder: Path) -> ImageSet:
    """``images/NAME.jpg`` beside ``annotations/NAME.xml``, one for one.

    Corners are taken as they are written, half-open, and clipped to the picture. Objects
    marked difficult count like all others. Raises: ImageSetInvalid.
    """
    images, annotations = folder / "images", folder / "annotations"
    for wanted in (images, annotations):
        if not wanted.is_dir():
            raise ImageSetInvalid(
                f"{wanted} is not a folder.",
                "Lay the set out as images/NAME.jpg beside annotations/NAME.xml.",
            )
    pictures = sorted(
        (path for path in images.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES),
        key=lambda path: path.name,
    )
    if not pictures:
        raise ImageSetInvalid(
            f"{images} holds no picture.", f"Known: {', '.join(PICTURE_SUFFIXES)}."
        )
    stems = {path.stem for path in pictures}
    if len(stems) < len(pictures):
        raise ImageSetInvalid(
            f"{images} holds pictures that differ by their suffix alone.", "Rename one of each two."
        )
    written = {path.stem for path in annotations.glob("*.xml")}
    _refuse(sorted(stems - written), "pictures lack an annotation", annotations)
    _refuse(sorted(written - stems), "annotations lack a picture", images)
    return ImageSet(
        folder.resolve().name,
        tuple(_labelled(path, annotations / f"{path.stem}.xml") for path in pictures),
    )


FORMATS.add("voc", read_voc)


def _refuse(names: list[str], what: str, folder: Path) -> None:
    if names:
        more = ", …" if len(names) > _SHOWN else ""
        raise ImageSetInvalid(
            f"{len(names)} {what} in {folder}: {', '.join(names[:_SHOWN])}{more}",
            "Add them, or take their counterparts out.",
        )


def _labelled(picture: Path, annotation: Path) -> LabelledPicture:
    try:
        size_hw = read_header(picture.read_bytes()).upright_hw
    except MediaError as error:
        raise ImageSetInvalid(f"{picture}: {error.what}", error.remedy) from None
    try:
        root = fromstring(annotation.read_bytes())
    except (ParseError, DefusedXmlException) as error:
        raise ImageSetInvalid(f"{annotation} cannot be read: {error}", "Repair the file.") from None
    _check_size(root, size_hw, annotation)
    objects = root.findall("object")
    xyxy = np.array([_corners(one, annotation) for one in objects], np.float32).reshape(-1, 4)
    xyxy = clip_xyxy_px(xyxy, size_hw)
    for box in xyxy:
        if box[2] <= box[0] or box[3] <= box[1]:
            raise ImageSetInvalid(
                f"{annotation} has a box without area inside the picture: {box.tolist()}.",
                "Repair or remove the object.",
            )
    names = tuple(_name(one, annotation) for one in objects)
    return LabelledPicture(picture, Boxes(xyxy, np.ones(len(names), np.float32), names, size_hw))


def _check_size(root: Any, size_hw: tuple[int, int], annotation: Path) -> None:
    """A size that is given must be the picture's, or the boxes belong to another picture."""
    size = root.find("size")
    if size is None:
        return
    width, height = (_number(size, side, annotation) for side in ("width", "height"))
    # Some tools write 0x0 where they did not look.
    if width and height and (height, width) != size_hw:
        raise ImageSetInvalid(
            f"{annotation} is for a picture of {width:g}x{height:g} pixels, the file shows "
            f"{size_hw[1]}x{size_hw[0]}.",
            "Scale the boxes, or remove an Exif orientation that the tool did not apply.",
        )


def _corners(one: Any, annotation: Path) -> list[float]:
    box = one.find("bndbox")
    if box is None:
        raise ImageSetInvalid(f"{annotation} has an object without bndbox.", "Repair the file.")
    return [_number(box, name, annotation) for name in ("xmin", "ymin", "xmax", "ymax")]


def _name(one: Any, annotation: Path) -> str:
    name = (one.findtext("name") or "").strip()
    if not name:
        raise ImageSetInvalid(f"{annotation} has an object without a name.", "Repair the file.")
    return name


def _number(parent: Any, name: str, annotation: Path) -> float:
    text = parent.findtext(name)
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise ImageSetInvalid(
            f"{annotation}: <{name}> is {text!r}, not a number.", "Repair the file."
        )
    return number
