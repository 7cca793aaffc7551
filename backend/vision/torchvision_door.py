"""The one place that imports torchvision, also beside a torch it was not compiled for.

PyPI's torchvision holds operators compiled against a CUDA torch. Beside a CPU-only torch
they cannot be loaded, and the import stops because two of them, ``nms`` and ``qnms``, are
given Python registrations that need a declared schema (pytorch/vision issue 9085). With
the two schemas declared, everything written in Python works: models, transforms, weights.
What stays out of reach (``ops.nms``, ``deform_conv2d``, ``io.decode_*``) is not used here.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import structlog
import torch

log = structlog.get_logger(__name__)

_UNGUARDED_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# torch forgets the schemas when the Library object that declared them is collected.
_declared: list[Any] = []


def load_torchvision() -> ModuleType:
    """torchvision, imported; the first call decides whether schemas must be declared.

    Declaring them beforehand would collide with operators that do load, so the plain
    import is tried first. Raises: whatever torchvision raises for any other reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error) or _declared:
            raise
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    _declared.append(library)
    for schema in _UNGUARDED_SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)
    log.info("torchvision_without_compiled_operators", usable="models, transforms, weights")
    return importlib.import_module("torchvision")
