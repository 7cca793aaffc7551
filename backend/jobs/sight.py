"""How pictures are looked at for what no head knows, with as few forward passes as will do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from backend.domain import Picture, U8Array
from backend.jobs.learner import Learner
from backend.labelstudio.labelspec import Control, ControlOptions
from backend.vision.backbones import Backbone
from backend.vision.detect import DetectOptions, look
from backend.vision.objects import Sight
from backend.vision.saliency import OBJECTS

MAP = "cam"
"""What is meant where a control says how a map becomes boxes, and names no method."""


HINT = "model_map"
"""The option that names the map beside which objects are sought."""


def method_of(options: ControlOptions) -> str:
    """The way in which a control's boxes are found, a saliency method by name."""
    return options.saliency or (MAP if options.box_rule or options.extra else OBJECTS)


def objects_wanted(controls: Iterable[Control]) -> DetectOptions | None:
    """The map beside which objects are sought; None where no control wants objects.

    That of the first control which does: its rule and options, the method under HINT.
    """
    for control in controls:
        if control.draws and not control.of_points and method_of(control.options) == OBJECTS:
            extra = dict(control.options.extra)
            method = extra.pop(HINT, MAP)
            return DetectOptions(method, control.options.box_rule, extra=extra)
    return None


BESIDE_CAM = DetectOptions(MAP)
"""The map beside which objects are sought where nobody says otherwise."""


class Eyes:
    """How the pictures of a labelling configuration are looked at.

    hint: see ``objects_wanted``. If given, and the backbone has a prior, everything
    is answered from the features that heads read, else from one forward pass at the
    backbone's own side. What is asked of one picture changes neither, so that a question
    has the same answer in every batch.
    """

    def __init__(self, backbone: Backbone, learner: Learner, hint: DetectOptions | None) -> None:
        self._backbone = backbone
        self._learner = learner
        self._hint = hint or BESIDE_CAM
        self._see = learner.see_objects(backbone) if hint is not None else None

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
        return self._see(features, pictures, squares_u8, self._hint)
