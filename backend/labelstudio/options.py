"""The ``model_*`` attributes of a control, checked.

``model_`` is the prefix Label Studio's own example backends use for settings that travel
in the labelling configuration; Label Studio hands such attributes through untouched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.errors import LabelConfigInvalid

PREFIX = "model_"
VIDEO_WAYS = ("frame_cam", "motion", "video_cam")
"""The registry of ways, which lives where the server never looks."""

_LOOKS_FPS = (0.01, 60.0)
_YES_NO = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class ControlOptions:
    """What one control asks of the model; None leaves the choice to the settings.

    score_threshold: 0..1. max_boxes: at least 1. saliency, box_rule: registry names.
    skip: leave this control to people. extra: further ``model_*`` attributes by full name.
    video_way: one of VIDEO_WAYS. looks_fps: frames of a video looked at in a second.
    """

    score_threshold: float | None = None
    max_boxes: int | None = None
    saliency: str | None = None
    box_rule: str | None = None
    skip: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)
    video_way: str | None = None
    looks_fps: float | None = None


def parse_options(control_name: str, attributes: Mapping[str, str]) -> ControlOptions:
    """Options out of the XML attributes of the control with this name.

    Raises: LabelConfigInvalid, naming control, attribute, value and what is allowed.
    """
    given = {name: value.strip() for name, value in attributes.items() if name.startswith(PREFIX)}

    def wrong(attribute: str, value: str, allowed: str) -> LabelConfigInvalid:
        return LabelConfigInvalid(
            f"Control {control_name!r} has {attribute}={value!r}.", f"Allowed: {allowed}."
        )

    def word(attribute: str) -> str | None:
        value = given.pop(attribute, None)
        if value == "":
            raise wrong(attribute, value, "a name, or leave the attribute out")
        return value

    def number(attribute: str, low: float, high: float) -> float | None:
        text = given.pop(attribute, None)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:  # NaN compares false
            raise wrong(attribute, text, f"a number from {low:g} to {high:g}")
        return value

    score_threshold = number("model_score_threshold", 0.0, 1.0)
    looks_fps = number("model_looks_fps", *_LOOKS_FPS)
    video_way = word("model_video_way")
    if video_way is not None and video_way not in VIDEO_WAYS:
        raise wrong("model_video_way", video_way, f"one of {', '.join(VIDEO_WAYS)}")

    max_boxes: int | None = None
    if (text := given.pop("model_max_boxes", None)) is not None:
        # isdecimal alone lets other scripts' digits through, int() alone signs and underscores
        max_boxes = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
        if max_boxes < 1:
            raise wrong("model_max_boxes", text, "a whole number from 1")

    skip = False
    if (text := given.pop("model_skip", None)) is not None:
        if text.lower() not in _YES_NO:
            raise wrong("model_skip", text, "true or false")
        skip = _YES_NO[text.lower()]

    return ControlOptions(
        score_threshold=score_threshold,
        max_boxes=max_boxes,
        saliency=word("model_saliency"),
        box_rule=word("model_box_rule"),
        skip=skip,
        extra=given,
        video_way=video_way,
        looks_fps=looks_fps,
    )
