"""A loaded backbone: a frozen network that describes pictures and knows its classes."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from torch import Tensor, nn

from backend.domain import BackboneIdentity
from backend.errors import ConfigError, ShapeError, WeightsUnavailable
from backend.vision.architectures import (
    ARCHITECTURES,
    Architecture,
    ClassMaps,
    Head,
    PooledLinearHead,
)
from backend.vision.choice import AUTO, EMBEDDED, PREFERRED, hint
from backend.vision.classes import ClassMatcher, ClassName, imagenet_classes
from backend.vision.kept_choices import KeptChoices
from backend.vision.runtime import Runtime, RuntimeName, TorchRuntime
from backend.vision.runtime_choice import chosen_runtime
from backend.vision.weight_files import Weights, fit, load_weights, tensors_digest

log = structlog.get_logger(__name__)

PATIENCE_S = 15.0
"""How long BACKBONE=auto waits for a download before the embedded network runs instead."""


@dataclass(frozen=True, slots=True)
class Features:
    """What the trunk makes of a batch of pictures.

    cells_bchw: (B, C, h, w) float32 on the device, the last grid before the head.
    size_px: side of the pictures that went in.
    """

    cells_bchw: Tensor
    size_px: int

    def __post_init__(self) -> None:
        if self.cells_bchw.ndim != 4:
            raise ShapeError(f"cells must be (B, C, h, w), got {tuple(self.cells_bchw.shape)}.")

    def select(self, index: Tensor) -> Features:
        """The pictures at these positions, which may repeat."""
        return Features(self.cells_bchw[index], self.size_px)


class Backbone:
    """One frozen network on one device. It belongs to one thread.

    identity: name, digest of the weights, input side, class names.
    classes: the network's classes in output order. stride: input pixels a cell, per axis.
    """

    def __init__(
        self,
        identity: BackboneIdentity,
        classes: tuple[ClassName, ...],
        runtime: Runtime,
        head: Head,
        device: torch.device,
    ) -> None:
        self.identity = identity
        self.classes = classes
        self.matcher = ClassMatcher(classes)
        self.device = device
        self.runtime = runtime
        self.head = head
        self.stride = self._measured_stride()

    @property
    def size_px(self) -> int:
        """Side to which pictures are resized before ``features``."""
        return self.identity.size_px

    def features(self, images_u8: Tensor) -> Features:
        """Describe (B, 3, S, S) uint8 RGB pictures; S need not be size_px, B may be 0.

        Raises: ShapeError.
        """
        self._check(images_u8)
        side = int(images_u8.shape[-1])
        if not len(images_u8):
            like = self.runtime.cells(images_u8.new_zeros((1, *images_u8.shape[1:])))
            return Features(like[:0], side)
        return Features(self.runtime.cells(images_u8), side)

    def tapped(self, images_u8: Tensor) -> tuple[Features, tuple[Tensor, ...]]:
        """The features with the taps of ``backend.vision.taps``, float32 on the device.

        images_u8: (B, 3, S, S), B >= 1. Raises: ShapeError.
        """
        self._check(images_u8)
        cells, taps = self.runtime.cells_and_taps(images_u8)
        return Features(cells, int(images_u8.shape[-1])), taps

    def logits(self, features: Features) -> Tensor:
        """(B, classes) float32 class scores before the softmax."""
        with torch.inference_mode():
            scores: Tensor = self.head(features.cells_bchw)
            return scores

    def class_maps(self, features: Features, class_index: Tensor) -> Tensor:
        """What each cell adds to the score of a class, without a backward pass.

        class_index: (B,) or (B, K) int64. Returns (B, h, w) or (B, K, h, w) float32;
        the mean over cells plus ``class_bias`` is the class's logit.
        Source: Zhou et al. 2016; ``architectures`` says how each head is taken apart.
        """
        maps = self._taken_apart(features, class_index).maps
        return maps if class_index.ndim == 2 else maps[:, 0]

    def class_bias(self, features: Features, class_index: Tensor) -> Tensor:
        """(B,) or (B, K): the part of the class's logit that no cell accounts for."""
        bias = self._taken_apart(features, class_index).bias
        return bias if class_index.ndim == 2 else bias[:, 0]

    def normalised(self, images_u8: Tensor) -> Tensor:
        """(B, 3, S, S) float32 on the device: the pixels as the network reads them.

        0 is the mean colour of the training pictures. Raises: ShapeError.
        """
        self._check(images_u8)
        return self.runtime.normalised(images_u8)

    def logits_at(self, pixels: Tensor) -> Tensor:
        """(B, classes) float32 class scores at normalised pixels, which stay as they are.

        With the gradients that autograd records for the pixels; the parameters get none.
        """
        scores: Tensor = self.head(self.runtime.cells_at(pixels))
        return scores

    def tapped_at(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``tapped`` at normalised pixels, which stay as they are: float32 cells and taps.

        With the gradients that autograd records for the pixels; the parameters get none.
        """
        return self.runtime.cells_and_taps_at(pixels)

    def classifying(self, weight: Tensor, bias: Tensor, classes: tuple[ClassName, ...]) -> Backbone:
        """The same trunk under another head: the mean over cells, then a linear layer.

        weight: (K, C) over the channels of the cells. bias: (K,). classes: K names. What
        explains a class of the network explains one of these as well.
        """
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": bias})
        other = copy.copy(self)
        other.head = PooledLinearHead(linear).eval().requires_grad_(False).to(self.device)
        other.classes, other.matcher = classes, ClassMatcher(classes)
        return other

    def _taken_apart(self, features: Features, class_index: Tensor) -> ClassMaps:
        count = len(features.cells_bchw)
        if class_index.ndim not in (1, 2) or len(class_index) != count:
            raise ShapeError(
                f"class_index must be ({count},) or ({count}, K), got {tuple(class_index.shape)}."
            )
        columns = class_index if class_index.ndim == 2 else class_index[:, None]
        with torch.inference_mode():
            return self.head.class_maps(features.cells_bchw, columns.to(self.device))

    def _measured_stride(self) -> int:
        blank = torch.zeros((1, 3, self.size_px, self.size_px), dtype=torch.uint8)
        # Unpadded layers lose a cell, so that the quotient is only near the power of two.
        return int(2 ** round(math.log2(self.size_px / self.runtime.cells(blank).shape[-1])))

    @staticmethod
    def _check(images_u8: Tensor) -> None:
        if images_u8.ndim != 4 or images_u8.shape[1] != 3 or images_u8.dtype != torch.uint8:
            raise ShapeError(
                f"Pictures must be (B, 3, S, S) uint8, got {tuple(images_u8.shape)} "
                f"{images_u8.dtype}."
            )


def names() -> tuple[str, ...]:
    """Every backbone that can be loaded."""
    return ARCHITECTURES.names()


def load_backbone(
    name: str,
    weights: Path | None,
    device: str,
    runtime: RuntimeName = "auto",
    choices: KeptChoices | None = None,
    *,
    tuned: bool = True,
    size_px: int | None = None,
) -> Backbone:
    """Load a backbone for this process.

    name: one of ``names()``, or ``auto``. weights: a file; None: those that come with the
        backend or with torchvision. device: auto, cpu, cuda or cuda:N. runtime: auto is
        openvino or torch. choices: where the fastest form on this machine is kept, which
        is measured if it is not there; None: float32, openvino on a CPU where it is
        installed and agrees with torch. tuned: see TorchRuntime; without it torch runs
        plainly. size_px: None for the network's own default.
    Raises: UnknownName, WeightsUnavailable, ConfigError where the device or the runtime
        is not there.
    """
    where = find_device(device)
    architecture, found = _found(name, weights)
    backbone = _assemble(architecture, found, where, tuned, size_px, runtime, choices)
    log.info(
        "backbone_loaded",
        backbone=architecture.name,
        weights=found.source,
        digest=backbone.identity.digest,
        device=str(where),
        runtime=backbone.runtime.form,
        size_px=backbone.size_px,
        threads=torch.get_num_threads(),
    )
    if (better := hint(architecture.name)) is not None:
        log.info("backbone_could_be_better", runs=architecture.name, remedy=better)
    return backbone


def _found(name: str, path: Path | None) -> tuple[Architecture, Weights]:
    architecture = ARCHITECTURES.get(PREFERRED if name == AUTO else name)
    if name != AUTO or path is not None:
        return architecture, load_weights(architecture, path)
    try:
        return architecture, load_weights(architecture, None, PATIENCE_S)
    except WeightsUnavailable as error:
        log.warning("backbone_replaced", wanted=PREFERRED, runs=EMBEDDED, reason=error.what)
    own = ARCHITECTURES.get(EMBEDDED)
    return own, load_weights(own, None)


def backbone_from_tensors(
    name: str,
    tensors: Mapping[str, Tensor],
    *,
    device: str = "cpu",
    runtime: RuntimeName = "torch",
    tuned: bool = True,
    size_px: int | None = None,
) -> Backbone:
    """A backbone with parameters that are in memory already, by torchvision's names.

    Raises: as load_backbone.
    """
    architecture = ARCHITECTURES.get(name)
    fitted = fit(architecture, tensors, "memory")
    weights = Weights(fitted, tensors_digest(fitted), "memory")
    return _assemble(architecture, weights, find_device(device), tuned, size_px, runtime)


def find_device(device: str) -> torch.device:
    """The device meant by auto, cpu, cuda or cuda:N. Raises: ConfigError if it is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.device(device)
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"DEVICE={device} is not there: torch sees {torch.cuda.device_count()} GPUs.",
            "Set DEVICE=auto or cpu, or install a torch with CUDA and the GPU's driver.",
        )
    return found


def _assemble(
    architecture: Architecture,
    weights: Weights,
    device: torch.device,
    tuned: bool,
    size_px: int | None,
    wanted: RuntimeName,
    choices: KeptChoices | None = None,
) -> Backbone:
    model = architecture.build()
    model.load_state_dict(dict(weights.tensors), assign=True)
    trunk, head = architecture.cut(model)
    side_px = size_px or architecture.size_px
    plain = TorchRuntime(trunk, architecture.mean_rgb, architecture.std_rgb, device, tuned=tuned)
    network = f"{architecture.name} {weights.digest}"
    runtime = chosen_runtime(plain, wanted, side_px, network, choices) if tuned else plain
    classes = imagenet_classes()
    identity = BackboneIdentity(
        architecture.name,
        weights.digest,
        side_px,
        tuple(entry.name for entry in classes),
        weights.source,
    )
    return Backbone(
        identity, classes, runtime, head.eval().requires_grad_(False).to(device), device
    )
