"""What a labelling configuration asks of the model.

``parse_label_config`` reduces Label Studio's XML to the controls that can be served:
rectangles, polygons, brushes, ellipses and key points of an Image, with their labels or
beside Labels; VideoRectangle beside Labels of a Video; Choices of a whole Image, Rating and
Number of a whole Image.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast
from xml.etree.ElementTree import Element

from backend.errors import LabelConfigInvalid
from backend.labelstudio.configtree import SHAPE_TAGS, ConfigTree, data_key, required
from backend.labelstudio.labelnames import (
    LabelName,
    merge_labels,
    read_dynamic_labels,
    read_labels,
)
from backend.labelstudio.options import ControlOptions, parse_options
from backend.labelstudio.ranges import NumberRange, read_range

__all__ = ["Control", "ControlOptions", "LabelName", "LabelSpec", "parse_label_config"]

SERVED = (
    "RectangleLabels, PolygonLabels, BrushLabels, EllipseLabels and KeyPointLabels, the same "
    "shapes with Labels on the same Image, VideoRectangle with Labels on the same Video, Choices "
    "of a whole Image, and Rating and Number of a single whole Image can be served"
)

Shape = Literal["rectangle", "polygon", "brush", "ellipse", "keypoint", "videorectangle"]
Kind = Literal[
    "rectanglelabels",
    "polygonlabels",
    "brushlabels",
    "ellipselabels",
    "keypointlabels",
    "rectangle+labels",
    "polygon+labels",
    "brush+labels",
    "ellipse+labels",
    "keypoint+labels",
    "videorectangle+labels",
    "choices",
    "rating",
    "number",
]

_LABELLED_SHAPES: Mapping[str, Shape] = {
    "RectangleLabels": "rectangle",
    "PolygonLabels": "polygon",
    "BrushLabels": "brush",
    "EllipseLabels": "ellipse",
    "KeyPointLabels": "keypoint",
}
_ANSWERS = ("Choices", "Rating", "Number")
_NUMERIC = ("Rating", "Number")
_SERVED_TAGS = frozenset({*_LABELLED_SHAPES, "Labels", *_ANSWERS})
_FINGERPRINT_SCHEMA = 1
_WHOLE = ("choices", "rating", "number")

FRAMERATE = 24.0
"""By which Label Studio counts frames where the configuration tells nothing."""


@dataclass(frozen=True, slots=True)
class Control:
    """One control that the model fills in.

    name: where labels go (``from_name``). geometry_name: where shapes go, the name of the
    ``<Rectangle>`` or other shape for the pair, else name. to_name: the Image or Video.
    data_key: the key of the task's data with its address, or with a list of them if is_list.
    framerate: by which Label Studio counts a Video's frames.
    labels: fixed labels; dynamic_labels_key: key of the task's data with further ones.
    multiple: Choices that take several. per_item: Choices answered for each picture.
    values: those of a Rating or Number, None for other kinds.
    """

    name: str
    kind: Kind
    geometry_name: str
    to_name: str
    data_key: str
    is_list: bool
    labels: tuple[LabelName, ...]
    dynamic_labels_key: str | None = None
    multiple: bool = False
    smart: bool = False
    per_item: bool = False
    options: ControlOptions = field(default_factory=ControlOptions)
    values: NumberRange | None = None
    framerate: float | None = None

    @property
    def shape(self) -> Shape | None:
        """What it draws; None where it asks for an answer about the whole picture."""
        return None if self.kind in _WHOLE else _shape(self.kind)

    @property
    def draws(self) -> bool:
        """Whether it asks for regions, and not for an answer about the whole picture."""
        return self.shape is not None

    @property
    def of_points(self) -> bool:
        """Whether it asks for places without area."""
        return self.shape == "keypoint"

    @property
    def of_video(self) -> bool:
        """Whether it draws on the frames of a video."""
        return self.shape == "videorectangle"

    @property
    def paired(self) -> bool:
        """Whether shapes and their labels are regions of two controls."""
        return self.kind.endswith("+labels") and self.kind != "videorectangle+labels"


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """A labelling configuration as the model sees it.

    controls: all that could be served, those with ``model_skip`` included.
    fingerprint: hex digest of all that predictions depend on; order and styling of labels
        do not change it. unserved: what else asks for an answer, as found, each once.
    pointers: the Image that a smart KeyPointLabels points at, by the control's name; its
        clicks are questions, answered with rectangles.
    """

    controls: tuple[Control, ...]
    fingerprint: str
    unserved: tuple[str, ...] = ()
    pointers: Mapping[str, str] = field(default_factory=dict)

    @property
    def active(self) -> tuple[Control, ...]:
        """The controls to be filled in: those without ``model_skip``."""
        return tuple(control for control in self.controls if not control.options.skip)

    @property
    def films(self) -> tuple[Control, ...]:
        """The active controls of videos."""
        return tuple(control for control in self.active if control.of_video)

    @property
    def data_keys(self) -> tuple[str, ...]:
        """Keys of the task's data that hold pictures, each once."""
        return tuple(dict.fromkeys(control.data_key for control in self.active))

    def control(self, name: str) -> Control | None:
        """The active control with this name."""
        return next((control for control in self.active if control.name == name), None)

    def labels_for(self, control: Control, task_data: Mapping[str, Any]) -> tuple[LabelName, ...]:
        """The control's labels on this task: the fixed ones, then those of the task's data."""
        if control.dynamic_labels_key is None:
            return control.labels
        dynamic = read_dynamic_labels(task_data.get(control.dynamic_labels_key))
        return merge_labels((*control.labels, *dynamic))


