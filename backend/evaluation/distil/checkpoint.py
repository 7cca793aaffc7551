"""The whole state of a training run in one file, written atomically."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from backend.errors import WeightsUnavailable
from backend.evaluation.distil.schedule import Schedule

FORMAT = 1


@dataclass
class RunState:
    """What must survive an interruption.

    model, average: state dictionaries of the student and of its running average.
    extra: of map scale and box readers. optimizer: as torch gives it. rng: CPU generator.
    steps, images, elapsed_s: done so far, over all sessions of the run.
    """

    model: dict[str, Any]
    average: dict[str, Any]
    extra: dict[str, Any]
    optimizer: dict[str, Any]
    rng: torch.Tensor
    schedule: Schedule
    steps: int
    images: int
    elapsed_s: float
    notes: dict[str, Any]


def save(path: Path, state: RunState) -> None:
    """Writes beside path first, so that a crash leaves the previous file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = {**vars(state), "schedule": asdict(state.schedule), "format": FORMAT}
    torch.save(content, partial)
    partial.replace(path)


def load(path: Path) -> RunState:
    """The state saved at path; raises WeightsUnavailable where it cannot be read."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsUnavailable(
            f"The checkpoint {path} cannot be read ({type(error).__name__}).",
            "Start again with a new folder.",
        ) from error
    if content.pop("format", None) != FORMAT:
        raise WeightsUnavailable(f"{path} has another format.", "Start again with a new folder.")
    content["schedule"] = Schedule(**content["schedule"])
    return RunState(**content)
