"""Zero-shot key points: where a frozen network sees most of what a label names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.domain import Picture, Points, concat_points
from backend.errors import ShapeError
from backend.vision import saliency
from backend.vision.detect import DetectOptions
from backend.vision.look import Looked
from backend.vision.peaks import peaks_of
from backend.vision.questions import LabelQuery, ask, draw_maps


def point_out(
    looked: Looked,
    pictures: Sequence[Picture],
    labels: Sequence[LabelQuery],
    options: DetectOptions,
) -> list[Points]:
    """Key points of each picture, one a label for which its classes speak, most probable first.

    A point is the peak of the map of the label's classes, its score their probability. A
    label that names no class of the network gets none: no map is left to it by elimination,
    as a place means more than a box. Arguments and errors as ``detect``.
    """
    if len(pictures) != len(looked):
        raise ShapeError(f"{len(looked)} pictures were looked at, {len(pictures)} given.")
    method = saliency.get(options.saliency)
    questions = [one for one in ask(looked, labels) if one.named.classes]
    found: list[list[Points]] = [[] for _ in pictures]
    for one, map_hw in zip(
        questions, draw_maps(looked, questions, method, options.extra), strict=True
    ):
        peaks = peaks_of(map_hw)
        label, probability = one.named.label, one.named.probability
        if label is None or probability is None or not len(peaks):
            continue
        height, width = pictures[one.row].size_hw
        found[one.row].append(
            Points(
                np.clip(peaks.xy_unit, 0, 1) * np.array([width, height], np.float32),
                np.array([probability], np.float32),
                (labels[label].value,),
                (height, width),
            )
        )
    return [
        concat_points(parts, picture.size_hw)
        for parts, picture in zip(found, pictures, strict=True)
    ]
