"""A first student made from the teacher: fewer hidden channels, refitted projections.

Block by block, from the input on, the hidden channels that explain least of the block's
output are taken away one after the other, and the projection of the remaining ones is
solved anew by ridge regression against the teacher's output. The regression sees what the
already pruned blocks before it deliver, so that it also repairs part of their error.
Idea: Luo et al. 2017, "ThiNet"; here as backward elimination on one Gram matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

RIDGE = 1e-3
CELLS_PER_IMAGE = 64


@torch.no_grad()
def start_from_teacher(
    student: nn.Module, teacher: nn.Module, batches: Sequence[Tensor], rng: torch.Generator
) -> None:
    """Fills student with what it can keep of teacher; both are in evaluation mode after.

    batches: normalised images (B, 3, S, S) to fit on, some hundred canvases together.
    """
    student.eval()
    teacher.eval()
    ours = cast(nn.Sequential, student.features)
    theirs = cast(nn.Sequential, teacher.features)
    teacher_maps = list(batches)
    student_maps = list(batches)
    for own, source in zip(ours, theirs, strict=True):
        wanted = [source(x) for x in teacher_maps]
        if _shapes(own) == _shapes(source):
            own.load_state_dict(source.state_dict())
        else:
            _prune_block(own, source, student_maps, wanted, rng)
        teacher_maps = wanted
        student_maps = [own(x) for x in student_maps]
    cast(Any, student.classifier).load_state_dict(cast(Any, teacher.classifier).state_dict())


def _shapes(module: nn.Module) -> list[torch.Size]:
    return [value.shape for value in module.state_dict().values()]


def _prune_block(
    own: Any, source: Any, inputs: Sequence[Tensor], wanted: Sequence[Tensor], rng: torch.Generator
) -> None:
    """One inverted residual: expand, depthwise, project, normalise."""
    expand, depthwise, _, _ = source.conv
    hidden_rows, target_rows = [], []
    for x, y in zip(inputs, wanted, strict=True):
        hidden = depthwise(expand(x))
        target = y - x if source.use_res_connect else y
        cells = hidden.shape[2] * hidden.shape[3]
        chosen = torch.randperm(cells, generator=rng)[:CELLS_PER_IMAGE].to(x.device)
        hidden_rows.append(hidden.flatten(2)[:, :, chosen].transpose(1, 2).flatten(0, 1))
        target_rows.append(target.flatten(2)[:, :, chosen].transpose(1, 2).flatten(0, 1))
    hidden_all = torch.cat(hidden_rows).double()
    target_all = torch.cat(target_rows).double()
    keep, weight, bias = select_channels(hidden_all, target_all, own.conv[2].in_channels)
    _copy_channels(own.conv[0], expand, keep)
    _copy_channels(own.conv[1], depthwise, keep)
    projected = hidden_all[:, keep] @ weight
    norm = own.conv[3]
    own.conv[2].weight.copy_(weight.T[:, :, None, None])
    norm.running_mean.copy_(projected.mean(0))
    norm.running_var.copy_(projected.var(0))
    norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps))
    norm.bias.copy_(projected.mean(0) + bias)


def _copy_channels(own: Any, source: Any, keep: Tensor) -> None:
    """Convolution and normalisation of the kept output channels (one input or depthwise)."""
    own[0].weight.copy_(source[0].weight[keep])
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(own[1], name).copy_(getattr(source[1], name)[keep])


def select_channels(hidden: Tensor, target: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which count columns of hidden explain target best, and how.

    hidden: (N, H) float64. target: (N, C) float64. Returns the kept columns (count,) int64
    in ascending order, weight (count, C) and bias (C,) of the ridge regression on them.
    """
    centre_h, centre_t = hidden.mean(0), target.mean(0)
    x, y = hidden - centre_h, target - centre_t
    y_scaled = y / y.std(0).clamp_min(1e-6)
    gram = x.T @ x
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype, device=x.device)
    inverse = torch.linalg.inv(gram)
    solution = inverse @ (x.T @ y_scaled)
    alive = torch.ones(len(gram), dtype=torch.bool, device=x.device)
    for _ in range(len(gram) - count):
        # Leaving channel j out raises the squared error by |w_j|^2 / (G^-1)_jj.
        cost = solution.square().sum(1) / inverse.diagonal().clamp_min(1e-30)
        j = int(torch.where(alive, cost, torch.inf).argmin())
        alive[j] = False
        column = inverse[:, j] / inverse[j, j]
        solution = solution - column[:, None] * solution[j]
        inverse = inverse - column[:, None] * inverse[j]
    keep = torch.nonzero(alive).flatten()
    weight = torch.linalg.solve(gram[keep][:, keep], x[:, keep].T @ y)
    return keep, weight, centre_t - centre_h[keep] @ weight
