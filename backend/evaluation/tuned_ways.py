"""The product's own ways, timed in a process: the bare forward pass, and pictures to boxes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from backend.domain import Boxes
from backend.evaluation.machine import describe_machine
from backend.evaluation.subject import Subject, Taken, batches, decoded, squares_of, timed
from backend.jobs.learner import own_learner
from backend.jobs.sight import BESIDE_CAM, Eyes
from backend.settings import load_settings
from backend.vision.backbones import Backbone, load_backbone
from backend.vision.detect import DetectOptions, LabelQuery, prepare
from backend.vision.kept_choices import KeptChoices
from backend.vision.objects import find
from backend.vision.saliency import OBJECTS


def forward(subject: Subject, files: Sequence[bytes], batch: int) -> Taken:
    """The bare forward pass, ``Backbone.features``, over prepared pictures."""
    backbone = _backbone(subject)
    images_u8 = squares_of(decoded(files), backbone.size_px)

    def work() -> Tensor:
        looked = [backbone.features(part) for part in batches(images_u8, batch)]
        return looked[0].cells_bchw

    seconds, cells = timed(backbone.device, work)
    return Taken(seconds, cells_chw=cells[0].cpu().numpy())


def find_boxes(
    subject: Subject, files: Sequence[bytes], batch: int, method: str, label: str, folder: Path
) -> Taken:
    """Boxes of decoded pictures as a worker finds them, so many at a time.

    label: the one that is asked for. folder: where features are kept.
    """
    eyes, backbone = _eyes(subject, method == OBJECTS, folder), _backbone(subject)
    pictures = decoded(files)
    queries, options = [LabelQuery(label, (label,))], DetectOptions(saliency=method)

    def work() -> list[Boxes]:
        found = []
        for at in range(0, len(pictures), batch):
            part = pictures[at : at + batch]
            squares_u8 = np.stack([prepare(picture, backbone.size_px) for picture in part])
            found += find(eyes.look(part, squares_u8), part, queries, options)
        return found

    seconds, boxes = timed(backbone.device, work)
    return Taken(seconds, tuple(one.xyxy_px for one in boxes))


def describe(subject: Subject) -> dict[str, Any]:
    """The machine, beside how the network runs on it."""
    backbone = _backbone(subject)
    return {
        "runtime": backbone.runtime.form,
        "side_px": backbone.size_px,
        **describe_machine(backbone.device),
    }


@functools.lru_cache(maxsize=1)
def _backbone(subject: Subject) -> Backbone:
    subject.settle()
    # As a worker that starts, which measures; nothing is written beside the user's own.
    choices = KeptChoices(None)
    return load_backbone(subject.backbone, subject.weights, subject.device, choices=choices)


@functools.lru_cache(maxsize=2)
def _eyes(subject: Subject, objects: bool, folder: Path) -> Eyes:
    learner = own_learner(load_settings(data_dir=folder))
    return Eyes(_backbone(subject), learner, BESIDE_CAM if objects else None)
