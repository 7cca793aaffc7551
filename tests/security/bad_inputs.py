"""Calls that no Label Studio makes, each with a name that says what is wrong with it."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.server.conftest import LABEL_CONFIG

IMAGE = '<Image name="image" value="$image"/>'
LABEL = '<Label value="Raccoon"/>'


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call. body: as it is sent."""

    name: str
    method: str
    path: str
    body: bytes = b""


def all_calls() -> Iterator[Call]:
    """Every bad call, the same ones in the same order each time."""
    yield from _methods()
    yield from _bodies()
    yield from _queries()
    for xml_name, xml in CONFIGS.items():
        call = {**PREDICT, "label_config": xml}
        yield _post(f"configuration {xml_name}", "/predict", call)
        yield _post(f"configuration {xml_name}", "/setup", {"project": "1", "schema": xml})
        yield _post(f"configuration {xml_name}", "/webhook", _updated(xml))
    for address_name, address in ADDRESSES.items():
        data = {"image": address}
        yield _post(f"address {address_name}", "/predict", {**PREDICT, "tasks": [{"data": data}]})
        yield _post(f"address {address_name}", "/webhook", _saved({"id": 5, "data": data}))
    yield from _changed("/predict", PREDICT)
    yield from _changed("/predict", {**PREDICT, **_CONTEXT}, only="params")
    yield from _changed("/setup", SETUP)
    for event in EVENTS:
        yield from event_calls(event)


def event_calls(event: dict[str, Any]) -> Iterator[Call]:
    """The bad calls that an event becomes."""
    return _changed("/webhook", event)


PREDICT: dict[str, Any] = {
    "tasks": [{"id": 12, "data": {"image": "/data/upload/1/eb82-a.png"}}],
    "project": "1.1795224262",
    "label_config": LABEL_CONFIG,
    "params": {"login": None, "password": None, "context": None},
}
_POINT = {
    "type": "keypointlabels", "from_name": "point", "to_name": "image", "is_positive": True,
    "original_width": 640, "original_height": 480, "image_rotation": 0,
    "value": {"x": 44.1, "y": 45.8, "width": 0.3, "keypointlabels": ["Raccoon"]},
}  # fmt: skip
_CONTEXT: dict[str, Any] = {
    "params": {"context": {"result": [_POINT]}},
    "label_config": f'<View>{IMAGE}<KeyPointLabels name="point" toName="image" smart="true">{LABEL}'
    f'</KeyPointLabels><RectangleLabels name="label" toName="image">{LABEL}</RectangleLabels>'
    "</View>",
}
SETUP: dict[str, Any] = {
    "project": "1.1795224262",
    "schema": LABEL_CONFIG,
    "hostname": "http://localhost:8080",
    "access_token": "0123456789",
    "extra_params": {"a": [1]},
}
_PROJECT = {"id": 1, "label_config": LABEL_CONFIG}


def _saved(task: Any) -> dict[str, Any]:
    region = {
        "id": "r1", "type": "rectanglelabels", "from_name": "label", "to_name": "image",
        "original_width": 640, "original_height": 480, "image_rotation": 0,
        "value": {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["Raccoon"]},
    }  # fmt: skip
    annotation = {
        "id": 3, "task": 5, "result": [region], "was_cancelled": False, "completed_by": 1,
        "updated_at": "2026-01-01T00:00:00Z", "lead_time": 4.5, "parent_prediction": 9,
        "prediction": {"id": 9, "model_version": "v", "result": [region]},
    }  # fmt: skip
    return {
        "action": "ANNOTATION_CREATED",
        "annotation": annotation,
        "task": task,
        "project": _PROJECT,
    }


def _updated(label_config: str) -> dict[str, Any]:
    return {"action": "PROJECT_UPDATED", "project": {"id": 1, "label_config": label_config}}


_TASK = {"id": 5, "data": {"image": "/5.png"}, "updated_at": "2026-01-01T00:00:00Z"}
EVENTS: tuple[dict[str, Any], ...] = (
    _saved(_TASK),
    {"action": "ANNOTATIONS_DELETED", "project": _PROJECT, "annotations": [{"id": 3}]},
    {"action": "TASKS_CREATED", "project": _PROJECT, "tasks": [_TASK]},
    {"action": "TASKS_DELETED", "project": _PROJECT, "tasks": [{"id": 5}]},
    {"action": "START_TRAINING", "project": _PROJECT},
    _updated(LABEL_CONFIG),
)

VALUES: tuple[Any, ...] = (
    None, True, -1, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "\x00", "\ud800",
    "../../etc/passwd", "a\r\nSet-Cookie: b=c", "${jndi:ldap://127.0.0.1/a}", "{{7*7}}",
    "x" * 10_000, [], {}, [None], {"": None}, {"__class__": "os"}, [[[[[]]]]],
)  # fmt: skip

