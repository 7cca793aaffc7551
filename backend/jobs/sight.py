"""How pictures are looked at for what no head knows, with as few forward passes as will do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from backend.domain import Picture, U8Array
from backend.jobs.learner import Learner
from backend.labelstudio.labelspec import Control, ControlOptions
from backend.vision.backbones import Backbone
from backend.vision.detect import look
from backend.vision.objects import Sight
from backend.vision.saliency import OBJECTS

MAP = "cam"
"""What is meant where a control says how a map becomes boxes, and names no method."""


def method_of(options: ControlOptions) -> str:
    """The way in which a control's boxes are found, a saliency method by name."""
    return options.saliency or (MAP if options.box_rule or options.extra else OBJECTS)


def objects_wanted(controls: Iterable[Control]) -> bool:
    """Whether one of these controls has its boxes found by what is known of objects."""
    return any(control.draws and method_of(control.options) == OBJECTS for control in controls)


class Eyes:
    """How the pictures of a labelling configuration are looked at.

    objects: whether a control wants them. If so, and the backbone has a prior, everything
    is answered from the features that heads read, else from one forward pass at the
    backbone's own side. What is asked of one picture changes neither, so that a question
    has the same answer in every batch.
    """

    def __init__(self, backbone: Backbone, learner: Learner, *, objects: bool) -> None:
        self._backbone = backbone
        self._learner = learner
        self._see = learner.see_objects(backbone) if objects else None

    @property
    def reads_features(self) -> bool:
        """Whether a look takes a picture's features."""
        return self._see is not None

    def look(
        self,
        pictures: Sequence[Picture],
        squares_u8: U8Array,
        features: Sequence[Any] | None = None,
    ) -> Sight:
        """Look at pictures, prepared as squares (B, S, S, 3) at the backbone's side.

        features: what a head reads of them, taken where they are needed and not given.
        """
        if self._see is None:
            return Sight(look(self._backbone, squares_u8))
        if features is None:
            features = self._learner.features_of(
                self._backbone, pictures, small=False, mirrored=False
            )
        return self._see(features, pictures, squares_u8)
