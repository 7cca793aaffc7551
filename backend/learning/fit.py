"""Fitting a head to accepted boxes: everything that is judged is judged out of fold."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from backend.domain import BackboneIdentity
from backend.errors import RequestError
from backend.learning.accept import fit_acceptance
from backend.learning.examples import Example
from backend.learning.fit_report import FitReport, report_of
from backend.learning.grids import FeaturePair, Grids
from backend.learning.head import Head, HeadMeta, to_units
from backend.learning.one_thread import one_thread
from backend.learning.prior import prior_for
from backend.learning.trainer import Accepted, Progress, Trainer
from backend.learning.whitening import ENOUGH_PICTURES, fit_whitening

_SMALL = 0.2
_METRICS = ("f1_50", "f1_70", "mean_iou", "no_edit", "ece", "fit_s")


def wants_small(examples: Sequence[Example]) -> bool:
    """Whether accepted boxes are so small that larger pictures are worth their price."""
    units = [to_units(example.boxes) for example in examples if len(example.boxes)]
    if not units:
        return False
    sides = np.concatenate([np.sqrt(np.prod(u[:, 2:] - u[:, :2], 1)) for u in units])
    return bool(np.percentile(sides, 25) < _SMALL)


@one_thread()
def fit(
    examples: Sequence[Example],
    features: Mapping[str, FeaturePair],
    labels: Sequence[str],
    backbone: BackboneIdentity,
    *,
    progress: Progress = lambda share: None,
) -> tuple[Head, FitReport]:
    """A head from accepted pictures, and what it is worth.

    features: upright and mirrored, by ``Example.picture``; each is asked for when it is
    looked at. labels: those that the head shall know; boxes of others are left out.
    Two cores at most; the bytes do not depend on how many there are.
    Raises: RequestError without a single box.
    """
    begun_s = time.perf_counter()
    used = [example for example in examples if example.picture in features]
    known_labels = _with_boxes(used, labels)
    if not known_labels:
        raise RequestError("No accepted box to learn from.", "Accept or draw boxes first.")
    spread = np.linspace(0, len(used) - 1, min(len(used), ENOUGH_PICTURES)).astype(int)
    some = [features[used[i].picture][0] for i in spread]
    prior = prior_for(backbone.name, some)
    whitening = prior.whitening if prior else fit_whitening(some)
    del some
    accepted = [_accepted(example, known_labels) for example in used]
    trainer = Trainer(accepted, Grids(features, whitening), len(known_labels), prior)
    parts = trainer.parts(progress)
    meta = HeadMeta(
        backbone.name,
        backbone.digest,
        prior.digest if prior else "",
        tuple(example.picture for example in used),
    )
    head = Head(
        known_labels,
        wants_small(used),
        meta,
        None if prior else whitening,
        parts.weights,
        parts.corners,
        parts.ranker,
        parts.naming,
        parts.classifier,
        fit_acceptance(
            np.concatenate([one.features for one in parts.judged]),
            np.concatenate([one.hit_50 for one in parts.judged]),
            np.concatenate([one.hit_70 for one in parts.judged]),
            sum(len(one.boxes) for one in accepted),
            len(accepted),
            prior.acceptance if prior else None,
        ),
        parts.known,
        parts.prior_boxes,
    )
    report = report_of(head, used, parts.judged, time.perf_counter() - begun_s)
    metrics = {name: float(getattr(report, name)) for name in _METRICS}
    progress(1.0)
    return replace(head, meta=replace(meta, metrics=metrics)), report


def _accepted(example: Example, labels: Sequence[str]) -> Accepted:
    kept = [i for i, name in enumerate(example.boxes.label) if name in labels]
    boxes = example.boxes.select(kept)
    return Accepted(
        example.picture, to_units(boxes), tuple(labels.index(name) for name in boxes.label)
    )


def _with_boxes(examples: Sequence[Example], labels: Sequence[str]) -> tuple[str, ...]:
    seen = {name for example in examples for name in example.boxes.label}
    return tuple(name for name in labels if name in seen)
