"""Small dataclasses of arrays and numbers as named tensors, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]

T = TypeVar("T")


def metadata_of(data: bytes) -> dict[str, str]:
    """What stands beside the tensors of a safetensors file. Raises: ValueError, KeyError."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {str(name): str(value) for name, value in header["__metadata__"].items()}


def pack(name: str, value: Any) -> Tensors:
    """The fields of a dataclass as ``name/field``; numbers become arrays without axes."""
    return {
        f"{name}/{entry.name}": np.asarray(getattr(value, entry.name)) for entry in fields(value)
    }


def unpack(kind: type[T], name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> T:
    """The dataclass that ``pack`` took apart. Raises: KeyError for a missing field."""
    values: dict[str, Any] = {}
    for entry in fields(kind):  # type: ignore[arg-type]
        array = arrays[f"{name}/{entry.name}"]
        values[entry.name] = array.item() if array.ndim == 0 else array
    return kind(**values)