def parse_label_config(xml: str) -> LabelSpec:
    """The controls of a labelling configuration that can be served.

    Raises: LabelConfigInvalid for broken XML, a control that contradicts itself, or a
    configuration without any control that can be served.
    """
    tree = ConfigTree(xml)
    controls: list[Control] = []
    unserved: dict[str, None] = {}  # an ordered set
    pointers: dict[str, str] = {}
    for element in tree.elements:
        if pointed := _pointed(element, tree):
            pointers[required(element, "name")] = pointed
            continue
        reason = _unserved_reason(element, tree)
        if reason:
            unserved[reason] = None
        elif element.tag in _SERVED_TAGS:
            controls.append(_control(element, tree))
    labelled = {control.geometry_name for control in controls}
    for tag, name in tree.shapes.values():
        if name not in labelled:
            unserved[f"{tag} without Labels"] = None

    count = Counter(control.name for control in controls)
    if twice := [name for name, times in count.items() if times > 1]:
        raise LabelConfigInvalid(
            f"Several controls are named {twice[0]!r}.", "Give every control a name of its own."
        )
    if not controls:
        found = f" (found: {', '.join(unserved)})" if unserved else ""
        raise LabelConfigInvalid(
            f"The labelling configuration has no control that can be served{found}.",
            f"{SERVED}; docs/label-config.md shows examples.",
        )
    return LabelSpec(tuple(controls), _fingerprint(controls), tuple(unserved), pointers)


def _unserved_reason(element: Element, tree: ConfigTree) -> str:
    """What asks for an answer that cannot be given here; empty where nothing does."""
    tag = element.tag
    if tag == "Repeater":
        return tag
    if tag in SHAPE_TAGS:
        # Labels name what the first shape of an object draws; further shapes are people's.
        return "" if required(element, "name") in _drawing(tree) else tag
    if tag not in _SERVED_TAGS:
        if element.get("toName") is not None:
            return tag
        return tag if tag not in ("Image", "Video") and _is_object(element) else ""
    target = tree.image_of(element)
    if target is None and tag == "Labels":
        target = tree.video_of(element)
    if target is None:
        return f"{tag} of another object than an Image"
    if tag == "Labels" and target not in tree.shapes:
        return "Labels without a shape"
    if tag in _ANSWERS and element.get("perRegion") == "true":
        return f"{tag} perRegion"
    if tag in _NUMERIC and tree.address_key(target)[1]:
        return f"{tag} of several pictures"
    if tag == "Choices" and element.find(".//Choice") is None and not element.get("value"):
        return "Choices without Choice"
    return ""


