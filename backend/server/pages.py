"""The page at /docs, made from the OpenAPI description.

FastAPI's own page loads its script from the internet and stays blank on a closed network.
This one is plain HTML with nothing to load.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.5 ui-monospace, monospace; background: #f3f3f3; border-radius: 4px }
code { padding: .1em .3em } pre { padding: .8em; overflow-x: auto }
h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem }
td, th { text-align: left; vertical-align: top; padding: .2em 1em .2em 0 }
"""


def render_docs(openapi: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI description."""
    info = openapi["info"]
    title = escape(f"{info['title']} {info['version']}")
    return "".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{STYLE}</style></head><body><h1>{title}</h1>",
            f"<p>{escape(info.get('description', ''))}</p>",
            '<p><a href="openapi.json">openapi.json</a> has the same for programs.</p>',
            *_operations(openapi),
            "</body></html>",
        ]
    )


def _operations(openapi: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
            yield f"<p><b>{escape(operation.get('summary', ''))}.</b></p>"
            for paragraph in operation.get("description", "").split("\n\n"):
                yield f"<p>{escape(paragraph)}</p>"
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body:
                yield f"<p>Body:</p><pre>{escape(_shape(body['schema'], openapi))}</pre>"
            yield "<table><tr><th>status</th><th>reply</th></tr>"
            for status, reply in operation["responses"].items():
                yield f"<tr><td>{escape(status)}</td><td>{escape(reply['description'])}"
                schema = reply.get("content", {}).get("application/json", {}).get("schema")
                if schema and int(status) < 300:
                    yield f"<pre>{escape(_shape(schema, openapi))}</pre>"
                yield "</td></tr>"
            yield "</table>"


def _shape(schema: Mapping[str, Any], openapi: Mapping[str, Any]) -> str:
    return json.dumps(_example(schema, openapi), indent=2, ensure_ascii=False)


def _example(schema: Mapping[str, Any], openapi: Mapping[str, Any]) -> Any:
    """A value of this schema: its own example, else one made of its members."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return _example(openapi["components"]["schemas"][name], openapi)
    if schema.get("examples"):
        return schema["examples"][0]
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], openapi)
    if "properties" in schema:
        return {name: _example(part, openapi) for name, part in schema["properties"].items()}
    if schema.get("type") == "array":
        items = schema.get("items") or {}
        return [_example(items, openapi)] if items else []
    if schema.get("type") == "object":
        return {}
    return schema.get("type")
