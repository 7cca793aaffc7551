"""Networks that name what happens in a clip, each cut into a trunk of cells and a linear head.

The cells (N, C, L, H, W) lie in time as well as in space; the score of a class is linear in
them, so a class activation cube needs no backward pass:

    mean over L, H, W of the cube + bias == score

holds exactly (Zhou et al. 2016 with a third axis). Video transformers are not here: their
score hangs on one token, and no cell says what it adds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from backend.errors import ShapeError, WeightsUnavailable
from backend.vision.classes import normalise
from backend.vision.registry import Registry
from backend.vision.torchvision_door import load_torchvision
from backend.vision.weight_files import read_tensors

CLIP_FRAMES = 16
"""Frames that a network sees at once: the length it was trained with."""

_MEAN, _STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


@dataclass(frozen=True, slots=True)
class VideoArchitecture:
    """size_px: side of the square frames. split: the whole network into trunk and head."""

    name: str
    size_px: int
    split: Callable[[Any], tuple[nn.Module, Tensor, Tensor]]


ARCHITECTURES: Registry[VideoArchitecture] = Registry("video classifier")


def _residual(network: Any) -> tuple[nn.Module, Tensor, Tensor]:
    trunk = nn.Sequential(network.stem, *(getattr(network, f"layer{at}") for at in range(1, 5)))
    return trunk, network.fc.weight, network.fc.bias


def _separable(network: Any) -> tuple[nn.Module, Tensor, Tensor]:
    # Its pooling window is the whole grid at this side and length: a mean over all cells.
    linear = network.classifier[1]
    return network.features, linear.weight.flatten(1), linear.bias


for _name in ("r3d_18", "mc3_18", "r2plus1d_18"):
    ARCHITECTURES.add(_name, VideoArchitecture(_name, 112, _residual))
ARCHITECTURES.add("s3d", VideoArchitecture("s3d", 224, _separable))


class VideoClassifier:
    """A frozen network with the names of its classes, as they are compared."""

    def __init__(
        self, architecture: VideoArchitecture, network: Any, names: tuple[str, ...]
    ) -> None:
        self.size_px = architecture.size_px
        self.names = tuple(normalise(name) for name in names)
        network = network.eval().requires_grad_(False)
        self._trunk, self._weight, self._bias = architecture.split(network)
        self._mean, self._std = (
            255 * torch.tensor(one).view(1, 3, 1, 1, 1) for one in (_MEAN, _STD)
        )

    def cells(self, clips_u8: Tensor) -> Tensor:
        """(N, C, L', h, w) float32 of (N, L, S, S, 3) uint8 frames. Raises: ShapeError."""
        wanted = (CLIP_FRAMES, self.size_px, self.size_px, 3)
        if tuple(clips_u8.shape[1:]) != wanted or clips_u8.dtype != torch.uint8:
            raise ShapeError(f"Clips are (N, {wanted}) uint8, not {tuple(clips_u8.shape)}.")
        with torch.inference_mode():
            pixels = clips_u8.permute(0, 4, 1, 2, 3).float().sub_(self._mean).div_(self._std)
            return cast(Tensor, self._trunk(pixels))

    def scores(self, cells: Tensor) -> Tensor:
        """(N, classes) before the softmax."""
        return cells.mean((2, 3, 4)) @ self._weight.T + self._bias

    def cube(self, cells: Tensor, class_index: int) -> Tensor:
        """(N, L', h, w): what each cell adds to the score of a class."""
        return torch.einsum("c,nclhw->nlhw", self._weight[class_index], cells)


def load_video_classifier(name: str, weights: Path | None) -> VideoClassifier:
    """The network with weights of a file, or those that torchvision publishes.

    weights: .safetensors, or .pth that holds tensors alone. Raises: UnknownName,
    WeightsUnavailable.
    """
    architecture = ARCHITECTURES.get(name)
    models = load_torchvision().models
    published = models.get_model_weights(name).DEFAULT
    names = tuple(published.meta["categories"])
    network = models.get_model(name, weights=None, num_classes=len(names))
    try:
        tensors = (
            published.get_state_dict(progress=False, check_hash=True, weights_only=True)
            if weights is None
            else read_tensors(weights)
        )
        network.load_state_dict(tensors)
    except (OSError, RuntimeError) as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsUnavailable(
            f"There are no weights for the video classifier {name}: {told}.",
            f"Set VIDEO_WEIGHTS to a file with weights of {name}, or let this machine reach "
            f"{published.url} once.",
        ) from error
    return VideoClassifier(architecture, network, names)
