"""Which pictures a task asks for, read off its data by the labelling configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.errors import MediaMissing, MediaTooLarge
from backend.labelstudio.labelspec import Control, LabelName, LabelSpec

MOST_PICTURES = 1000
"""Pictures of one task and control; a list in a task's data may hold a million addresses."""


@dataclass(frozen=True, slots=True)
class Look:
    """One picture, or video, seen through one control of one task.

    item_index: place in the list where the task's data holds one, else None.
    labels: the control's labels on this task.
    """

    address: str
    control: Control
    item_index: int | None
    labels: tuple[LabelName, ...]


def looks_of(spec: LabelSpec, data: Mapping[str, Any]) -> list[Look]:
    """Every picture and control of a task, in the configuration's order; videos are ``films_of``.

    Raises: MediaMissing where data has not the address that a control needs; MediaTooLarge
        for more than MOST_PICTURES.
    """
    return [
        Look(address, control, index, spec.labels_for(control, data))
        for control in spec.active
        if not control.of_video
        for index, address in _addresses(control, data)
    ]


def films_of(spec: LabelSpec, data: Mapping[str, Any]) -> list[Look]:
    """Every video and control of a task, in the configuration's order. Raises: as looks_of."""
    return [
        Look(address, control, None, spec.labels_for(control, data))
        for control in spec.films
        for _, address in _addresses(control, data)
    ]


def reduce_data(spec: LabelSpec, data: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a task's data on which its prediction depends."""
    keys = set(spec.data_keys)
    keys.update(c.dynamic_labels_key for c in spec.active if c.dynamic_labels_key)
    return {key: data[key] for key in sorted(keys) if key in data}


def _addresses(control: Control, data: Mapping[str, Any]) -> list[tuple[int | None, str]]:
    value = data.get(control.data_key)
    if isinstance(value, str) and value.strip():
        # Label Studio imports a lone address where a list is meant, and shows it as one item.
        return [(0 if control.is_list else None, value)]
    if control.is_list and isinstance(value, list) and value:
        if len(value) > MOST_PICTURES:
            raise MediaTooLarge(
                f"The task's data has {len(value)} pictures under {control.data_key!r}.",
                f"Split it: a task may have {MOST_PICTURES}.",
            )
        if all(isinstance(item, str) and item.strip() for item in value):
            return list(enumerate(value))
        raise MediaMissing(
            f"The task's data has a list under {control.data_key!r} with something else than "
            "addresses in it.",
            "Import the task again with one address an item.",
        )
    what = "is empty" if value in ("", [], None) and control.data_key in data else "is missing"
    if value not in ("", [], None):
        what = f"is {type(value).__name__}, not an address"
    raise MediaMissing(
        f"{control.data_key!r} of the task's data {what}.",
        "Import the task with the picture's address under that key, or correct the "
        "labelling configuration.",
    )
