"""Which form of the forward pass runs here: of those that are right, the fastest by measure."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata

import structlog
import torch
from torch import Tensor

from backend.errors import ConfigError
from backend.vision.kept_choices import Circumstances, KeptChoices
from backend.vision.openvino_runtime import (
    OpenVinoRuntime,
    Precision,
    multiplies_bfloat16,
    openvino_form,
)
from backend.vision.runtime import (
    Runtime,
    RuntimeName,
    TorchRuntime,
    check_picture,
    low_precision,
    processor,
    torch_form,
)

log = structlog.get_logger(__name__)

MARGIN = 0.05
"""What a less exact or less usual form must be faster by, so that noise decides nothing."""

MOST_PICTURES = 8
"""In one measured pass: what a worker looks at together, unless BATCH_PICTURES says otherwise."""

_ROUND_S = 0.1
"""What one pass of all forms may take; large networks get fewer pictures, at least one."""

_ROUNDS = 4
_HOPELESS = 1.5
"""Time over the fastest's at which a form is given up after two rounds."""

_LIMIT_S = 3.0
"""After it no further form and no further round is begun."""

Maker = Callable[[], Runtime | None]
"""Makes a form, None where it is not right here."""


def chosen_runtime(
    torch_runtime: TorchRuntime,
    wanted: RuntimeName,
    side_px: int,
    network: str = "",
    choices: KeptChoices | None = None,
) -> Runtime:
    """The form in which the network runs in this process.

    torch_runtime: tuned, in float32. wanted: RUNTIME; torch and openvino leave only their
        own forms. side_px: of the pictures that are measured. network: name and digest of
        the weights, by which a measured choice is kept. choices: None measures nothing,
        and the most usual form that passes its accuracy check runs.
    What OpenVINO cannot run right stays with torch whatever is wanted.
    Raises: ConfigError where openvino is asked for and cannot run here.
    """
    openvino = _OpenVino(torch_runtime, side_px)
    if wanted == "openvino":
        openvino.require()
    makers = _makers(torch_runtime, openvino, wanted)
    if choices is None:
        return next(_right(makers), torch_runtime)
    here = _circumstances(torch_runtime.device, wanted, side_px, network)
    if (runtime := _chosen_before(makers, choices.find(here))) is not None:
        return runtime
    with choices.in_turn():
        # Another worker may have measured while this one waited for its turn.
        if (runtime := _chosen_before(makers, choices.find(here))) is not None:
            return runtime
        forms = {runtime.form: runtime for runtime in _right(makers)}
        if not forms:
            return torch_runtime
        begun_s = time.perf_counter()
        took_s = seconds_a_picture(
            {form: functools.partial(_pass, runtime) for form, runtime in forms.items()},
            _pictures(side_px),
            _clock(torch_runtime.device),
        )
        found = preferred(took_s)
        images_s = {form: float(f"{1 / seconds:.3g}") for form, seconds in took_s.items()}
        test_s = round(time.perf_counter() - begun_s, 2)
        log.info("runtime_chosen", runtime=found, images_s=images_s, self_test_s=test_s)
        choices.keep(here, found, images_s)
        return forms[found]


def seconds_a_picture(
    forms: Mapping[str, Callable[[Tensor], object]],
    images_u8: Tensor,
    clock_s: Callable[[], float],
) -> dict[str, float]:
    """The least time of each form, all in turn, so that a disturbance meets all of them.

    forms: a forward pass each; the first is measured whatever it takes, later ones may be
    left out. images_u8: (B, 3, S, S), of which a pass takes as many as the time allows.
    """
    begun_s = clock_s()

    def took_s(form: str, count: int) -> float:
        started_s = clock_s()
        forms[form](images_u8[:count])
        return (clock_s() - started_s) / count

    def late() -> bool:
        return clock_s() - begun_s > _LIMIT_S

    single_s: dict[str, float] = {}
    for form in forms:
        took_s(form, 1)  # the first pass allocates and plans
        single_s[form] = took_s(form, 1)
        if late():
            return single_s
    count = min(len(images_u8), max(1, int(_ROUND_S / sum(single_s.values()))))
    best_s = {form: float("inf") for form in forms}
    running = list(forms)
    for number in range(_ROUNDS):
        for form in running:
            best_s[form] = min(best_s[form], took_s(form, count))
        if number > 0:  # one disturbance alone gives nobody up
            bar_s = _HOPELESS * min(best_s.values())
            running = [form for form in running if best_s[form] <= bar_s]
        if len(running) == 1 or late():
            break
    return best_s


