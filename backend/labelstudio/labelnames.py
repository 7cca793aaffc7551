"""Names of labels: what Label Studio stores beside what a model may call it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from backend.errors import LabelConfigInvalid

_END = object()


@dataclass(frozen=True, slots=True)
class LabelName:
    """One label or choice.

    value: what Label Studio stores, the alias where one is given.
    names: what a model may call it: ``predicted_values``, else display value plus alias.
    """

    value: str
    names: tuple[str, ...]


def read_labels(control_name: str, elements: Iterable[Element]) -> tuple[LabelName, ...]:
    """Labels of the ``<Label>`` or ``<Choice>`` elements of a control, in their order.

    Raises: LabelConfigInvalid where an element has neither value nor alias.
    """
    return merge_labels(_from_element(control_name, element) for element in elements)


def read_dynamic_labels(entries: Any) -> tuple[LabelName, ...]:
    """Labels out of a task's data: ``[{"value": "Cat", "alias": "c", "children": [...]}]``.

    Plain strings serve as well. Entries without a usable value are left out, as the
    editor does: one bad task must not take the prediction from its neighbours.
    """
    return merge_labels(_from_entries(entries))


def merge_labels(labels: Iterable[LabelName]) -> tuple[LabelName, ...]:
    """Each stored value once, at its first place, with the names of all its mentions."""
    names: dict[str, dict[str, None]] = {}
    for label in labels:
        names.setdefault(label.value, {}).update(dict.fromkeys(label.names))
    return tuple(LabelName(value, tuple(called)) for value, called in names.items())


def _from_element(control_name: str, element: Element) -> LabelName:
    value, alias = element.get("value") or "", element.get("alias") or ""
    if not value and not alias:
        raise LabelConfigInvalid(
            f"A <{element.tag}> of control {control_name!r} has no value.",
            'Give it one: value="…".',
        )
    return _label(value, alias, element.get("predicted_values") or "")


def _from_entries(entries: Any) -> Iterator[LabelName]:
    waiting = [iter(entries if isinstance(entries, list) else [])]
    while waiting:  # a stack of its own: nesting comes from task data
        entry = next(waiting[-1], _END)
        if entry is _END:
            waiting.pop()
        elif isinstance(entry, str) and entry:
            yield _label(entry, "", "")
        elif isinstance(entry, Mapping):
            value, alias = (_text(entry.get(key)) for key in ("value", "alias"))
            if value or alias:
                yield _label(value, alias, _text(entry.get("predicted_values")))
            if isinstance(children := entry.get("children"), list):
                waiting.append(iter(children))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _label(value: str, alias: str, predicted_values: str) -> LabelName:
    wanted = [part.strip() for part in predicted_values.split(",") if part.strip()]
    names = wanted or [name for name in (value, alias) if name]
    return LabelName(alias or value, tuple(dict.fromkeys(names)))
