"""How much evidence for the target a patch holds beyond what its surroundings tell."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from backend.domain import SaliencyMap
from backend.vision.look import Looked
from backend.vision.options import within
from backend.vision.saliency.colour_field import Redraw
from backend.vision.saliency.masked import variant_logits, whole_logits
from backend.vision.saliency.registry import Target, saliency
from backend.vision.saliency.sliding_window import WindowOptions, Windows
from backend.vision.saliency.stretch import to_saliency
from backend.vision.saliency.target_score import variant_scores

_SEED = 0

_TRAINING_PICTURES = 1_281_167
"""Of ImageNet, by which the paper keeps probabilities from 0 and 1."""


@dataclass(frozen=True, slots=True)
class DifferenceOptions(WindowOptions):
    """patch, stride: as of ``WindowOptions``, but a stride that is not given is the patch.
    samples: how often each patch is drawn anew; the paper takes 10.
    """

    USUAL_STRIDE: ClassVar[float] = 1.0

    patch: float = within(0.125, 0.05, 1.0)
    samples: int = within(4, 1, 16)


@saliency("prediction_difference", box_rule="threshold", options=DifferenceOptions)
def prediction_difference(
    looked: Looked, target: Target, options: DifferenceOptions
) -> SaliencyMap:
    """``evidence``, stretched: patches that speak against the target are lowest."""
    return to_saliency(evidence(looked, target, options))


def evidence(looked: Looked, target: Target, options: DifferenceOptions) -> Tensor:
    """(B, S, S) bits of evidence for the target in the patches on each pixel, their mean.

    Of each class, the log2 odds of its probability minus those of its mean probability
    over patches drawn anew; of the target, the weighted sum. 0 for a patch that the
    network does not look at. Source: Zintgraf et al. 2017, "Visualizing Deep Neural Network
    Decisions", its weight of evidence by conditional sampling (a Gaussian given the pixels
    round the patch), with its Laplace correction. Differs: the Gaussian is that of the
    picture itself (``colour_field``) instead of one fitted to patches of many pictures.
    Cost: a forward pass a sample and one more, 257 by default, at most 24337.
    """
    with torch.inference_mode():
        side = looked.images_u8.shape[-1]
        bits = torch.zeros_like(looked.images_u8[:, 0], dtype=torch.float32)
        windows = options.windows(side)
        for row in range(len(looked)):
            whole = _probability(whole_logits(looked, row))
            less = _without_each(looked, row, windows, options.samples)
            # The mean of differences is exactly 0 where there are none.
            patchless = whole + (less - whole).mean(1)
            of_class = (_log2_odds(whole) - _log2_odds(patchless)).float()
            bits[row] = windows.mean_over_places(variant_scores(of_class, target, row))
        return bits


def _without_each(looked: Looked, row: int, windows: Windows, samples: int) -> Tensor:
    """(N, samples, classes) float64 probabilities with the patch at each place drawn anew."""
    image, spans = looked.images_u8[row].cpu(), windows.spans_px()
    # A place's draws come one after the other, so that only the last is needed again.
    drawn = functools.lru_cache(maxsize=1)(Redraw(image, samples, _SEED).part)

    def variants(part: Tensor) -> Tensor:
        changed = image.repeat(len(part), 1, 1, 1)
        for one, position in zip(changed, part.tolist(), strict=True):
            place, sample = divmod(position, samples)
            rows, columns = (spans[at] for at in divmod(place, windows.per_side))
            one[:, slice(*rows), slice(*columns)] = drawn(rows, columns)[sample]
        return looked.backbone.normalised(changed)

    logits = variant_logits(looked.backbone, len(windows) * samples, variants)
    return _probability(logits).reshape(len(windows), samples, -1)


def _probability(logits: Tensor) -> Tensor:
    """Float64 softmax, kept from 0 and 1 as if each class had been seen once more."""
    seen = torch.softmax(logits.double(), -1) * _TRAINING_PICTURES
    return (seen + 1) / (_TRAINING_PICTURES + logits.shape[-1])


def _log2_odds(probability: Tensor) -> Tensor:
    return torch.log2(probability) - torch.log2(1 - probability)