def preferred(took_s: Mapping[str, float]) -> str:
    """The first form that none of the others beats by MARGIN.

    took_s: by form, in the order in which they are preferred where speed is the same.
    """
    bar_s = min(took_s.values()) * (1 + MARGIN)
    return next(form for form, seconds in took_s.items() if seconds <= bar_s)


class _OpenVino:
    """OpenVINO's forms of one network, which is converted once."""

    def __init__(self, torch_runtime: TorchRuntime, side_px: int) -> None:
        self._torch = torch_runtime
        self._side_px = side_px

    def require(self) -> None:
        """Raises: ConfigError where OpenVINO cannot run at all."""
        if self._torch.device.type != "cpu":
            raise ConfigError(
                f"RUNTIME=openvino needs a CPU; this worker's device is {self._torch.device}.",
                "Set RUNTIME=auto, or DEVICE=cpu.",
            )
        if isinstance(self._base, str):
            raise ConfigError(
                f"RUNTIME=openvino, but the package cannot be used here: {self._base}.",
                "Install it with `pip install openvino`, or set RUNTIME=auto.",
            )

    def make(self, precision: Precision) -> Runtime | None:
        """The form in this precision, None where it is not right or cannot be had."""
        if isinstance(self._base, str) or (precision == "bfloat16" and not multiplies_bfloat16()):
            return None
        runtime = self._base.running_as(precision)
        return runtime if runtime.runs(self._side_px) else None

    @functools.cached_property
    def _base(self) -> OpenVinoRuntime | str:
        # Where it is not installed or not for this machine, the reason.
        try:
            return OpenVinoRuntime(self._torch)
        except (ImportError, OSError, RuntimeError) as error:
            log.info("openvino_not_here", reason=str(error), effect="torch runs: slower")
            return str(error)


def _makers(
    torch_runtime: TorchRuntime, openvino: _OpenVino, wanted: RuntimeName
) -> dict[str, Maker]:
    """Every form that may run here, preferred first: exact before fast, OpenVINO before torch."""
    makers: dict[str, Maker] = {}
    agrees = functools.cache(torch_runtime.agrees)

    def in_torch(precision: torch.dtype, order: torch.memory_format) -> Runtime | None:
        return torch_runtime.running_as(precision, order) if agrees(precision) else None

    def add(by_openvino: Precision, by_torch: torch.dtype | None) -> None:
        if wanted != "torch" and torch_runtime.device.type == "cpu":
            makers[openvino_form(by_openvino)] = functools.partial(openvino.make, by_openvino)
        if wanted != "openvino" and by_torch is not None:
            for order in (torch.channels_last, torch.contiguous_format):
                make = functools.partial(in_torch, by_torch, order)
                makers[torch_form(by_torch, order)] = make

    add("float32", torch.float32)
    add("bfloat16", low_precision(torch_runtime.device))
    return makers


def _chosen_before(makers: Mapping[str, Maker], form: str) -> Runtime | None:
    runtime = makers[form]() if form in makers else None
    if runtime is None:
        return None
    log.info("runtime_chosen", runtime=form, measured="at an earlier start")
    return runtime


def _right(makers: Mapping[str, Maker]) -> Iterator[Runtime]:
    made = (make() for make in makers.values())
    return (runtime for runtime in made if runtime is not None)


def _pass(runtime: Runtime, images_u8: Tensor) -> None:
    cells = runtime.cells(images_u8)
    if cells.device.type == "cuda":
        torch.cuda.synchronize(cells.device)


def _clock(device: torch.device) -> Callable[[], float]:
    # One thread's processor time leaves out what others take of a busy core. Several would
    # be charged for waiting for each other, and a GPU's work is not in it.
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def _pictures(side_px: int) -> Tensor:
    # In the memory order in which pictures come from `look`.
    pictures = check_picture((side_px, side_px)).repeat(MOST_PICTURES, 1, 1, 1)
    return pictures.contiguous(memory_format=torch.channels_last)


def _circumstances(
    device: torch.device, wanted: RuntimeName, side_px: int, network: str
) -> Circumstances:
    """All that the speed, or the list of the right forms, hangs on."""
    told = processor()
    names = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part")
    try:
        openvino = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        openvino = ""
    return {
        "processor": " ".join(told[name] for name in names if name in told),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": str(torch.__version__),
        "openvino": openvino,
        "network": network,
        "side_px": side_px,
        "wanted": wanted,
    }
