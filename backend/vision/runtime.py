"""The one door for the frozen forward pass: pixels in, cells out, as fast as is exact."""

from __future__ import annotations

import copy
import ctypes
import functools
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import structlog
import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from backend.vision.taps import Tapped, tapped

log = structlog.get_logger(__name__)

LOW_PRECISION_TOLERANCE = 0.03
"""Largest relative error (Frobenius norm over the cells) at which 16-bit numbers are used."""

_CHECK_SIDE_PX = 224

_CPU_INFO = Path("/proc/cpuinfo")

RuntimeName = Literal["auto", "torch", "openvino"]


class Runtime(Protocol):
    """Runs a frozen trunk. name: torch or openvino."""

    name: str

    @property
    def form(self) -> str:
        """Name, precision and, where there is a choice, memory order, for people and files."""
        ...

    def cells(self, images_u8: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 RGB on any device to (B, C, h, w) float32 on the runtime's."""
        ...

    def cells_and_taps(self, images_u8: Tensor) -> Tapped:
        """The same cells, with what the trunk computed on its way, in one pass."""
        ...

    def normalised(self, images_u8: Tensor) -> Tensor:
        """(B, 3, S, S) float32 on the runtime's device: what the trunk reads."""
        ...

    def cells_at(self, pixels: Tensor) -> Tensor:
        """Float32 cells of any normalised pixels, with the gradients that autograd records."""
        ...

    def cells_and_taps_at(self, pixels: Tensor) -> Tapped:
        """The same with the taps, through layers of which none normalises a batch."""
        ...


class TorchRuntime:
    """PyTorch, eager, in float32 unless ``running_as`` says otherwise.

    tuned: convolutions with their batch normalisation folded in, channels_last, and memory
        kept between calls. False: the network as it comes.
    The same parameters serve every method; none of them wants a gradient.
    mean_u8, std_u8: (3, 1, 1) float32, what ``normalised`` takes away and divides by.
    """

    def __init__(
        self,
        trunk: nn.Module,
        mean_rgb: tuple[float, float, float],
        std_rgb: tuple[float, float, float],
        device: torch.device,
        *,
        tuned: bool = True,
    ) -> None:
        self.name = "torch"
        self.device = device
        self.precision = torch.float32
        self.memory_format = torch.channels_last if tuned else torch.preserve_format
        trunk = trunk.eval().requires_grad_(False)
        if tuned:
            trunk = fold_batch_norm(trunk)
            if device.type == "cpu":
                keep_freed_memory()
        self.trunk = _ordered(trunk.to(device), self.memory_format)
        self.mean_u8 = 255 * torch.tensor(mean_rgb, device=device).view(3, 1, 1)
        self.std_u8 = 255 * torch.tensor(std_rgb, device=device).view(3, 1, 1)
        self._tapped: fx.GraphModule | None = None

    @property
    def form(self) -> str:
        """As ``torch float32 channels_last``."""
        return torch_form(self.precision, self.memory_format)

    def running_as(
        self, precision: torch.dtype, memory_format: torch.memory_format
    ) -> TorchRuntime:
        """The same network in another form, itself if nothing changes.

        precision: of what torch's autocast lowers. The parameters are copied where their
        order in memory changes, else shared.
        """
        if (precision, memory_format) == (self.precision, self.memory_format):
            return self
        other = copy.copy(self)
        if memory_format != self.memory_format:
            other.trunk = _ordered(copy.deepcopy(self.trunk), memory_format)
            other._tapped = None
        other.precision, other.memory_format = precision, memory_format
        return other

    def agrees(self, precision: torch.dtype) -> bool:
        """Whether cells in this precision are within tolerance of float32 on a drawn picture."""
        if precision == torch.float32:
            return True
        picture = check_picture().to(self.device)
        exact = self.running_as(torch.float32, self.memory_format).cells(picture)
        error = relative_error(self.running_as(precision, self.memory_format).cells(picture), exact)
        accepted = error <= LOW_PRECISION_TOLERANCE  # a NaN is not
        log.info(
            "precision_checked", dtype=str(precision), error=round(error, 5), accepted=accepted
        )
        return accepted

    def cells(self, images_u8: Tensor) -> Tensor:
        with torch.inference_mode(), self._autocast(self.precision):
            return cast(Tensor, self.trunk(self.normalised(images_u8))).float()

    def cells_and_taps(self, images_u8: Tensor) -> Tapped:
        with torch.inference_mode(), self._autocast(self.precision):
            cells, taps = self.trunk_with_taps()(self.normalised(images_u8))
            return cells.float(), tuple(tap.float() for tap in taps)

    def cells_at(self, pixels: Tensor) -> Tensor:
        # A copy, because the first layer may work in place and a leaf must not change.
        return cast(Tensor, self.trunk(pixels.clone()))

    def cells_and_taps_at(self, pixels: Tensor) -> Tapped:
        return cast(Tapped, self.trunk_with_taps()(pixels.clone()))

    def trunk_with_taps(self) -> fx.GraphModule:
        """The trunk as ``tapped`` makes it, built once, on the same parameters."""
        if self._tapped is None:
            self._tapped = tapped(fold_batch_norm(self.trunk))
        return self._tapped

    def normalised(self, images_u8: Tensor) -> Tensor:
        on_device = images_u8.to(self.device, non_blocking=True)
        pixels = on_device.to(torch.float32, memory_format=self.memory_format)
        return pixels.sub_(self.mean_u8).div_(self.std_u8)

    def _autocast(self, precision: torch.dtype) -> AbstractContextManager[object]:
        if precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=precision)


