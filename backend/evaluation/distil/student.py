"""The small network: MobileNetV2 with fewer hidden channels in its blocks.

torchvision's ``MobileNetV2`` takes the expansion of every stage as an argument; ours stand in
``backend.vision.architectures``, where the product builds the same network. The trunk
between the blocks (16, 24, 32, 64, 96, 160, 320 and 1280 channels) stays as wide as the
teacher's, so the maps of both networks can be compared channel by channel; three or four
hidden channels a trunk channel instead of six save half of the arithmetic.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from backend.vision.architectures import ARCHITECTURES
from backend.vision.choice import EMBEDDED, PREFERRED
from backend.vision.weight_files import fit, load_weights

TAPS = (3, 6, 10, 13, 16, 17, 18)
"""Layers of ``features`` whose outputs are compared: strides 4, 8, 16, 16, 32, 32, 32."""

BOX_TAPS = ((6, 8), (13, 16), (18, 32))
"""Layers that must tell object from background, with their strides in pixels."""


def build_student() -> nn.Module:
    """The small network with random weights; draw them under ``torch.manual_seed``."""
    return ARCHITECTURES.get(EMBEDDED).new_module()


def student_with(tensors: Mapping[str, Tensor]) -> nn.Module:
    """The small network with these weights, in evaluation mode. Raises: WeightsUnavailable."""
    student = build_student()
    student.load_state_dict(fit(ARCHITECTURES.get(EMBEDDED), tensors, "the student"))
    return student.eval()


def load_teacher(weights: Path) -> nn.Module:
    """MobileNetV2 of torchvision with weights from a file, frozen, in evaluation mode.

    Raises: WeightsUnavailable.
    """
    architecture = ARCHITECTURES.get(PREFERRED)
    teacher = architecture.new_module()
    teacher.load_state_dict(dict(load_weights(architecture, weights).tensors))
    return teacher.eval().requires_grad_(False)


def forward_with_taps(network: nn.Module, images: Tensor) -> tuple[dict[int, Tensor], Tensor]:
    """Maps of the TAPS by layer number, each (B, C, h, w), and the (B, outputs) logits.

    Batch normalisation always uses its stored statistics, multiplied into the convolution
    before it (gradients reach both): the same function as evaluation mode at nearly twice
    the speed of training. A student that starts from the teacher is already scaled, and
    the statistics of mosaics would only pull it away from ordinary pictures.
    """
    maps: dict[int, Tensor] = {}
    x = images
    for number, layer in enumerate(cast(nn.Sequential, network.features)):
        x = _forward_folded(layer, x)
        if number in TAPS:
            maps[number] = x
    linear = cast(nn.Sequential, network.classifier)[-1]
    return maps, cast(Tensor, linear(x.float().mean((2, 3))))


def _forward_folded(module: nn.Module, x: Tensor) -> Tensor:
    if not isinstance(module, nn.Sequential):
        if not hasattr(module, "use_res_connect"):
            return cast(Tensor, module(x))
        y = _forward_folded(cast(nn.Module, module.conv), x)
        return x + y if module.use_res_connect else y
    layers = list(module)
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            weight, bias = _folded(layer, following)
            x = F.conv2d(x, weight, bias, layer.stride, layer.padding, groups=layer.groups)
        elif not isinstance(layer, nn.BatchNorm2d):
            x = _forward_folded(layer, x)
    return x


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight * torch.rsqrt(variance + norm.eps)
    return conv.weight * gain[:, None, None, None], norm.bias - mean * gain


def folded_copy(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A frozen copy without batch normalisation, its trunk in dtype, its classifier float32."""
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for layers in [m for m in copied.modules() if isinstance(m, nn.Sequential)]:
        for i, layer in enumerate(list(layers)[:-1]):
            following = layers[i + 1]
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                layers[i], layers[i + 1] = fuse_conv_bn_eval(layer, following), nn.Identity()
    cast(nn.Module, copied.features).to(dtype)
    return copied


def trunk_dtype(network: nn.Module) -> torch.dtype:
    """Precision in which the layers before the classifier compute."""
    return next(cast(nn.Module, network.features).parameters()).dtype


def parameter_count(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters())


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """The network itself, on device, laid out channels last."""
    return cast(nn.Module, cast(Any, network).to(device, memory_format=torch.channels_last))
