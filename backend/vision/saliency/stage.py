"""Which of a backbone's stages a map is read from, by option."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from backend.errors import LabelConfigInvalid
from backend.vision.options import within


def stage_option() -> Any:
    """A dataclass field: stages counted back from the last cells, which are 0.

    Stages are the taps of ``backend.vision.taps``.
    """
    return within(0, 0, 4)


def stage_of(taps: tuple[Tensor, ...], stage: int) -> Tensor:
    """The tap, coarse last. Raises: LabelConfigInvalid where the backbone has fewer."""
    if stage >= len(taps):
        raise LabelConfigInvalid(
            f"model_stage={stage}: the backbone has no such stage.",
            f"Give a whole number from 0, the last cells, to {len(taps) - 1}.",
        )
    return taps[-1 - stage]
