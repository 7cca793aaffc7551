"""The way back of excitation backpropagation: winning probabilities in place of slopes.

The probability of a unit is shared among the units that feed it, in proportion to what
each adds to it by a positive weight. Like ``rectifiers`` this watches the calls of
``torch``: the network is never touched and nothing can be left behind on it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from backend.errors import ConfigError
from backend.vision.saliency.rectifiers import ceiling_of

_WEIGHED = {F.conv2d, F.linear}
_POOLED = {Tensor.mean, F.avg_pool2d, F.adaptive_avg_pool2d}
_ADDED = {Tensor.add, torch.add}
_HANDED_ON = {Tensor.clone, Tensor.flatten, torch.cat, F.max_pool2d}
"""Calls whose own gradient is the rule already: to the winner of a maximum, or to all."""

_LEAST = 1e-20
"""Excitation that counts as none, so that float32 need not divide by it."""


class Excitation(TorchFunctionMode):
    """Gradients of what is computed under it are marginal winning probabilities.

    Put a distribution over units in as ``grad_outputs``; at any tensor on the way the
    gradient is then not below 0, and sums to what was put in less what got lost: a unit
    that none of its inputs excites (a bias alone does) hands on nothing, as in the paper.

    The paper speaks of layers between rectifiers. What the networks have besides:
    values below zero (the linear bottlenecks of MobileNetV2, the pixels) excite nothing;
    a rectifier, ReLU6 above 6 as well, hands on what it gets; a sum of branches shares by
    their positive parts; a mean by the values above zero. Batch normalisation has to be
    folded into the layer before it.

    layers: how many with weights were called so far. turned: the number of one, counted
    from 1, that gets its weights and biases with their signs turned: called last, it is
    that of the classes' dual units (section 3.3 of the source).

    Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop",
    sections 3.1 and 3.2. Raises: ConfigError at a call that has no rule (GELU, SiLU,
    products, normalisation), for calls that autograd records.
    """

    def __init__(self, turned: int | None = None) -> None:
        super().__init__()
        self.layers = 0
        self._turned = turned

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if func in _WEIGHED:
            self.layers += 1
            layer = _Weighed(-1 if self.layers == self._turned else 1, func, *args, **given)
            return _share(layer.output, layer.excited, layer.source)
        if func in _ADDED:
            return _share(torch.add, torch.add, *args)
        if func in _POOLED:
            source, *rest = args

            def pooled(values: Tensor) -> Tensor:
                return cast(Tensor, func(values, *rest, **given))

            return _share(pooled, pooled, source)
        if (ceiling := ceiling_of(func, args, given)) is not None:
            # Never in place: the value that goes on is the returned one either way.
            return _share(partial(torch.clamp, min=0, max=ceiling), _itself, args[0])
        found = func(*args, **given)
        if func not in _HANDED_ON and isinstance(found, Tensor) and found.requires_grad:
            raise ConfigError(
                f"Excitation backpropagation has no rule for {resolve_name(func)}, which the "
                "backbone calls.",
                "Choose cam, gradcam or layercam, or a backbone of ReLU or ReLU6.",
            )
        return found


class _Weighed:
    """A call of a layer with weights. sign: -1 turns those of weights and bias."""

    def __init__(
        self,
        sign: int,
        func: Callable[..., Tensor],
        source: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *rest: Any,
        **more: Any,
    ) -> None:
        self.source = source
        self._func, self._rest, self._more = func, rest, more
        self._weight = weight if sign == 1 else -weight
        self._bias = bias if sign == 1 or bias is None else -bias

    def output(self, source: Tensor) -> Tensor:
        return self._func(source, self._weight, self._bias, *self._rest, **self._more)

    def excited(self, source: Tensor) -> Tensor:
        return self._func(source, self._weight.clamp_min(0), None, *self._rest, **self._more)


def _itself(source: Tensor) -> Tensor:
    return source


def _share(
    output: Callable[..., Tensor], excited: Callable[..., Tensor], *sources: Tensor
) -> Tensor:
    return cast(Tensor, cast(Any, _Share).apply(output, excited, *sources))


class _Share(torch.autograd.Function):
    """output: what the call gives. excited: the part of it that positive inputs add."""

    @staticmethod
    def forward(
        ctx: Any,
        output: Callable[..., Tensor],
        excited: Callable[..., Tensor],
        *sources: Tensor,
    ) -> Tensor:
        ctx.excited = excited
        ctx.save_for_backward(*sources)
        return output(*sources)

    @staticmethod
    def backward(ctx: Any, *won: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [source.clamp_min(0).requires_grad_(True) for source in ctx.saved_tensors]
        with torch.enable_grad():
            total = ctx.excited(*inputs)
        each = torch.where(total > _LEAST, won[0] / total, 0)
        handed = torch.autograd.grad(total, inputs, each)
        parts = (value.detach() * part for value, part in zip(inputs, handed, strict=True))
        return None, None, *parts
