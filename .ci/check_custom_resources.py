"""Custom resources of a manifest against the schemas of their definitions.

python .ci/check_custom_resources.py FOLDER_WITH_DEFINITIONS MANIFEST
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml


def objections(folder: Path, manifest: Path) -> tuple[int, list[str]]:
    """How many custom resources were looked at, and what is wrong with them."""
    schemas = dict(pair for path in folder.glob("*.yaml") for pair in _schemas(path))
    looked_at, found = 0, []
    for resource in yaml.safe_load_all(manifest.read_text("utf-8")):
        schema = schemas.get((resource["apiVersion"], resource["kind"]))
        if schema is None:
            continue
        looked_at += 1
        name = f"{resource['kind']} {resource['metadata']['name']}"
        errors = jsonschema.Draft7Validator(_closed(schema)).iter_errors(resource)
        found += [f"{name}: {error.json_path}: {error.message}" for error in errors]
    return looked_at, found


def _schemas(path: Path) -> list[tuple[tuple[str, str], dict[str, Any]]]:
    spec = yaml.safe_load(path.read_text("utf-8"))["spec"]
    return [
        (
            (f"{spec['group']}/{version['name']}", spec["names"]["kind"]),
            version["schema"]["openAPIV3Schema"],
        )
        for version in spec["versions"]
    ]


def _closed(schema: Any) -> Any:
    # The API server drops fields that a definition does not know; here they are mistakes.
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


if __name__ == "__main__":
    seen, wrong = objections(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.exit("\n".join(wrong) or (None if seen else "No resource there has a definition here."))
