"""Any method's maps averaged over mirrored and resized views of the pictures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked, resized
from backend.vision.options import NO_OPTIONS, read_options, several, yes_no
from backend.vision.saliency.stretch import to_saliency

if TYPE_CHECKING:  # the registry wraps every method in ``averaged``
    from backend.vision.saliency.registry import Draw, Target


@dataclass(frozen=True, slots=True)
class Views:
    """How often a picture is looked at for one map; every method has these options.

    flip: mirrored left to right as well. scales: sides of the view, as multiples of the
    side at which the backbone looked. The defaults are the look that was taken already.
    """

    flip: bool = yes_no(False)
    scales: tuple[float, ...] = several((1.0,), 0.25, 4, 8)


def averaged(draw: Draw) -> Draw:
    """The same method, which draws the mean over the views that its options ask for.

    Each view's map is unmirrored and brought to the finest grid among them, bilinearly.
    Maps are stretched before the mean, so that each view has one say, and after it.
    With the defaults of ``Views`` nothing is looked at again and the map is the method's
    own, bit for bit. A method that works at a side of its own (the gradients: 224 pixels)
    brings larger views back to it.
    Source: test-time augmentation as in Simonyan and Zisserman 2015, section 3.2, there
    for class scores. Cost: a forward pass and a map a view.
    """

    def draw_views(
        looked: Looked, target: Target, given: Mapping[str, str] = NO_OPTIONS
    ) -> SaliencyMap:
        views = read_options(Views, given)
        if views == Views():
            return draw(looked, target, given)
        maps = []
        for scale, mirrored in itertools.product(views.scales, (False, True)[: 1 + views.flip]):
            drawn = draw(seen_again(looked, scale, mirrored), target, given).values_bhw
            upright = torch.from_numpy(drawn)
            maps.append(upright.flip(2) if mirrored else upright)
        return to_saliency(_mean_on_finest(maps))

    return draw_views


def seen_again(looked: Looked, scale: float, mirrored: bool) -> Looked:
    """What the backbone makes of the same pictures at another side, or mirrored.

    scale: of the side at which the features were taken, to whole cells, one at least.
    """
    if scale == 1 and not mirrored:
        return looked
    backbone, stride = looked.backbone, looked.backbone.stride
    side = looked.features.size_px
    if scale != 1:
        side = max(round(side * scale / stride), 1) * stride
    images = resized(looked.images_u8, side)
    if mirrored:
        images = images.flip(3)
    features = backbone.features(images)
    return Looked(backbone, images, features, backbone.logits(features))


def _mean_on_finest(maps: list[Tensor]) -> Tensor:
    """(B, h, w) mean of maps (B, h_i, w_i) with h and w the largest among them."""
    size_hw = max(one.shape[1] for one in maps), max(one.shape[2] for one in maps)
    on_grid = [F.interpolate(one[:, None], size_hw, mode="bilinear")[:, 0] for one in maps]
    return torch.stack(on_grid).mean(0)