def _ordered(trunk: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    if memory_format != torch.preserve_format:
        # Module.to is typed without the keyword that it has.
        cast(Any, trunk).to(memory_format=memory_format)
    return trunk


def torch_form(precision: torch.dtype, memory_format: torch.memory_format) -> str:
    """What TorchRuntime calls itself in this form."""
    order = "" if memory_format == torch.preserve_format else f" {memory_format}"
    return f"torch {precision}{order}".replace("torch.", "")


def fold_batch_norm(trunk: nn.Module) -> nn.Module:
    """The same function with every batch normalisation folded into its convolution.

    trunk: in evaluation mode. Returned as it is where there is nothing to fold, or where
    torch.fx cannot trace it: slower, equally right.
    """
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in trunk.modules()):
        return trunk
    try:
        graph = fx.symbolic_trace(trunk)
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        log.warning("batch_norm_not_folded", reason=str(error), effect="slower, same result")
        return trunk
    layers = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        norm = layers.get(str(node.target)) if node.op == "call_module" else None
        before = node.args[0] if isinstance(norm, nn.BatchNorm2d) else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        conv = layers.get(str(before.target))
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            graph.set_submodule(str(before.target), fuse_conv_bn_eval(conv, norm))
            node.replace_all_uses_with(before)
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.eval().requires_grad_(False)


def low_precision(device: torch.device) -> torch.dtype | None:
    """The 16-bit type that this device multiplies in hardware, None where there is none."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    flags = processor().get("flags", "").split()
    return torch.bfloat16 if {"amx_bf16", "avx512_bf16"} & set(flags) else None


@functools.lru_cache(maxsize=1)
def processor() -> dict[str, str]:
    """What Linux tells of the first processor, by its names (``model name``, ``flags``, ...)."""
    if not _CPU_INFO.is_file():
        return {}
    first, _, _ = _CPU_INFO.read_text("utf-8", "replace").partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


@functools.lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory, once a process and before the first forward pass.

    By default it hands every activation back to the kernel, and the page faults of
    getting it again cost more than the arithmetic of large batches. Not part of the
    self-test at start: it holds for the whole process and cannot be taken back to compare,
    and it was never slower (docs/performance.md).
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        log.info("memory_not_kept", reason="the C library is not glibc")
        return
    largest = 2**31 - 1
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt(mmap_threshold, largest)
    mallopt(trim_threshold, largest)


def relative_error(found: Tensor, exact: Tensor) -> float:
    """Frobenius norm of the difference over that of what is exact; NaN if any value is."""
    return float((found - exact).norm() / exact.norm().clamp_min(1e-12))


def check_picture(size_hw: tuple[int, int] = (_CHECK_SIDE_PX, _CHECK_SIDE_PX)) -> Tensor:
    """(1, 3, H, W) uint8 with smooth colour and fine grain, the same every time."""
    height, width = size_hw
    generator = torch.Generator().manual_seed(0)
    grain = torch.randint(0, 64, (1, 3, height, width), generator=generator)
    ramp = torch.linspace(0, 191, height).to(torch.int64)
    return (grain + ramp[None, None, :, None]).to(torch.uint8)
