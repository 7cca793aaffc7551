"""The XML of a labelling configuration, read safely, with what its tags refer to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from backend.errors import LabelConfigInvalid

CONFIG_CHARS = 2_000_000
"""Longest configuration read: some twenty thousand labels."""

_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_DATA_KEY = re.compile(r"\$([^\s.{}\[\]]+)")


class ConfigTree:
    """Elements of a configuration and the Images and Rectangles others point to.

    elements: in document order, without what a Repeater multiplies.
    images: the ``<Image>`` tags by name.
    rectangles: name of the first ``<Rectangle>`` on each Image, by the Image's name.
    """

    def __init__(self, xml: str) -> None:
        self.elements = list(_walk(_parse(xml)))
        self._names = {name for element in self.elements if (name := element.get("name"))}
        self.images: dict[str, Element] = {}
        for element in self.elements:
            if element.tag == "Image" and (name := element.get("name")):
                self.images[name] = element
        self.rectangles: dict[str, str] = {}
        for element in self.elements:
            if element.tag == "Rectangle" and (image := self.image_of(element)) is not None:
                self.rectangles.setdefault(image, required(element, "name"))

    def image_of(self, control: Element) -> str | None:
        """Name of the Image the control is about, None if it is about something else.

        ``toName="a,b"`` compares several objects; the first Image of them counts.
        Raises: LabelConfigInvalid where toName is missing or names nothing.
        """
        to_names = [name.strip() for name in required(control, "toName").split(",")]
        for name in to_names:
            if name not in self._names:
                raise LabelConfigInvalid(
                    f"<{control.tag}> {control.get('name', '')!r} has toName={name!r}, "
                    "but nothing has that name.",
                    'Write the name of the picture there, as in <Image name="image" …/>.',
                )
        return next((name for name in to_names if name in self.images), None)

    def picture_key(self, image: str) -> tuple[str, bool]:
        """Key of the task's data that holds the Image's address; whether it is a list of them."""
        element = self.images[image]
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
    text = _DECLARATION.sub("", xml, count=1) if xml.lstrip().startswith("<?xml") else xml
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
    waiting = [root]
    while waiting:
        element = waiting.pop()
        yield element
        if element.tag != "Repeater":
            waiting.extend(reversed(element))
