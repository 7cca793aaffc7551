"""What an annotator points at with a smart tool, read from the context of a /predict call.

Label Studio sends every rectangle drawn or point clicked so far with a control that has
``smart="true"``, and shows the regions of the answer until they are accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.domain import UNNAMED
from backend.errors import LabelConfigInvalid, RequestError
from backend.labelstudio.labelspec import Control, LabelSpec
from backend.labelstudio.numbers import finite_number
from backend.labelstudio.regions import original_size, read_regions

MOST_MARKS = 200
"""Clicks add up until they are accepted; nobody clicks so often."""

MOST_EARLIER = 200
"""Regions that are drawn already; of more the last ones count."""

_KIND = "keypointlabels"
_ANSWERING = ("rectangle", "polygon", "brush", "ellipse")
"""Shapes that show the extent of an object."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A rectangle or a point (both corners the same), in pixels of the oriented original.

    is_positive: False where the annotator says that this is not part of the object.
    """

    xyxy_px: tuple[float, float, float, float]
    is_positive: bool = True


@dataclass(frozen=True, slots=True)
class Interaction:
    """What is asked for: one object on one picture.

    control: name of the control that takes the answer. label: as Label Studio stores it,
    ``UNNAMED`` where the annotator is to choose. item_index: the picture of a valueList, 0
    for a single one. size_hw: of the picture that the marks refer to. earlier: hulls of what
    is drawn on it already, in its pixels.
    """

    control: str
    label: str
    item_index: int
    size_hw: tuple[int, int]
    marks: tuple[Mark, ...]
    earlier: tuple[tuple[float, float, float, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is queued."""
        return {
            "control": self.control,
            "label": self.label,
            "item_index": self.item_index,
            "size_hw": list(self.size_hw),
            "marks": [[*mark.xyxy_px, mark.is_positive] for mark in self.marks],
            "earlier": [list(hull) for hull in self.earlier],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Interaction:
        """Read back. Raises: KeyError, TypeError, ValueError where it is something else."""
        height, width = record["size_hw"]
        return cls(
            control=record["control"],
            label=record["label"],
            item_index=record["item_index"],
            size_hw=(height, width),
            marks=tuple(Mark((x0, y0, x1, y1), p) for x0, y0, x1, y1, p in record["marks"]),
            earlier=tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in record.get("earlier", ())),
        )


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A mark as it was drawn: on the Image to_name, with the control of this name."""

    mark: Mark
    name: str
    to_name: str
    item_index: int
    size_hw: tuple[int, int]
    label: str


def asked_context(context: Any) -> Mapping[str, Any] | None:
    """A context that asks for one object; None for one without which the task is predicted.

    Raises: RequestError for a context of another form.
    """
    if context is None or context == {}:
        return None
    regions = context.get("result") if isinstance(context, Mapping) else None
    if not isinstance(regions, list) or len(regions) > MOST_MARKS:
        raise RequestError(
            f"params.context must hold at most {MOST_MARKS} regions under `result`.",
            "Send what Label Studio's smart tools send, or leave the context out.",
        )
    return {"result": regions}


def drawn_already(drafts: Any, annotations: Any) -> list[Any]:
    """Regions, unparsed, that the annotator who asks has drawn on the task, as far as is told.

    drafts: of the task, which Label Studio sends of this annotator alone: the newest one. Only
    without any an annotation counts, if there is one and no other: whose they are is not told.
    """
    own = [one for one in drafts if isinstance(one, Mapping)] if isinstance(drafts, list) else []
    if own:
        newest = max(own, key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""))
        return _last_regions(newest)
    given = annotations if isinstance(annotations, list) else []
    submitted = [
        one for one in given if isinstance(one, Mapping) and one.get("was_cancelled") is not True
    ]
    return _last_regions(submitted[0]) if len(submitted) == 1 else []


def _last_regions(annotation: Mapping[str, Any]) -> list[Any]:
    regions = annotation.get("result")
    return regions[-MOST_EARLIER:] if isinstance(regions, list) else []


def read_interaction(
    context: Mapping[str, Any], spec: LabelSpec, task_data: Mapping[str, Any]
) -> Interaction | None:
    """What the last mark asks for, with all marks on the same picture.

    None where nothing is marked as being there: no region, negative points alone, regions
    of other kinds, or on a picture the annotator had turned. The answer goes to a control
    of that picture that draws the extent of things: first one that has the mark's label, then
    one that the mark itself was not drawn with; it bears the mark's label, else the control's
    only one. What the context has under ``earlier`` is drawn already, the marks aside.
    Raises: LabelConfigInvalid where no control takes the extent of things of that picture.
    """
    drawn = [one for region in context["result"] if (one := _drawn(region, spec)) is not None]
    if not any(one.mark.is_positive for one in drawn):
        return None
    last = drawn[-1]
    here = [
        one for one in drawn if (one.to_name, one.item_index) == (last.to_name, last.item_index)
    ]
    control, label = _answering(last, spec, task_data)
    marks = tuple(one.mark for one in here)
    earlier = _earlier(context, spec, last)
    return Interaction(control.name, label, last.item_index, last.size_hw, marks, earlier)


def _earlier(
    context: Mapping[str, Any], spec: LabelSpec, last: _Drawn
) -> tuple[tuple[float, float, float, float], ...]:
    """Hulls of what is drawn on the picture of the last mark, in pixels of its size."""
    asking = {region.get("id") for region in context["result"] if isinstance(region, Mapping)}
    pictures = {control.name: control.to_name for control in spec.controls}
    hulls: dict[tuple[float, float, float, float], None] = {}
    for one in read_regions(context.get("earlier", []), spec):
        place = (pictures[one.control], one.item_index)
        if place != (last.to_name, last.item_index) or one.is_point or one.id in asking:
            continue
        down, across = (
            asked / drawn for asked, drawn in zip(last.size_hw, one.size_hw, strict=True)
        )
        x0, y0, x1, y1 = one.xyxy_px
        # What is painted in several strokes is several regions, and shapes may repeat.
        hulls[x0 * across, y0 * down, x1 * across, y1 * down] = None
    return tuple(hulls)


def _answering(last: _Drawn, spec: LabelSpec, task_data: Mapping[str, Any]) -> tuple[Control, str]:
    """The control that takes the answer, and its label."""
    takers = [one for one in spec.active if one.shape in _ANSWERING and one.to_name == last.to_name]
    if not takers:
        raise LabelConfigInvalid(
            f"A smart tool marked the picture {last.to_name!r}, and no control takes its boxes.",
            f'Add <RectangleLabels toName="{last.to_name}" …> to the labelling configuration.',
        )
    labels = {
        one.name: [label.value for label in spec.labels_for(one, task_data)] for one in takers
    }
    # What asked is thrown away by the editor, so another control had better answer.
    best = min(takers, key=lambda one: (last.label not in labels[one.name], one.name == last.name))
    known = labels[best.name]
    if last.label in known:
        return best, last.label
    return best, known[0] if len(known) == 1 else UNNAMED


def _drawn(region: Any, spec: LabelSpec) -> _Drawn | None:
    """A region as a mark; None for one that says nothing of a picture as the model sees it."""
    if not isinstance(region, Mapping):
        return None
    if region.get("type") == _KIND:
        return _point(region, spec)
    pictures = {control.name: control.to_name for control in spec.controls}
    for read in read_regions([region], spec):
        to_name = pictures[read.control]
        mark = Mark(read.xyxy_px)
        return _Drawn(mark, read.control, to_name, read.item_index, read.size_hw, read.label)
    return None


def _point(region: Mapping[str, Any], spec: LabelSpec) -> _Drawn | None:
    name, value, size = region.get("from_name"), region.get("value"), original_size(region)
    to_name = spec.pointers.get(name) if isinstance(name, str) else None
    turned = finite_number(region.get("image_rotation"))
    if to_name is None or size is None or not isinstance(value, Mapping) or turned:
        return None
    x, y = finite_number(value.get("x")), finite_number(value.get("y"))
    if x is None or y is None:
        return None
    left, top = (min(max(part, 0.0), 100.0) / 100 for part in (x, y))
    place = (left * size[1], top * size[0])
    mark = Mark((*place, *place), region.get("is_positive") is not False)
    labels, item_index = value.get(_KIND), region.get("item_index")
    label = labels[0] if isinstance(labels, list) and labels else UNNAMED
    return _Drawn(
        mark,
        str(name),
        to_name,
        item_index if isinstance(item_index, int) and item_index > 0 else 0,
        size,
        label if isinstance(label, str) else UNNAMED,
    )
