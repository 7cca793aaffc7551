"""Networks of torchvision, each cut into a trunk of cells with a head on top.

The trunk turns a picture into a grid of cells, the head turns the cells into class
scores. Every head can also say what each cell contributed to the score of a class, so
that class activation maps need no backward pass (Zhou et al. 2016, "Learning Deep
Features for Discriminative Localization"): for all of them

    mean over cells of the map + bias == class score

holds exactly, by the arithmetic described at each head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.vision.registry import Registry
from backend.vision.torchvision_door import load_torchvision

EMBEDDED_STAGES = (
    (1, 16, 1, 1),
    (3, 24, 2, 2),
    (3, 32, 3, 2),
    (3, 64, 4, 2),
    (3, 96, 3, 1),
    (4, 160, 3, 2),
    (4, 320, 1, 1),
)
"""A row a stage of our own network: expansion, channels, blocks, stride of the first block."""

DEFAULT_SIZE_PX = 288
"""Side to which pictures are resized; docs/saliency.md has the measurement behind it."""

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


class ClassMaps(NamedTuple):
    """What each cell adds to the scores of some classes.

    maps: (B, K, h, w). bias: (B, K). maps.mean((2, 3)) + bias is the score.
    """

    maps: Tensor
    bias: Tensor


class Head(nn.Module):
    """The part behind the last grid of cells; cells are (B, C, h, w) float32 throughout."""

    def forward(self, cells: Tensor) -> Tensor:
        """(B, classes) scores before the softmax."""
        raise NotImplementedError

    def class_maps(self, cells: Tensor, class_index: Tensor) -> ClassMaps:
        """Contributions of the cells to classes (B, K)."""
        raise NotImplementedError


class PooledLinearHead(Head):
    """Mean over cells, then one linear layer: both commute, the map is exact."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, cells: Tensor) -> Tensor:
        return cast(Tensor, self.linear(cells.mean((2, 3))))

    def class_maps(self, cells: Tensor, class_index: Tensor) -> ClassMaps:
        weight = self.linear.weight[class_index]
        return ClassMaps(
            torch.einsum("bkc,bchw->bkhw", weight, cells), self.linear.bias[class_index]
        )


class NormedLinearHead(Head):
    """Mean over cells, layer normalisation, one linear layer (ConvNeXt).

    With the pooled mean m and deviation s taken as given, (f - mean_c f) / s * gamma is
    linear in the cells, and its mean over cells is the normalised pooled vector: exact.
    """

    def __init__(self, norm: nn.LayerNorm, linear: nn.Linear) -> None:
        super().__init__()
        self.norm = norm
        self.linear = linear

    def _normalise(self, pooled: Tensor) -> Tensor:
        return F.layer_norm(
            pooled, self.norm.normalized_shape, self.norm.weight, self.norm.bias, self.norm.eps
        )

    def forward(self, cells: Tensor) -> Tensor:
        return cast(Tensor, self.linear(self._normalise(cells.mean((2, 3)))))

    def class_maps(self, cells: Tensor, class_index: Tensor) -> ClassMaps:
        deviation = (cells.mean((2, 3)).var(1, unbiased=False) + self.norm.eps).sqrt()
        centred = (cells - cells.mean(1, keepdim=True)) / deviation[:, None, None, None]
        weight = self.linear.weight[class_index]
        return ClassMaps(
            torch.einsum("bkc,bchw->bkhw", weight * self.norm.weight, centred),
            weight @ self.norm.bias + self.linear.bias[class_index],
        )


