"""What a frozen trunk computes on its way, at three strides, in one forward pass.

A head that learns boxes needs cells finer than the last grid. Which tensors to tap is
found from the trunk's own graph, so every architecture has them without a table.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

STRIDES = (8, 16, 32)

Tapped = tuple[Tensor, tuple[Tensor, ...]]
"""cells (B, C, h, w) and the taps."""

_PROBE_PX = 64
"""Side of the blank picture whose tensors tell each node's stride; divisible by 32."""


def tapped(trunk: nn.Module) -> fx.GraphModule:
    """The trunk, returning (cells, taps): its own output and a tuple of (B, C, h, w).

    Taps, coarse last: the last block at each of the strides 8, 16 and 32, the widest
    view at stride 16 (the last tensor before the grid is halved), and the block before
    the last. What an architecture does not have, or has twice, is left out. Parameters
    are shared with the trunk.
    Source of the choice: the taps of SSD on MobileNet (Liu et al. 2016; Sandler et al.
    2018) and an ablation on accepted boxes. Raises: what torch.fx raises for a trunk
    that it cannot trace.
    """
    graph_module = trunk if isinstance(trunk, fx.GraphModule) else fx.symbolic_trace(trunk)
    graph = copy.deepcopy(graph_module.graph)
    probed = fx.GraphModule(graph_module, graph)
    like = next(trunk.parameters())
    ShapeProp(probed).propagate(torch.zeros((1, 3, _PROBE_PX, _PROBE_PX), device=like.device))
    output = next(node for node in graph.nodes if node.op == "output")
    taps = _chosen([node for node in graph.nodes if node.op not in ("placeholder", "output")])
    output.args = ((output.args[0], tuple(taps)),)
    graph.lint()
    probed.recompile()
    return probed.eval()


def _chosen(nodes: list[fx.Node]) -> list[fx.Node]:
    at: dict[int, list[fx.Node]] = {stride: [] for stride in STRIDES}
    for node in nodes:
        shape = list(getattr(node.meta.get("tensor_meta"), "shape", []))
        if len(shape) == 4 and (stride := _stride(int(shape[-1]))) in at:
            at[stride].append(node)
    chosen: list[fx.Node] = []
    for stride in STRIDES:
        blocks = _block_ends(at[stride])
        if stride == STRIDES[-1]:
            chosen += blocks[-2:]
        else:
            chosen += blocks[-1:]
        if stride == 16 and at[stride]:
            chosen.append(at[stride][-1])
    return list(dict.fromkeys(chosen))


def _stride(side: int) -> int:
    # Unpadded layers lose a cell: 64 pixels at stride 8 may come out as 7 cells.
    return next((s for s in STRIDES if _PROBE_PX // s - 1 <= side <= _PROBE_PX // s), 0)


def _block_ends(nodes: list[fx.Node]) -> list[fx.Node]:
    """The last node of each top-level child whose output has this stride, in order."""
    ends: dict[str, fx.Node] = {}
    for node in nodes:
        ends[_child(node)] = node
    # A child that halves the grid has its first nodes here and its output elsewhere.
    return [node for child, node in ends.items() if _leaves(node, child)]


def _child(node: fx.Node) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = str(stack[-1][0]) if stack else str(node.target)
    return path.split(".", 1)[0]


def _leaves(node: fx.Node, child: str) -> bool:
    return all(user.op == "output" or _child(user) != child for user in node.users)
