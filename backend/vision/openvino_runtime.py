"""OpenVINO for the frozen forward pass on a CPU; whatever wants gradients stays with torch."""

from __future__ import annotations

import copy
import functools
import importlib
import sys
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import structlog
import torch
from torch import Tensor, nn

from backend.vision.runtime import (
    LOW_PRECISION_TOLERANCE,
    TorchRuntime,
    check_picture,
    relative_error,
)
from backend.vision.taps import Tapped

log = structlog.get_logger(__name__)

FLOAT32_TOLERANCE = 1e-4
"""Largest relative error (Frobenius norm, each output) against torch in float32."""

PROGRAMS_KEPT = 6
"""Compiled forms, one an input size and kind of output, least recently used first out.

Each holds the weights once more, in the order in which this processor reads them.
"""

Precision = Literal["float32", "bfloat16"]

_HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}

_Size = tuple[int, int]


class OpenVinoRuntime:
    """The trunk of a TorchRuntime, compiled for this CPU from the same parameters.

    Pictures go through one by one: the activations of one stay in the processor's cache,
    those of a batch do not, and an answer does not depend on who shares its batch. Each
    input size is compiled when it is first seen and compared with torch on a drawn
    picture; a size that fails, or that OpenVINO cannot compile, stays with torch.
    torch_runtime: tuned or not, in float32 on a CPU. precision: of the products; a size
        at which bfloat16 fails is computed in float32, and so is every later one.
    Raises: ImportError, OSError, RuntimeError without an openvino that runs here.
    """

    def __init__(self, torch_runtime: TorchRuntime, precision: Precision = "float32") -> None:
        _core()
        self.name = "openvino"
        self.precision: Precision = precision
        self.device = torch_runtime.device
        self._torch = torch_runtime
        self._threads = torch.get_num_threads()
        self._models: dict[bool, Any] = {}
        self._programs: OrderedDict[tuple[bool, _Size], _Program | None] = OrderedDict()

    @property
    def form(self) -> str:
        """As ``openvino float32``."""
        return openvino_form(self.precision)

    def running_as(self, precision: Precision) -> OpenVinoRuntime:
        """The same converted network, compiled for itself in this precision."""
        other = copy.copy(self)
        other.precision, other._programs = precision, OrderedDict()
        return other

    def runs(self, side_px: int) -> bool:
        """Whether this precision passes the self-test on pictures of this side."""
        size_hw = (side_px, side_px)
        program = self._checked(size_hw, with_taps=False)
        if program is not None:
            self._programs[(False, size_hw)] = program
        return program is not None

    def cells(self, images_u8: Tensor) -> Tensor:
        program = self._program(_size_hw(images_u8), with_taps=False)
        return self._torch.cells(images_u8) if program is None else program.run(images_u8)[0]

    def cells_and_taps(self, images_u8: Tensor) -> Tapped:
        program = self._program(_size_hw(images_u8), with_taps=True)
        if program is None:
            return self._torch.cells_and_taps(images_u8)
        cells, *taps = program.run(images_u8)
        return cells, tuple(taps)

    def normalised(self, images_u8: Tensor) -> Tensor:
        return self._torch.normalised(images_u8)

    def cells_at(self, pixels: Tensor) -> Tensor:
        return self._torch.cells_at(pixels)

    def cells_and_taps_at(self, pixels: Tensor) -> Tapped:
        return self._torch.cells_and_taps_at(pixels)

    def _program(self, size_hw: _Size, *, with_taps: bool) -> _Program | None:
        key = (with_taps, size_hw)
        if key not in self._programs:
            program = self._checked(size_hw, with_taps)
            if program is None and self.precision != "float32":
                self.precision = "float32"
                program = self._checked(size_hw, with_taps)
            self._programs[key] = program
            if len(self._programs) > PROGRAMS_KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]

    def _checked(self, size_hw: _Size, with_taps: bool) -> _Program | None:
        """The compiled form, None where it cannot be made or is not right."""
        picture = check_picture(size_hw)
        try:
            program = self._compiled(size_hw, with_taps)
        except _failures() as error:
            log.warning(
                "openvino_not_used",
                reason=str(error),
                size_hw=size_hw,
                effect="torch computes this size: slower, same result",
            )
            return None
        exact = self._exact_outputs(picture, with_taps)
        errors = [
            relative_error(found, wanted)
            for found, wanted in zip(program.run(picture), exact, strict=True)
        ]
        in_float32 = self.precision == "float32"
        tolerance = FLOAT32_TOLERANCE if in_float32 else LOW_PRECISION_TOLERANCE
        accepted = all(error <= tolerance for error in errors)  # a NaN is not
        log.info(
            "openvino_checked",
            precision=self.precision,
            size_hw=size_hw,
            taps=with_taps,
            error=float(f"{max(errors):.2g}"),
            accepted=accepted,
        )
        if in_float32 and not accepted:
            log.warning(
                "openvino_not_used",
                reason="its results differ from torch's on the check picture",
                size_hw=size_hw,
                effect="torch computes this size: slower, right",
            )
        return program if accepted else None

    def _exact_outputs(self, picture: Tensor, with_taps: bool) -> list[Tensor]:
        # Through the doors without autocast, so that the measure is float32 on any machine.
        pixels = self._torch.normalised(picture)
        with torch.inference_mode():
            if not with_taps:
                return [self._torch.cells_at(pixels)]
            cells, taps = self._torch.cells_and_taps_at(pixels)
            return [cells, *taps]

    def _compiled(self, size_hw: _Size, with_taps: bool) -> _Program:
        model = self._model(with_taps).clone()
        model.reshape([1, *size_hw, 3])
        options = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            # Pinned, two processes take the same core (Intel's support article 000058227).
            "ENABLE_CPU_PINNING": False,
        }
        compiled = _core().compile_model(model, "CPU", options)
        shapes = tuple(tuple(output.shape)[1:] for output in compiled.outputs)
        return _Program(compiled.create_infer_request(), shapes)

    def _model(self, with_taps: bool) -> Any:
        if with_taps not in self._models:
            trunk = self._torch.trunk_with_taps() if with_taps else self._torch.trunk
            self._models[with_taps] = self._reading_bytes(_converted(trunk))
        return self._models[with_taps]

    def _reading_bytes(self, model: Any) -> Any:
        """The model with the normalisation in front, reading (1, H, W, 3) uint8."""
        openvino = _openvino()
        steps = openvino.preprocess.PrePostProcessor(model)
        pixels = steps.input()
        pixels.tensor().set_element_type(openvino.Type.u8)
        pixels.tensor().set_layout(openvino.Layout("NHWC"))
        pixels.model().set_layout(openvino.Layout("NCHW"))
        numbers = pixels.preprocess().convert_element_type(openvino.Type.f32)
        numbers.mean(self._torch.mean_u8.flatten().tolist())
        numbers.scale(self._torch.std_u8.flatten().tolist())
        return steps.build()