_MANY = 20_000
CONFIGS: dict[str, str] = {
    "billion laughs": '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;">]><View>&c;</View>',
    "quadratic blow-up": f'<!DOCTYPE l [<!ENTITY a "{"a" * 50_000}">]><View>{"&a;" * 5000}</View>',
    "external entity": '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>',
    "external parameter entity": '<!DOCTYPE l [<!ENTITY % a SYSTEM "http://127.0.0.1/a">%a;]><V/>',
    "external document type": '<!DOCTYPE l SYSTEM "http://127.0.0.1/l.dtd"><View/>',
    "inclusion": '<View xmlns:xi="http://www.w3.org/2001/XInclude">'
    '<xi:include href="file:///etc/passwd" parse="text"/></View>',
    "style sheet": '<?xml version="1.0"?><?xml-stylesheet href="file:///etc/passwd"?><View/>',
    "script": f"<View><script>alert(1)</script><Style>*{{}}</Style>{IMAGE}</View>",
    "deep": "<View>" * _MANY + "</View>" * _MANY,
    "controls in controls": f"<View>{IMAGE}"
    + "".join(f'<Choices name="c{n}" toName="image">' for n in range(_MANY))
    + "</Choices>" * _MANY
    + "</View>",
    "declarations": "<?xml" * 300_000,
    "declaration without end": "<?xml" + " " * 1_500_000,
    "other encoding": '<?xml version="1.0" encoding="utf-7"?><View>+ADw-</View>',
    "huge name": f'<View>{IMAGE}<Choices name="{"n" * 1_000_000}" toName="nobody"/></View>',
    "huge toName": f'<View>{IMAGE}<Choices name="c" toName="{"n" * 1_000_000}"/></View>',
    "huge tag": f"<View>{IMAGE}<{'T' * 1_000_000} name='t' toName='image'/></View>",
    "huge key": f'<View><Image name="image" value="{"$k" * 500_000}"/></View>',
    "huge method": f'<View>{IMAGE}<RectangleLabels name="l" toName="image" model_saliency="'
    f'{"m" * 1_000_000}">{LABEL}</RectangleLabels></View>',
    "many pictures": f'<View>{IMAGE}<Choices name="c" toName="{"image," * 150_000}">'
    '<Choice value="a"/></Choices></View>',
    "many tags": "<View>" + "".join(f'<T{n} toName="i"/>' for n in range(_MANY)) + "</View>",
    "many labels": f'<View>{IMAGE}<RectangleLabels name="l" toName="image">'
    + LABEL * _MANY
    + "</RectangleLabels></View>",
    "number of 5000 digits": f'<View>{IMAGE}<Number name="n" toName="image" max="{"9" * 5000}"/>'
    "</View>",
    "infinite number": f'<View>{IMAGE}<Number name="n" toName="image" max="inf" step="0"/></View>',
    "endless rating": f'<View>{IMAGE}<Rating name="r" toName="image" maxRating="{10**30}"/></View>',
    "options that are none": f'<View>{IMAGE}<RectangleLabels name="l" toName="image" '
    'model_score_threshold="nan" model_max_boxes="-1" model_box_rule="../../a">'
    f"{LABEL}</RectangleLabels></View>",
    "two of one name": f'<View>{IMAGE}<Choices name="c" toName="image"/>'
    '<Choices name="c" toName="image"><Choice value="a"/></Choices></View>',
    "control characters": f'<View>{IMAGE}<Choices name="a&#10;b" toName="a&#13;&#10;X: y"/></View>',
    "nothing": " ",
    "zero byte": "<View>\x00</View>",
    "no XML": "PK\x03\x04 not XML at all",
    "too long": "<View>" + " " * 2_000_001,
}

ADDRESSES: dict[str, Any] = {
    "file": "file:///etc/passwd",
    "gopher": "gopher://127.0.0.1:6379/_FLUSHALL",
    "redis": "redis://127.0.0.1:6379/0",
    "unix": "unix:///var/run/docker.sock",
    "script": "javascript:alert(1)",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "metadata by name": "http://metadata.google.internal/computeMetadata/v1/",
    "loopback": "http://127.0.0.1:22/",
    "loopback as one number": "http://2130706433/",
    "loopback in octal": "http://0177.0.0.1/",
    "loopback in IPv6": "http://[::ffff:127.0.0.1]/",
    "scope of IPv6": "http://[fe80::1%25eth0]/",
    "user as host": "http://label.studio@127.0.0.1/",
    "backslash": "http://good.example\\@127.0.0.1/",
    "no host": "http:///a.png",
    "port beyond": "http://a.example:99999/",
    "port in words": "http://a.example:http/",
    "open bracket": "http://[::1/a.png",
    "line break": "http://a.example/\r\nHost: b",
    "traversal": "/data/local-files/?d=../../../../etc/passwd",
    "absolute": "/data/local-files/?d=/etc/passwd",
    "escaped traversal": "/data/upload/%2e%2e/%2e%2e/api/users",
    "other page of Label Studio": "/api/users",
    "windows": "C:\\Windows\\win.ini",
    "share": "\\\\127.0.0.1\\share\\a.png",
    "picture that is none": "data:image/png;base64,!!!!",
    "SVG": "data:image/svg+xml;base64,"
    + base64.b64encode(b'<svg onload="alert(1)"><image href="file:///a"/></svg>').decode(),
    "pickle": "data:image/png;base64," + base64.b64encode(b"\x80\x04cos\nsystem\n.").decode(),
    "long": "http://a.example/" + "a" * 1_000_000,
    "empty": "",
    "blank": "\u3000",
    "lone surrogate": "\ud800",
    "object": {"image": "a"},
    "list": ["a", ["b"]],
    "number": 5,
}


