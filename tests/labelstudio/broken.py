"""Predictions that must not leave the backend, shared by our check and Label Studio's."""

from __future__ import annotations

import copy
from typing import Any

CONFIG = (
    '<View><Image name="img" value="$image"/><RectangleLabels name="rl" toName="img">'
    '<Label value="Dog" alias="dg"/><Label value="Cat"/></RectangleLabels>'
    '<Rectangle name="re" toName="img"/><Labels name="lb" toName="img"><Label value="A"/></Labels>'
    '<Choices name="ch" toName="img"><Choice value="day"/><Choice value="night"/></Choices>'
    '<Rating name="ra" toName="img"/><Number name="nu" toName="img" min="0" max="10" step=".5"/>'
    "</View>"
)
DATA = {"image": "a.png"}

_PICTURE = {
    "to_name": "img",
    "original_width": 640,
    "original_height": 480,
    "image_rotation": 0,
    "score": 0.5,
}
_GEOMETRY = {"x": 1.0, "y": 2.0, "width": 30.0, "height": 40.0, "rotation": 0}
GOOD: dict[str, Any] = {
    "result": [
        {
            "id": "a",
            "from_name": "rl",
            "type": "rectanglelabels",
            **_PICTURE,
            "value": {**_GEOMETRY, "rectanglelabels": ["dg"]},
        },
        {"id": "b", "from_name": "re", "type": "rectangle", **_PICTURE, "value": _GEOMETRY},
        {
            "id": "b",
            "from_name": "lb",
            "type": "labels",
            **_PICTURE,
            "value": {**_GEOMETRY, "labels": ["A"]},
        },
        {
            "id": "c",
            "from_name": "ch",
            "to_name": "img",
            "type": "choices",
            "score": 0.5,
            "value": {"choices": ["day"]},
        },
        {
            "id": "e",
            "from_name": "ra",
            "to_name": "img",
            "type": "rating",
            "score": 0.5,
            "value": {"rating": 4},
        },
        {
            "id": "f",
            "from_name": "nu",
            "to_name": "img",
            "type": "number",
            "score": 0.5,
            "value": {"number": 2.5},
        },
    ],
    "score": 0.5,
    "model_version": "v",
}

REMOVED = object()


def broken(*path_and_value: Any) -> dict[str, Any]:
    """GOOD with the value at the path replaced, or removed."""
    *path, last, value = path_and_value
    prediction = copy.deepcopy(GOOD)
    place: Any = prediction
    for step in path:
        place = place[step]
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    return prediction


# What Label Studio drops on import.
DROPPED: dict[str, dict[str, Any]] = {
    "unknown label": broken("result", 0, "value", "rectanglelabels", ["Cow"]),
    "label value where an alias exists": broken("result", 0, "value", "rectanglelabels", ["Dog"]),
    "unknown choice": broken("result", 3, "value", "choices", ["dusk"]),
    "rating as text": broken("result", 4, "value", "rating", "four"),
    "more stars than there are": broken("result", 4, "value", "rating", 6),
    "half a star": broken("result", 4, "value", "rating", 3.5),
    "number as text": broken("result", 5, "value", "number", "many"),
    "no number": broken("result", 5, "value", "number", REMOVED),
    "unknown from_name": broken("result", 0, "from_name", "zz"),
    "unknown to_name": broken("result", 0, "to_name", "zz"),
    "wrong type": broken("result", 0, "type", "polygonlabels"),
    "no from_name": broken("result", 0, "from_name", REMOVED),
    "no to_name": broken("result", 0, "to_name", REMOVED),
    "no type": broken("result", 0, "type", REMOVED),
    "no value": broken("result", 0, "value", REMOVED),
    "no label key": broken("result", 0, "value", "rectanglelabels", REMOVED),
    "x over 100": broken("result", 0, "value", "x", 100.5),
    "width over 100": broken("result", 1, "value", "width", 101),
    "null height": broken("result", 0, "value", "height", None),
    "null y": broken("result", 1, "value", "y", None),
    "choices as text": broken("result", 3, "value", "choices", "day"),
    "prediction score over 1": broken("score", 1.7),
    "prediction score below 0": broken("score", -1),
    "region is a text": broken("result", 0, "region"),
}

# What passes every check of Label Studio, and then looks or works wrong.
OURS: dict[str, dict[str, Any]] = {
    "negative x": broken("result", 0, "value", "x", -1),
    "no width": broken("result", 0, "value", "width", 0),
    "right of the picture": broken("result", 0, "value", "x", 80),
    "below the picture": broken("result", 0, "value", "y", 60.1),
    "x as text": broken("result", 0, "value", "x", "1"),
    "x not finite": broken("result", 0, "value", "x", float("nan")),
    "x as truth": broken("result", 0, "value", "x", True),
    "turned": broken("result", 0, "value", "rotation", 5),
    "picture turned": broken("result", 0, "image_rotation", 90),
    "no id": broken("result", 0, "id", REMOVED),
    "empty id": broken("result", 0, "id", ""),
    "no original_width": broken("result", 0, "original_width", REMOVED),
    "original_height of 0": broken("result", 0, "original_height", 0),
    "original_height as float": broken("result", 0, "original_height", 480.0),
    "region score over 1": broken("result", 0, "score", 1.4),
    "region score as text": broken("result", 0, "score", "x"),
    "no region score": broken("result", 3, "score", REMOVED),
    "origin": broken("result", 0, "origin", "manual"),
    "two labels": broken("result", 0, "value", "rectanglelabels", ["dg", "Cat"]),
    "label twice": broken("result", 0, "value", "rectanglelabels", ["dg", "dg"]),
    "pair without label": broken("result", 2, "value", "labels", []),
    "pair without rectangle": broken("result", 1, REMOVED),
    "pair in two places": broken("result", 2, "value", "x", 3.0),
    "ids shared by two kinds": broken("result", 3, "id", "a"),
    "id used twice": broken("result", [GOOD["result"][0], GOOD["result"][0]]),
    "no star": broken("result", 4, "value", "rating", 0),
    "two ratings": broken("result", [GOOD["result"][4], {**GOOD["result"][4], "id": "g"}]),
    "number beyond its range": broken("result", 5, "value", "number", 10.5),
    "number not finite": broken("result", 5, "value", "number", float("inf")),
    "number as truth": broken("result", 5, "value", "number", True),
    "geometry with a rating": broken("result", 4, "value", "x", 1),
    "two answers": broken("result", [GOOD["result"][3], {**GOOD["result"][3], "id": "d"}]),
    "both choices": broken("result", 3, "value", "choices", ["day", "night"]),
    "no choice": broken("result", 3, "value", "choices", []),
    "geometry with choices": broken("result", 3, "value", "x", 1),
    "item_index without a list": broken("result", 0, "item_index", 0),
    "prediction score not finite": broken("score", float("nan")),
    "prediction score as text": broken("score", "0.7"),
    "no prediction score": broken("score", REMOVED),
    "no model_version": broken("model_version", REMOVED),
    "empty model_version": broken("model_version", ""),
    "result is null": broken("result", None),
    "extra key": broken("cluster", 3),
}
