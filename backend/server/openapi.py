"""The description of request bodies that routes read themselves.

FastAPI would parse a body into Python objects before validating it; the routes parse the
bytes straight into their model, so they describe it here.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that takes this model as JSON."""
    schema = model.model_json_schema(ref_template="#/{model}")
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _inlined(schema, schema.pop("$defs", {}))}},
        }
    }


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    # The models nest without recursion, so every reference can be replaced by its target.
    if isinstance(node, dict):
        if "$ref" in node:
            return _inlined(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
        return {name: _inlined(value, definitions) for name, value in node.items()}
    if isinstance(node, list):
        return [_inlined(value, definitions) for value in node]
    return node