def _methods() -> Iterator[Call]:
    paths = (
        "/", "/health", "/healthz", "/setup", "/predict", "/webhook", "/versions", "/explain",
        "/jobs/x", "/jobs/x/retry", "/metrics", "/docs", "/openapi.json", "/nowhere", "//", "/.env",
        "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/..%2f..%2fetc/passwd", "/a%00b",
        "/%ff%fe", "/predict/", "/PREDICT", "/jobs/..%2f..", "/docs/../metrics", "/admin",
        "/a" * 2000,
    )  # fmt: skip
    for path in paths:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"):
            # What may succeed is no bad input.
            if (method, path) not in _GOOD:
                yield Call(f"{method} of {path[:40]}", method, path)


_GOOD = {
    ("GET", path)
    for path in ("/", "/health", "/healthz", "/versions", "/metrics", "/docs", "/openapi.json")
}


def _bodies() -> Iterator[Call]:
    deep = b"[" * 100_000
    texts = {
        "empty": b"",
        "form": b"tasks=1&project=2",
        "cut": b'{"tasks":[',
        "deep lists": deep,
        "deep objects": b'{"a":' * 100_000,
        "deep and closed": deep + b"]" * 100_000,
        "not UTF-8": b'{"tasks":[],"project":"\xff\xfe"}',
        "UTF-16": '{"tasks":[]}'.encode("utf-16"),
        "byte order mark": b'\xef\xbb\xbf{"tasks":[]}',
        "lone surrogate": b'{"tasks":[],"project":"\\ud800"}',
        "huge number": b'{"tasks":[{"id":1,"data":{"a":' + b"9" * 5000 + b"}}]}",
        "huge exponent": b'{"tasks":[{"id":1e99999,"data":{}}]}',
        "twice the same member": b'{"tasks":[],"tasks":5}',
        "many members": b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}",
        "zero bytes": b"\x00" * 1000,
        "pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
        "zip": b"PK\x03\x04" + bytes(100),
        "gzip": b"\x1f\x8b\x08\x00" + bytes(100),
        "XML": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "null": b"null",
        "number": b"5",
        "text": b'"tasks"',
        "too large": b" " * 1_000_001,
    }
    for name, body in texts.items():
        for path in ("/predict", "/setup", "/webhook"):
            yield Call(f"body {name}", "POST", path, body)


def _queries() -> Iterator[Call]:
    for value in (
        "", "0", "-1", "1.5", "9" * 30, "1%00", "../1", "1%20OR%201=1", "%F0%9F%A6%9D", "NaN",
        "0x1", "1&project=2", "a" * 5000,
    ):  # fmt: skip
        for query in (f"project={value}&task=1", f"project=1&task={value}"):
            yield Call(f"query {query[:40]}", "GET", f"/explain?{query}")
    for method in ("", "..%2F..%2Fetc", "__import__('os')", "a" * 65, "cam%0A", "%00", "cam;ls"):
        yield Call(f"method {method}", "GET", f"/explain?project=1&task=1&method={method}")
    yield Call("long label", "GET", f"/explain?project=1&task=1&label={'l' * 201}")
    for job in ("%2e%2e", "a%2Fb", "a" * 129, "*", "%00", "rq:job:1", "a%0Ab", "%C3%A9", "lsb%3A1"):
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/retry")):
            yield Call(f"job {job[:20]}", method, f"/jobs/{job}{path}")


def _changed(path: str, good: dict[str, Any], only: str = "") -> Iterator[Call]:
    """Every member of a good call replaced by every bad value, one at a time, and left out.

    only: the member of the call inside which this is done, all of it where not given.
    """
    for steps in _steps(good):
        if only and steps[0] != only:
            continue
        name = ".".join(map(str, steps))
        for value in VALUES:
            changed = copy.deepcopy(good)
            _parent(changed, steps)[steps[-1]] = value
            yield _post(f"{name} = {str(value)[:20]!r}", path, changed)
        without = copy.deepcopy(good)
        del _parent(without, steps)[steps[-1]]
        yield _post(f"without {name}", path, without)


def _steps(node: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*before, key)
        if isinstance(value, dict | list):
            yield from _steps(value, (*before, key))


def _parent(node: Any, steps: tuple[Any, ...]) -> Any:
    for step in steps[:-1]:
        node = node[step]
    return node


def _post(name: str, path: str, value: Any) -> Call:
    # As Label Studio writes: NaN, infinities and lone surrogates included.
    return Call(name, "POST", path, json.dumps(value).encode())
