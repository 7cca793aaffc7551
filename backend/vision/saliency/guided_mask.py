"""The gradient of the pixels that could be observed, and of no others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.domain import SaliencyMap
from backend.errors import LabelConfigInvalid, ShapeError
from backend.vision.look import Looked
from backend.vision.options import boxes_pct, one_of, yes_no
from backend.vision.saliency import attribution
from backend.vision.saliency.gradient import GradientOptions, attributed, one_channel
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.stretch import to_saliency


@dataclass(frozen=True, slots=True)
class GuidedMaskOptions:
    """observable: rectangles whose pixels can be observed; none given: all pixels.

    channels, of: as in ``GradientOptions``. flip: see ``averaged.Views``; a mirrored view
    would need mirrored rectangles, so the two do not go together.
    """

    observable: tuple[tuple[float, ...], ...] = boxes_pct()
    channels: str = one_of("strongest", "sum")
    of: str = one_of("score", "loss")
    flip: bool = yes_no(False)

    def __post_init__(self) -> None:
        if self.observable and self.flip:
            raise LabelConfigInvalid(
                "model_observable and model_flip cannot be used together.", "Leave one of them out."
            )


@saliency("guided_mask", box_rule="quantile_grabcut", options=GuidedMaskOptions)
def guided_mask(looked: Looked, target: Target, options: GuidedMaskOptions) -> SaliencyMap:
    """``gradient`` inside the rectangles of the options, 0 outside."""
    side = looked.images_u8.shape[-1]
    inside = torch.ones((side, side), dtype=torch.bool)
    if options.observable:
        inside = inside_boxes(options.observable, side)
    return gradient_within(
        looked,
        target,
        inside.expand(len(looked), -1, -1),
        GradientOptions(channels=options.channels, of=options.of),
    )


def gradient_within(
    looked: Looked,
    target: Target,
    observable_bhw: Tensor,
    options: GradientOptions = GradientOptions(),  # noqa: B008 - frozen
) -> SaliencyMap:
    """``gradient`` where pixels could be observed, 0 elsewhere, stretched.

    observable_bhw: (B, H, W) bool over the whole pictures, at any size; the nearest value
    counts. Signs are left out, because 0 would lie amid signed values.
    Raises: ShapeError for a mask of another shape or type.
    """
    if observable_bhw.ndim != 3 or observable_bhw.dtype != torch.bool:
        raise ShapeError(
            f"A mask must be (B, H, W) bool, got {tuple(observable_bhw.shape)} "
            f"{observable_bhw.dtype}."
        )
    if len(observable_bhw) != len(looked):
        raise ShapeError(f"{len(looked)} pictures were looked at, {len(observable_bhw)} masks.")
    slopes = attributed(looked, target, attribution.slope, of=options.of)
    seen = F.interpolate(
        observable_bhw[:, None].to(slopes), tuple(slopes.shape[2:]), mode="nearest-exact"
    )[:, 0].bool()
    unsigned = GradientOptions(channels=options.channels)
    return to_saliency(one_channel(attribution.guided_mask(slopes, seen), unsigned))


def inside_boxes(boxes_pct: tuple[tuple[float, ...], ...], side: int) -> Tensor:
    """(side, side) bool: pixels whose centre lies in one of the half-open rectangles."""
    centre = (torch.arange(side) + 0.5) * (100 / side)
    inside = torch.zeros((side, side), dtype=torch.bool)
    for x0, y0, x1, y1 in boxes_pct:
        inside |= ((y0 <= centre) & (centre < y1))[:, None] & ((x0 <= centre) & (centre < x1))
    return inside
