"""The XML of a labelling configuration, read safely, with what its tags refer to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from backend.errors import LabelConfigInvalid

CONFIG_CHARS = 2_000_000
"""Longest configuration read: some twenty thousand labels."""

MOST_LEVELS = 100
"""Deepest nesting read; every control looks through all that lies inside it."""

VIDEO_SHAPE = "VideoRectangle"
SHAPE_TAGS = ("Rectangle", "Polygon", "Brush", "Ellipse", "KeyPoint", VIDEO_SHAPE)
"""Tags that draw without naming; a rectangle counts before others on one picture."""

_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_DATA_KEY = re.compile(r"\$([^\s.{}\[\]]+)")


class ConfigTree:
    """Elements of a configuration, and the objects and shapes that others point to.

    elements: in document order, without what a Repeater multiplies.
    images, videos: the ``<Image>`` and ``<Video>`` tags by name.
    shapes: tag and name of the control that draws what ``<Labels>`` names on an object, by
    the object's name: its first ``<Rectangle>``, else its first of another shape.
    """

    def __init__(self, xml: str) -> None:
        self.elements = list(_walk(_parse(xml)))
        self._names = {name for element in self.elements if (name := element.get("name"))}
        self.images = self._named("Image")
        self.videos = self._named("Video")
        self.shapes: dict[str, tuple[str, str]] = {}
        for tag in SHAPE_TAGS:
            for element in (one for one in self.elements if one.tag == tag):
                drawn_on = self.video_of if tag == VIDEO_SHAPE else self.image_of
                if (name := drawn_on(element)) is not None:
                    self.shapes.setdefault(name, (tag, required(element, "name")))

    def _named(self, tag: str) -> dict[str, Element]:
        return {name: one for one in self.elements if one.tag == tag and (name := one.get("name"))}

    def image_of(self, control: Element) -> str | None:
        """Name of the Image the control is about, None if it is about something else.

        ``toName="a,b"`` compares several objects; the first Image of them counts.
        Raises: LabelConfigInvalid where toName is missing or names nothing.
        """
        return self._object_of(control, self.images)

    def video_of(self, control: Element) -> str | None:
        """The same of Videos."""
        return self._object_of(control, self.videos)

    def _object_of(self, control: Element, objects: Mapping[str, Element]) -> str | None:
        to_names = [name.strip() for name in required(control, "toName").split(",")]
        for name in to_names:
            if name not in self._names:
                raise LabelConfigInvalid(
                    f"<{control.tag}> {control.get('name', '')!r} has toName={name!r}, "
                    "but nothing has that name.",
                    'Write the name of the picture there, as in <Image name="image" …/>.',
                )
        return next((name for name in to_names if name in objects), None)

    def address_key(self, name: str) -> tuple[str, bool]:
        """Key of the task's data that holds the address of an Image or Video; whether it is a
        list of them.
        """
        element = self.images[name] if name in self.images else self.videos[name]
        if element.get("valueList"):
            return data_key(element, "valueList"), True
        return data_key(element, "value"), False


def required(element: Element, attribute: str) -> str:
    """The attribute's text. Raises: LabelConfigInvalid where it is missing or empty."""
    value = element.get(attribute)
    if not value:
        raise LabelConfigInvalid(
            f"A <{element.tag}> has no {attribute}.", f'Add {attribute}="…" to it.'
        )
    return value


def data_key(element: Element, attribute: str) -> str:
    """``image`` out of ``value="$image"``.

    Raises: LabelConfigInvalid for anything but one key of the task's data.
    """
    value = required(element, attribute)
    if match := _DATA_KEY.fullmatch(value.strip()):
        return match.group(1)
    raise LabelConfigInvalid(
        f"<{element.tag}> {element.get('name', '')!r} has {attribute}={value!r}.",
        f'Allowed: one key of the task\'s data, as in {attribute}="$image".',
    )


def _parse(xml: str) -> Element:
    if len(xml) > CONFIG_CHARS:
        raise LabelConfigInvalid(
            f"The labelling configuration has {len(xml)} characters.",
            f"Up to {CONFIG_CHARS} are read; put long lists of labels into the task's data "
            'with value="$labels".',
        )
    # The text is decoded already: a declaration of another encoding would only mislead.
    # Looked for at the start alone: a search would begin anew at each of a million "<?xml".
    declared = _DECLARATION.match(xml)
    text = xml[declared.end() :] if declared else xml
    try:
        root: Element = defusedxml.ElementTree.fromstring(text, forbid_dtd=True)
    except DefusedXmlException as error:
        raise LabelConfigInvalid(
            "The labelling configuration declares a document type or entities.",
            "Remove the <!DOCTYPE …> part; it is not needed.",
        ) from error
    except (ParseError, ValueError) as error:  # ValueError: a lone surrogate
        raise LabelConfigInvalid(
            f"The labelling configuration is not XML: {error}.",
            "Label Studio shows the place under Settings, Labeling Interface, Code.",
        ) from error
    return root


def _walk(root: Element) -> Iterator[Element]:
    # Inside a Repeater names hold an unexpanded {{idx}}; only the Repeater itself is given.
    waiting = [(root, 1)]
    while waiting:
        element, level = waiting.pop()
        if level > MOST_LEVELS:
            raise LabelConfigInvalid(
                f"The labelling configuration nests deeper than {MOST_LEVELS} levels.",
                "Take out views that only hold another view.",
            )
        yield element
        if element.tag != "Repeater":
            waiting.extend((child, level + 1) for child in reversed(element))