class RectifiedConvHead(Head):
    """A 1 x 1 convolution and a ReLU, then the mean over cells (SqueezeNet).

    The rectified cells are the map, their mean is the score: exact, without a bias.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, cells: Tensor) -> Tensor:
        return F.relu(self.conv(cells)).mean((2, 3))

    def class_maps(self, cells: Tensor, class_index: Tensor) -> ClassMaps:
        weight = self.conv.weight[:, :, 0, 0][class_index]
        scores = torch.einsum("bkc,bchw->bkhw", weight, cells)
        if self.conv.bias is not None:
            scores = scores + self.conv.bias[class_index][:, :, None, None]
        return ClassMaps(F.relu(scores), torch.zeros_like(scores[:, :, 0, 0]))


class DenseHead(Head):
    """Adaptive pooling to a fixed grid, then three linear layers with ReLUs (VGG).

    For one picture the ReLUs are open or shut, and with these gates held the layers are
    one linear function of the cells; its weight on each cell times the cell is what the
    cell contributed, and the biases are the rest. Exact for every input size. (It is
    HiResCAM, Draelos and Carin 2020, written in closed form; turning the layers into
    convolutions instead gives a single cell at 224 pixels.)
    """

    def __init__(self, grid: int, first: nn.Linear, second: nn.Linear, third: nn.Linear) -> None:
        super().__init__()
        self.grid = grid
        self.first, self.second, self.third = first, second, third

    def _hidden(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        pooled = F.adaptive_avg_pool2d(cells, self.grid).flatten(1)
        first = F.relu(self.first(pooled))
        return first, F.relu(self.second(first))

    def forward(self, cells: Tensor) -> Tensor:
        return cast(Tensor, self.third(self._hidden(cells)[1]))

    def class_maps(self, cells: Tensor, class_index: Tensor) -> ClassMaps:
        height, width = cells.shape[2:]
        first, second = self._hidden(cells)
        onto_second = self.third.weight[class_index] * (second > 0)[:, None]
        onto_first = (onto_second @ self.second.weight) * (first > 0)[:, None]
        onto_cells = onto_first @ self.first.weight
        onto_grid = onto_cells.reshape(*class_index.shape, -1, self.grid, self.grid)
        maps = torch.einsum(
            "bkcij,hi,wj,bchw->bkhw",
            onto_grid,
            self._pooling(height, cells),
            self._pooling(width, cells),
            cells,
        )
        bias = (
            self.third.bias[class_index]
            + onto_second @ self.second.bias
            + onto_first @ self.first.bias
        )
        return ClassMaps(maps * (height * width), bias)

    def _pooling(self, side: int, like: Tensor) -> Tensor:
        """(side, grid): what the adaptive pooling takes from each row of cells."""
        unit = torch.eye(side, dtype=like.dtype, device=like.device)
        return F.adaptive_avg_pool1d(unit[None], self.grid)[0]


class Network(NamedTuple):
    """trunk: normalised (B, 3, S, S) to cells (B, C, h, w). head: cells to scores."""

    trunk: nn.Module
    head: Head


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one network of torchvision is built and cut.

    network: torchvision's name of it, where ours differs. mean_rgb, std_rgb: normalisation
    of pixels in 0..1. size_px: side to which pictures are resized unless told otherwise.
    unused_prefixes: parameters of published files that only training needs.
    weights_file: name of the weights that come with the backend, "" where none do.
    """

    name: str
    cut: Callable[[Any], Network]
    network: str = ""
    mean_rgb: Triple = IMAGENET_MEAN
    std_rgb: Triple = IMAGENET_STD
    size_px: int = DEFAULT_SIZE_PX
    unused_prefixes: tuple[str, ...] = ()
    build_options: tuple[tuple[str, Any], ...] = ()
    weights_file: str = ""

    def build(self) -> nn.Module:
        """torchvision's module, in evaluation mode, with parameters of no value."""
        with torch.device("meta"):
            return self.new_module().eval()

    def new_module(self) -> nn.Module:
        """torchvision's module as it comes, with random parameters."""
        models = load_torchvision().models
        name = self.network or self.name
        return cast(nn.Module, models.get_model(name, weights=None, **dict(self.build_options)))


ARCHITECTURES: Registry[Architecture] = Registry("backbone")

Cut = Callable[[Any], Network]


def architecture(*names: str, **options: Any) -> Callable[[Cut], Cut]:
    """Register a function that cuts torchvision's module of these names into a Network."""

    def add(cut: Cut) -> Cut:
        for name in names:
            ARCHITECTURES.add(name, Architecture(name, cut, **options))
        return cut

    return add


@architecture("mobilenet_v2", "efficientnet_b0")
@architecture(
    "embedded",
    network="mobilenet_v2",
    size_px=256,
    build_options=(("inverted_residual_setting", EMBEDDED_STAGES),),
    weights_file="embedded.safetensors",
)
def _features_and_linear(model: Any) -> Network:
    return Network(model.features, PooledLinearHead(model.classifier[-1]))


@architecture("resnet18", "resnet50")
def _residual(model: Any) -> Network:
    stem = (model.conv1, model.bn1, model.relu, model.maxpool)
    stages = (model.layer1, model.layer2, model.layer3, model.layer4)
    return Network(nn.Sequential(*stem, *stages), PooledLinearHead(model.fc))


# torchvision's published GoogLeNet was trained on pixels in -1..1 and rewrites the usual
# normalisation inside the network; giving it its own normalisation spares that step.
@architecture(
    "googlenet",
    mean_rgb=(0.5, 0.5, 0.5),
    std_rgb=(0.5, 0.5, 0.5),
    unused_prefixes=("aux1.", "aux2."),
    build_options=(("aux_logits", False), ("init_weights", False), ("transform_input", False)),
)
def _inception(model: Any) -> Network:
    behind = {"avgpool", "dropout", "fc", "aux1", "aux2"}
    layers = [layer for name, layer in model.named_children() if name not in behind]
    return Network(nn.Sequential(*layers), PooledLinearHead(model.fc))


@architecture("squeezenet1_1")
def _squeeze(model: Any) -> Network:
    return Network(model.features, RectifiedConvHead(model.classifier[1]))


@architecture("convnext_tiny")
def _convnext(model: Any) -> Network:
    norm, _, linear = model.classifier
    return Network(model.features, NormedLinearHead(norm, linear))


@architecture("vgg16")
def _vgg(model: Any) -> Network:
    linear = [layer for layer in model.classifier if isinstance(layer, nn.Linear)]
    return Network(model.features, DenseHead(model.avgpool.output_size[0], *linear))
