"""The feature channels on which a class rests, with the pictures that excite them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from backend.domain import FloatArray
from backend.errors import ConfigError, ShapeError
from backend.vision.architectures import PooledLinearHead
from backend.vision.look import Looked


@dataclass(frozen=True, slots=True)
class Unit:
    """One channel of the cells.

    weight: of the class, for the channel's mean over cells. share: what the channel adds
    to the class's score in the mean over the pictures. pictures: positions of those that
    excite it most, best first. excitation: its mean over the cells of each of them.
    maps_khw: (K, h, w) its cells there, all with one unit: 1 is the largest among them,
    0 is 0 and below.
    """

    channel: int
    weight: float
    share: float
    pictures: tuple[int, ...]
    excitation: tuple[float, ...]
    maps_khw: FloatArray


def units(
    looked: Looked, class_index: int, *, most: int = 6, examples: int = 4
) -> tuple[Unit, ...]:
    """The channels that add most to a class's score, largest share first.

    looked: at least one picture, as a rule of the class, by a backbone whose head is a
    mean over cells and a linear layer; ``Backbone.classifying`` makes one for the labels
    of a project, ``Looked.backbone`` then being that one. most, examples: upper limits;
    fewer where there are fewer channels or pictures. A channel of a negative weight can
    only come last.
    Source: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization",
    section 4.4. Differs: a channel ranks by its weight times its mean over the pictures
    instead of by the weight alone, so that one which no picture excites does not count.
    Cost: one pass over the cells. Raises: ConfigError for another head, ShapeError.
    """
    head = looked.backbone.head
    if not isinstance(head, PooledLinearHead):
        raise ConfigError(
            f"The head of {looked.backbone.identity.name} has no weight a channel: channels "
            "can be named only behind a mean over cells and a linear layer.",
            "Choose mobilenet_v2, resnet18, resnet50, efficientnet_b0, googlenet or embedded, "
            "or ask for a label of a trained head.",
        )
    cells = looked.features.cells_bchw
    if not len(cells) or not 0 <= class_index < len(head.linear.weight):
        raise ShapeError(
            f"Units need pictures and a class from 0 to {len(head.linear.weight) - 1}, got "
            f"{len(cells)} pictures and class {class_index}."
        )
    with torch.inference_mode():
        weight = head.linear.weight[class_index]
        excitation = cells.mean((2, 3))
        share = weight * excitation.mean(0)
        channels = share.topk(min(most, len(share))).indices
        best = excitation[:, channels].topk(min(examples, len(cells)), 0)
        found = []
        for at, channel in enumerate(channels.tolist()):
            rows = best.indices[:, at]
            maps = cells[rows, channel].clamp_min(0)
            maps = maps / maps.max().clamp_min(torch.finfo(maps.dtype).tiny)
            found.append(
                Unit(
                    channel,
                    float(weight[channel]),
                    float(share[channel]),
                    tuple(rows.tolist()),
                    tuple(best.values[:, at].tolist()),
                    np.ascontiguousarray(maps.cpu().numpy(), np.float32),
                )
            )
    return tuple(found)
