"""The one door for the frozen forward pass: pixels in, cells out, as fast as is exact."""

from __future__ import annotations

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
"""Largest relative error (Frobenius norm over the cells) at which bfloat16 is used."""

_CHECK_SIDE_PX = 224


RuntimeName = Literal["auto", "torch", "openvino"]


class Runtime(Protocol):
    """Runs a frozen trunk."""

    name: str

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
    """PyTorch, eager.

    tuned: convolutions with their batch normalisation folded in, channels_last, memory
        kept between calls, and reduced precision where the device multiplies it in
        hardware and a check against float32 passes. False: plain float32.
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
        trunk = trunk.eval().requires_grad_(False)
        if tuned:
            trunk = fold_batch_norm(trunk)
            if device.type == "cpu":
                keep_freed_memory()
        self.trunk = trunk.to(device)
        if tuned:
            # Module.to is typed without the keyword that it has.
            cast(Any, self.trunk).to(memory_format=torch.channels_last)
        self.mean_u8 = 255 * torch.tensor(mean_rgb, device=device).view(3, 1, 1)
        self.std_u8 = 255 * torch.tensor(std_rgb, device=device).view(3, 1, 1)
        self._tapped: fx.GraphModule | None = None
        self.precision: torch.dtype = torch.float32
        if tuned:
            self.precision = self._checked_precision()

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
        return on_device.to(torch.float32).sub_(self.mean_u8).div_(self.std_u8)

    def _autocast(self, precision: torch.dtype) -> AbstractContextManager[object]:
        if precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=precision)

    def _checked_precision(self) -> torch.dtype:
        wanted = low_precision(self.device)
        if wanted is None:
            return torch.float32
        picture = check_picture().to(self.device)
        exact = self.cells(picture)
        with torch.inference_mode(), self._autocast(wanted):
            fast = self.trunk(self.normalised(picture)).float()
        error = relative_error(fast, exact)
        accepted = error <= LOW_PRECISION_TOLERANCE  # a NaN is not
        log.info("precision_checked", dtype=str(wanted), error=round(error, 5), accepted=accepted)
        return wanted if accepted else torch.float32


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
    """The 16-bit type that this device multiplies in hardware, None if float32 is best."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if _cpu_multiplies_bfloat16() else None


@functools.lru_cache(maxsize=1)
def _cpu_multiplies_bfloat16() -> bool:
    # AMX only: with AVX-512's bf16 instructions autocast was slower than float32.
    description = Path("/proc/cpuinfo")
    return description.is_file() and "amx_bf16" in description.read_text("ascii", "replace")


@functools.lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory, once a process and before the first forward pass.

    By default it hands every activation back to the kernel, and the page faults of
    getting it again cost more than the arithmetic of large batches.
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