def _drawing(tree: ConfigTree) -> set[str]:
    return {name for _, name in tree.shapes.values()}


def _pointed(element: Element, tree: ConfigTree) -> str | None:
    """The Image on which the element's clicks ask for a rectangle, None where they do not."""
    if element.tag != "KeyPointLabels" or element.get("smart") != "true":
        return None
    return tree.image_of(element)


def _is_object(element: Element) -> bool:
    """Whether the element shows something of the task: Video, Text, Audio …"""
    shows = element.get("value", "").startswith("$") or element.get("valueList") is not None
    return shows and bool(element.get("name"))


def _control(element: Element, tree: ConfigTree) -> Control:
    name = required(element, "name")
    target = tree.image_of(element) or tree.video_of(element) or ""
    address_key, is_list = tree.address_key(target)
    tag, geometry_name = element.tag, name
    if tag == "Labels":
        shape_tag, geometry_name = tree.shapes[target]
        kind = cast(Kind, f"{shape_tag.lower()}+labels")
    else:
        kind = cast(Kind, tag.lower())
    is_video = target in tree.videos
    return Control(
        name=name,
        kind=kind,
        geometry_name=geometry_name,
        to_name=target,
        data_key=address_key,
        is_list=is_list,
        labels=read_labels(name, element.iter("Choice" if kind == "choices" else "Label")),
        dynamic_labels_key=data_key(element, "value") if element.get("value") else None,
        multiple=kind == "choices" and element.get("choice") == "multiple",
        smart=element.get("smart") == "true",
        per_item=kind == "choices" and is_list and element.get("perItem") == "true",
        options=parse_options(name, _attributes(element, tree, target)),
        values=read_range(element) if tag in _NUMERIC else None,
        framerate=_framerate(tree.videos[target]) if is_video else None,
    )


def _attributes(element: Element, tree: ConfigTree, target: str) -> Mapping[str, str]:
    """Those of a control; Labels of a Video have what stands at its VideoRectangle as well."""
    if element.tag != "Labels" or target not in tree.videos:
        return element.attrib
    geometry = next(one for one in tree.elements if one.get("name") == tree.shapes[target][1])
    return {**geometry.attrib, **element.attrib}


def _shape(kind: str) -> Shape:
    return cast(Shape, kind.removesuffix("+labels").removesuffix("labels"))


def _framerate(video: Element) -> float:
    """Raises: LabelConfigInvalid for anything but a rate."""
    given = video.get("framerate") or video.get("frameRate") or str(FRAMERATE)
    try:
        rate = float(given)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise LabelConfigInvalid(
            f"<Video> {video.get('name', '')!r} has framerate={given!r}.",
            'Allowed: frames a second of the file, as in framerate="25".',
        )
    return rate


def _fingerprint(controls: list[Control]) -> str:
    """Digest of all that predictions depend on.

    Sorted by name throughout: moving a label up in the list is styling, and must not have
    a whole project predicted again. ``smart`` and skipped controls change no prediction.
    """
    described = [
        {
            "name": control.name,
            "kind": control.kind,
            "geometry_name": control.geometry_name,
            "to_name": control.to_name,
            "data_key": control.data_key,
            "is_list": control.is_list,
            "per_item": control.per_item,
            "labels": sorted([label.value, sorted(label.names)] for label in control.labels),
            "dynamic_labels_key": control.dynamic_labels_key,
            "multiple": control.multiple,
            "score_threshold": control.options.score_threshold,
            "max_boxes": control.options.max_boxes,
            "saliency": control.options.saliency,
            "box_rule": control.options.box_rule,
            "extra": dict(control.options.extra),
            # Left out where there is none: the digest of such a configuration stays what it was.
            **({"values": asdict(control.values)} if control.values is not None else {}),
            **({"framerate": control.framerate} if control.framerate is not None else {}),
            **({"video_way": control.options.video_way} if control.options.video_way else {}),
            **({"looks_fps": control.options.looks_fps} if control.options.looks_fps else {}),
        }
        for control in sorted(controls, key=lambda control: control.name)
        if not control.options.skip
    ]
    text = json.dumps([_FINGERPRINT_SCHEMA, described], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
