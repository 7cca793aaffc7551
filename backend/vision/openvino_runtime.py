"""OpenVINO for the frozen forward pass on a CPU; whatever wants gradients stays with torch."""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
import torch
from torch import Tensor, nn

from backend.errors import ConfigError
from backend.vision.runtime import (
    LOW_PRECISION_TOLERANCE,
    Runtime,
    RuntimeName,
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

_Size = tuple[int, int]


class OpenVinoRuntime:
    """The trunk of a TorchRuntime, compiled for this CPU from the same parameters.

    Pictures go through one by one: the activations of one stay in the processor's cache,
    those of a batch do not, and an answer does not depend on who shares its batch. Each
    input size is compiled when it is first seen and compared with torch on a drawn
    picture; a size that fails, or that OpenVINO cannot compile, stays with torch.
    torch_runtime: tuned or not, on a CPU. Raises: ImportError without openvino.
    """

    def __init__(self, torch_runtime: TorchRuntime) -> None:
        self.name = "openvino"
        self.device = torch_runtime.device
        self._torch = torch_runtime
        self._threads = torch.get_num_threads()
        self._try_bfloat16 = _multiplies_bfloat16()
        self._models: dict[bool, Any] = {}
        self._programs: OrderedDict[tuple[bool, _Size], _Program | None] = OrderedDict()

    def runs(self, side_px: int) -> bool:
        """Whether pictures of this side are OpenVINO's: the self-test, once a side."""
        return self._program((side_px, side_px), with_taps=False) is not None

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
            self._programs[key] = self._compiled_and_checked(size_hw, with_taps)
            if len(self._programs) > PROGRAMS_KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]

    def _compiled_and_checked(self, size_hw: _Size, with_taps: bool) -> _Program | None:
        picture = check_picture(size_hw)
        exact = self._exact_outputs(picture, with_taps)
        for precision in ("bf16", "f32") if self._try_bfloat16 else ("f32",):
            try:
                program = self._compiled(size_hw, with_taps, precision)
            except _failures() as error:
                log.warning(
                    "openvino_not_used",
                    reason=str(error),
                    size_hw=size_hw,
                    effect="torch computes this size: slower, same result",
                )
                return None
            errors = [
                relative_error(found, wanted)
                for found, wanted in zip(program.run(picture), exact, strict=True)
            ]
            tolerance = FLOAT32_TOLERANCE if precision == "f32" else LOW_PRECISION_TOLERANCE
            accepted = all(error <= tolerance for error in errors)  # a NaN is not
            log.info(
                "openvino_checked",
                precision=precision,
                size_hw=size_hw,
                taps=with_taps,
                error=float(f"{max(errors):.2g}"),
                accepted=accepted,
            )
            if accepted:
                return program
            if precision == "bf16":
                self._try_bfloat16 = False
        log.warning(
            "openvino_not_used",
            reason="its results differ from torch's on the check picture",
            size_hw=size_hw,
            effect="torch computes this size: slower, right",
        )
        return None

    def _exact_outputs(self, picture: Tensor, with_taps: bool) -> list[Tensor]:
        # Through the doors without autocast, so that the measure is float32 on any machine.
        pixels = self._torch.normalised(picture)
        with torch.inference_mode():
            if not with_taps:
                return [self._torch.cells_at(pixels)]
            cells, taps = self._torch.cells_and_taps_at(pixels)
            return [cells, *taps]

    def _compiled(self, size_hw: _Size, with_taps: bool, precision: str) -> _Program:
        model = self._model(with_taps).clone()
        model.reshape([1, *size_hw, 3])
        options = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
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


def chosen_runtime(torch_runtime: TorchRuntime, wanted: RuntimeName, side_px: int) -> Runtime:
    """The runtime that RUNTIME names, or torch where OpenVINO does not pass its self-test.

    side_px: of the pictures that the self-test takes.
    Raises: ConfigError where openvino is asked for and cannot run here.
    """
    on_cpu = torch_runtime.device.type == "cpu"
    if wanted == "torch" or (wanted == "auto" and not on_cpu):
        return torch_runtime
    if not on_cpu:
        raise ConfigError(
            f"RUNTIME=openvino is for a CPU; this worker's device is {torch_runtime.device}.",
            "Set RUNTIME=auto, or DEVICE=cpu.",
        )
    try:
        _openvino()
        runtime = OpenVinoRuntime(torch_runtime)
    except (ImportError, OSError, RuntimeError) as error:  # not there, or not for this machine
        if wanted == "openvino":
            raise ConfigError(
                f"RUNTIME=openvino, but the package cannot be used here: {error}.",
                "Install it with `pip install openvino`, or set RUNTIME=auto.",
            ) from error
        log.info("openvino_not_here", reason=str(error), effect="torch runs: slower")
        return torch_runtime
    return runtime if runtime.runs(side_px) else torch_runtime


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


def _multiplies_bfloat16() -> bool:
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
