"""Other ways back through a rectifier: guided backpropagation and the deconvnet.

A rule holds for the forward passes under it and for the gradients of what they gave. It
watches the calls of ``torch`` instead of the modules, so it meets a module that a block
uses twice, ``F.relu`` without a module, and a graph that torch.fx has rewritten; the
network itself is never touched, and nothing can be left behind on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from backend.errors import ConfigError

_RELU = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_HARDTANH = {F.hardtanh, F.hardtanh_}


@contextmanager
def guided() -> Iterator[None]:
    """A rectifier passes a slope back where its input was let through and the slope is positive.

    The input of ReLU6 is let through between 0 and 6. Other activations keep their own
    derivative.
    Source: Springenberg et al. 2015, "Striving for Simplicity", figure 1.
    Raises: ConfigError where no rectifier was called.
    """
    with _rule(gated=True, name="guided backpropagation"):
        yield


@contextmanager
def deconvnet() -> Iterator[None]:
    """A rectifier passes back every positive slope, whatever its input was.

    Source: Zeiler and Fergus 2014, section 2.1. Differs: it starts from a class score
    instead of one unit of a layer. Max pooling goes back by its own gradient, which is
    the paper's switches. Other activations keep their own derivative.
    Raises: ConfigError where no rectifier was called.
    """
    with _rule(gated=False, name="the deconvnet"):
        yield


@contextmanager
def _rule(*, gated: bool, name: str) -> Iterator[None]:
    watch = _Watch(gated)
    with watch:
        yield
    if not watch.met:
        raise ConfigError(
            f"The backbone has no rectifier (ReLU, ReLU6), for which alone {name} has a rule.",
            "Choose gradient, smoothgrad or integrated_gradients, or another backbone.",
        )


class _Watch(TorchFunctionMode):
    """Calls our rectifier in place of every ReLU and ReLU6 of this thread."""

    def __init__(self, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        self.met = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        ceiling = ceiling_of(func, args, kwargs or {})
        if ceiling is None:
            return func(*args, **(kwargs or {}))
        self.met += 1
        # Never in place: the value that goes on is the returned one either way.
        source = args[0] if args else (kwargs or {})["input"]
        return cast(Any, _Rectify).apply(source, ceiling, self.gated)


def ceiling_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """Above which value a call of torch rectifies too; None: it is no rectifier."""
    if func in _RELU:
        return math.inf
    if func is F.relu6:
        return 6.0
    if func in _HARDTANH:  # which is what the module ReLU6 calls
        low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
        high = args[2] if len(args) > 2 else kwargs.get("max_val", 1.0)
        return float(high) if low == 0 else None
    return None


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, ceiling: float, gated: bool) -> Tensor:
        if gated:
            ctx.save_for_backward((source > 0) & (source < ceiling))
        return source.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        positive = slopes[0].clamp_min(0)
        for gate in cast(tuple[Tensor, ...], ctx.saved_tensors):
            positive = positive * gate
        return positive, None, None
