"""A trained student as weights of the product, with its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from backend.evaluation.distil.checkpoint import RunState
from backend.evaluation.distil.student import STUDENT_STAGES

STATISTICS = ("running_mean", "running_var")


def to_half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions and the linear layer as float16; vectors (normalisation, biases) float32."""
    return {
        name: (value.half() if value.ndim > 1 else value.float()).contiguous()
        for name, value in state.items()
        if value.is_floating_point()
    }


def export(state: RunState, out: Path, card: dict[str, Any]) -> int:
    """Writes out (safetensors) and the JSON card beside it; returns the bytes of out.

    The running average is exported. card: what is known about data and accuracy; steps,
    images and the architecture are added.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    architecture = {
        "torchvision": "mobilenet_v2",
        "inverted_residual_setting": [list(row) for row in STUDENT_STAGES],
    }
    tensors = to_half(state.average)
    metadata = {"architecture": json.dumps(architecture)}
    safetensors.torch.save_file(tensors, out, metadata=metadata)
    out.chmod(0o644)  # safetensors writes for the owner alone; weights are for everyone
    full = {
        "architecture": architecture,
        "parameters": sum(
            value.numel() for name, value in tensors.items() if not name.endswith(STATISTICS)
        ),
        "training": {
            "steps": state.steps,
            "images": state.images,
            "hours": round(state.elapsed_s / 3600, 2),
            "start": state.notes.get("start", ""),
            "torch": torch.__version__,
        },
        **card,
    }
    text = json.dumps(full, indent=2, ensure_ascii=False)
    out.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    return out.stat().st_size
