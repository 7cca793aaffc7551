"""A trained student as the weights file of the product."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor


def to_half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions and the linear layer as float16; vectors (normalisation, biases) float32."""
    return {
        name: (value.half() if value.ndim > 1 else value.float()).contiguous()
        for name, value in state.items()
        if value.is_floating_point()
    }


def write_weights(state: Mapping[str, Tensor], out: Path) -> bytes:
    """Write out as safetensors in half precision; returns its content."""
    content: bytes = safetensors.torch.save(to_half(state))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(content)
    return content