@dataclass(frozen=True, slots=True)
class _Program:
    """One compiled form. output_shapes: each without the batch."""

    request: Any
    output_shapes: tuple[tuple[int, ...], ...]

    def run(self, images_u8: Tensor) -> list[Tensor]:
        """(B, 3, H, W) uint8 to the outputs, each (B, C, h, w) float32."""
        # What the pictures are when they come from `look`: no copy.
        pixels = images_u8.permute(0, 2, 3, 1).contiguous().numpy()
        outputs = [np.empty((len(pixels), *shape), np.float32) for shape in self.output_shapes]
        for i in range(len(pixels)):
            found = self.request.infer([pixels[i : i + 1]], share_inputs=True, share_outputs=True)
            for number, output in enumerate(outputs):
                output[i] = found[number][0]
        return [torch.from_numpy(output) for output in outputs]


def openvino_form(precision: Precision) -> str:
    """What OpenVinoRuntime calls itself in this precision."""
    return f"openvino {precision}"


def _size_hw(images_u8: Tensor) -> _Size:
    return int(images_u8.shape[-2]), int(images_u8.shape[-1])


@functools.lru_cache(maxsize=1)
def _openvino() -> Any:
    """The package. Raises: ImportError."""
    # At its import the package tells its maker over the network that it is used, unless
    # this companion cannot be imported; a None makes it so (documented for sys.modules).
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)
    return importlib.import_module("openvino")


@functools.lru_cache(maxsize=1)
def _core() -> Any:
    return _openvino().Core()


def multiplies_bfloat16() -> bool:
    """Whether OpenVINO does so on this processor. Raises: as OpenVinoRuntime."""
    # What OpenVINO names here the processor does in hardware (AVX-512 or AMX), not in steps.
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _failures() -> tuple[type[Exception], ...]:
    frontend = _openvino().frontend
    return (
        RuntimeError,
        frontend.GeneralFailure,
        frontend.NotImplementedFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
    )


def _converted(trunk: nn.Module) -> Any:
    """The trunk as OpenVINO's model of any batch and size, sharing its parameters."""
    decoders = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    frontend = _openvino().frontend.FrontEndManager().load_by_framework("pytorch")
    example = torch.zeros((1, *check_picture().shape[1:]))
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        # torch announces the end of the tracing on which OpenVINO builds; torch.export,
        # its heir, takes three times as long for the same model.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Our own check replaces the tracer's, which runs the trunk twice more.
        decoder = decoders.TorchScriptPythonDecoder(
            trunk, example_input=example, trace_kwargs={"check_trace": False}
        )
        return frontend.convert(frontend.load(decoder))
