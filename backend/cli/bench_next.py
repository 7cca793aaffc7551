"""The `bench next` command: whether a strategy saves annotations."""

from __future__ import annotations

from pathlib import Path

import typer

from backend.cli import measuring
from backend.errors import ConfigError
from backend.evaluation.annotator import BASELINE, Annotator, Plan, Savings
from backend.evaluation.bed import bed_of, measuring_learner
from backend.evaluation.curves import check_counts, shuffled_split
from backend.evaluation.machine import describe_machine
from backend.evaluation.proposers import learned_on, zero_shot_on
from backend.evaluation.voc import read_image_set
from backend.learning.next_tasks import STRATEGIES
from backend.vision.backbones import load_backbone


def command(
    data: Path = measuring.DATA,
    format_name: str = measuring.FORMAT,
    strategies: str = typer.Option(",".join(STRATEGIES.names()), help="Names, comma separated."),
    start: int = typer.Option(3, min=1, help="Pictures accepted at first, at random."),
    step: int = typer.Option(5, min=1, help="Pictures chosen at a time."),
    most: int = typer.Option(33, min=1, help="Pictures accepted in the end."),
    seeds: int = measuring.SEEDS,
    backbone_name: str = measuring.BACKBONE,
    weights: Path | None = measuring.WEIGHTS,
    device: str = measuring.DEVICE,
    cache: Path | None = measuring.CACHE,
    as_json: bool = measuring.AS_JSON,
    plot: Path | None = measuring.PLOT,
) -> None:
    """Whether choosing the next pictures saves annotations, against taking any.

    A simulated annotator accepts the true boxes of what each strategy chooses; draws and
    held-out halves are those of `bench accuracy`.

    Example: python -m backend bench next --data raccoon --strategies mixed,random
    """
    plot = measuring.svg_path(plot)
    names = tuple(dict.fromkeys((*filter(None, strategies.split(",")), BASELINE)))
    for name in names:
        STRATEGIES.get(name)
    if most < start:
        raise ConfigError(f"{most} in the end are fewer than {start} at first.", "Raise --most.")
    images = read_image_set(data, format_name)
    check_counts((most,), len(images.pictures))
    backbone = load_backbone(backbone_name, weights, device)
    plan = Plan(start, step, most)
    total = len(names) * seeds * plan.points
    with measuring_learner(cache) as learner, measuring.steps(total) as bar:
        bed = bed_of(images, backbone, learner, bar.forward)
        splits = {seed: shuffled_split(bed.ids, seed) for seed in range(seeds)}
        small = learner.wants_small(list(bed.examples.values()))
        pooled = bed.shelf.pooled(bed.ids, small=small)
        annotator = Annotator(learned_on(bed, zero_shot_on(bed)), bed.examples, pooled)
        curves = {name: annotator.curve(name, splits, plan, bar.step) for name in names}
    savings = Savings(bed.name, backbone_name, tuple(splits), curves)
    measuring.show(savings, describe_machine(backbone.device), as_json, plot)
