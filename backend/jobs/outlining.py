"""The forms of found things, for controls that draw more than boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backend.domain import BoolArray, Boxes, FloatArray, Picture
from backend.jobs.addresses import Look
from backend.jobs.process import Process
from backend.labelstudio.labelspec import Shape
from backend.labelstudio.prediction import Found, FoundBoxes
from backend.vision.outlines import outline, polygon_of

_TRACED = ("brush", "polygon")
"""Shapes that follow the thing. An ellipse does not: that of the box fits better than the
turned one of the mask (measured in docs/shapes.md)."""


def follows_thing(shape: Shape | None) -> bool:
    """Whether the shape needs a mask of the thing."""
    return shape in _TRACED


def with_outlines(
    process: Process,
    head: Any,
    pictures: Sequence[Picture],
    features: Sequence[Any] | None,
    asked: Sequence[tuple[Look, int]],
    found: Sequence[Found],
) -> list[Found]:
    """The answers, each box with its mask or polygon where its control draws such.

    asked: a look with the position of its picture. features: of the pictures, None where
    nobody took them yet; then they are taken of those that need them.
    """
    learner = process.learner
    if learner.cells is None:
        return list(found)
    traced: list[Found] = []
    for (one, place), answer in zip(asked, found, strict=True):
        shape = one.control.shape
        if not isinstance(answer, FoundBoxes) or not follows_thing(shape) or not answer.boxes:
            traced.append(answer)
            continue
        picture = pictures[place]
        seen = features[place] if features is not None else _features(process, picture)
        cells = learner.cells(seen)
        masks = [
            outline(picture, cells, xyxy_px, learner.form(head, label) if head else None)
            for xyxy_px, label in zip(answer.boxes.xyxy_px, answer.boxes.label, strict=True)
        ]
        traced.append(traced_as(shape, answer, masks))
    return traced


def traced_as(shape: Shape | None, answer: FoundBoxes, masks: Sequence[BoolArray]) -> FoundBoxes:
    """The answer with masks, or with the polygons about them."""
    if shape == "brush":
        return replace(answer, masks_hw=tuple(masks))
    return replace(answer, polygons_px=tuple(_polygon(mask, answer.boxes) for mask in masks))


def _polygon(mask_hw: BoolArray, boxes: Boxes) -> FloatArray:
    """The polygon about a mask; without points where there is none, which means the box."""
    found = polygon_of(mask_hw, boxes.size_hw)
    return np.zeros((0, 2), np.float32) if found is None else found


def _features(process: Process, picture: Picture) -> Any:
    (seen,) = process.learner.features_of(process.backbone, [picture], small=False, mirrored=False)
    return seen
