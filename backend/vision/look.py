"""One look at a batch of pictures, shared by every question asked about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from backend.domain import Picture, U8Array
from backend.errors import ShapeError
from backend.vision.backbones import Backbone, Features

BLANK_LEVELS = 8
"""A picture whose values (0..255) differ by no more shows nothing: noise of a JPEG."""

_SPARSE = 16
"""Pixels from one to the next of those that are compared first, along either axis."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A batch of pictures with what the backbone made of it, on the backbone's device.

    images_u8: (B, 3, S, S). features: of these pictures, maybe taken at another side.
    logits: (B, classes) float32.
    """

    backbone: Backbone
    images_u8: Tensor
    features: Features
    logits: Tensor

    def __len__(self) -> int:
        return len(self.images_u8)

    @property
    def probability(self) -> Tensor:
        """(B, classes) softmax of the logits."""
        return torch.softmax(self.logits, 1)

    def shows_something(self) -> list[bool]:
        """Of each picture, whether it is of more than one colour."""
        if not len(self):
            return []
        # Pixels that differ among a few differ among all: few pictures are read whole.
        shown = _spans(self.images_u8[:, :, ::_SPARSE, ::_SPARSE]) > BLANK_LEVELS
        unsure = (~shown).nonzero()[:, 0]
        if len(unsure):
            shown[unsure] = _spans(self.images_u8[unsure]) > BLANK_LEVELS
        return [bool(one) for one in shown.tolist()]

    def select(self, index: Tensor) -> Looked:
        """The pictures at these positions (int64), which may repeat."""
        if index.tolist() == list(range(len(self))):
            return self  # all of them as they are: nothing to copy
        where = index.to(self.images_u8.device)
        return Looked(
            self.backbone, self.images_u8[where], self.features.select(where), self.logits[where]
        )


def _spans(images_u8: Tensor) -> Tensor:
    """(B,) int32: how far the values of the channel that varies most lie apart, in levels."""
    lightest, darkest = images_u8.amax((2, 3)), images_u8.amin((2, 3))
    return (lightest.int() - darkest.int()).amax(1)


def prepare(picture: Picture, size_px: int) -> U8Array:
    """(S, S, 3) uint8: the picture resized to a square, its aspect not kept.

    A square of the whole picture shows the network every part of it; keeping the aspect
    would cut off the sides or spend cells on padding. Every pixel counts, however much
    smaller a side becomes. Safe in threads.
    """
    # This view, channels_last to torch, is what its fast path for bytes takes: a third of
    # the time of OpenCV's mean over areas.
    image_u8 = torch.from_numpy(picture.rgb_u8)[None].permute(0, 3, 1, 2)
    square = F.interpolate(image_u8, (size_px, size_px), mode="bilinear", antialias=True)
    return np.ascontiguousarray(square[0].permute(1, 2, 0).numpy())


def resized(images_u8: Tensor, size_px: int) -> Tensor:
    """(B, 3, size_px, size_px) uint8 of prepared pictures (B, 3, S, S), on their device."""
    if images_u8.shape[-1] == size_px:
        return images_u8
    size_hw = (size_px, size_px)
    values = F.interpolate(images_u8.float(), size_hw, mode="bilinear", antialias=True)
    return values.round().clamp(0, 255).to(torch.uint8)


def look(backbone: Backbone, images_u8: U8Array) -> Looked:
    """One forward pass over prepared pictures (B, S, S, 3); B may be 0. Raises: ShapeError."""
    on_device = to_device(backbone, images_u8)
    features = backbone.features(on_device)
    return Looked(backbone, on_device, features, backbone.logits(features))


def to_device(backbone: Backbone, images_u8: U8Array) -> Tensor:
    """(B, 3, S, S) uint8 of prepared pictures (B, S, S, 3). Raises: ShapeError."""
    if images_u8.ndim != 4 or images_u8.shape[3] != 3 or images_u8.dtype != np.uint8:
        raise ShapeError(
            f"Pictures must be (B, S, S, 3) uint8, got {images_u8.shape} {images_u8.dtype}."
        )
    # Permuted, not copied: this is channels_last, the layout the network works in.
    return torch.from_numpy(images_u8).to(backbone.device).permute(0, 3, 1, 2)
