"""The `bench saliency` command: which saliency method to choose."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import typer

from backend.cli import measuring
from backend.domain import Boxes, Picture
from backend.evaluation.bed import MOST_PIXELS, measuring_learner
from backend.evaluation.localisation import BATCH as PHOTOS_A_BATCH
from backend.evaluation.localisation import (
    CLASS_ACTIVATION,
    measure_localisation,
    read_boxed_photos,
)
from backend.evaluation.machine import describe_machine
from backend.evaluation.saliency_bench import BATCH, evenly, measure_methods
from backend.evaluation.voc import LabelledPicture, read_image_set
from backend.jobs.sight import BESIDE_CAM, Eyes
from backend.media.decode import decode_picture
from backend.vision import saliency
from backend.vision.backbones import load_backbone

NPZ = "npz"


def command(
    data: Path = measuring.DATA,
    format_name: str = typer.Option(
        "voc", "--format", help=f"How the boxes are written; {NPZ} measures MaxBoxAcc."
    ),
    methods: str = typer.Option("", help="Names, comma separated; empty: all that are measured."),
    pictures: int | None = typer.Option(None, min=1, help="So many, evenly spaced; else all."),
    steps: int = typer.Option(20, min=1, help="Steps of deletion and insertion."),
    backbone_name: str = measuring.BACKBONE,
    weights: Path | None = measuring.WEIGHTS,
    device: str = measuring.DEVICE,
    as_json: bool = measuring.AS_JSON,
    plot: Path | None = measuring.PLOT,
) -> None:
    """Where methods point, whether the network goes by what they show, boxes and speed.

    pointing: share of maps whose largest value lies in a true box (Zhang et al. 2016).
    deletion, insertion: area under the probability of what is explained while pixels go or
    come in the map's order (Petsiuk et al. 2018); low and high are good. f1_50: of the boxes
    at IoU 0.5, labels as in `bench accuracy`. With npz: MaxBoxAcc (Choe et al. 2020).

    Example: python -m backend bench saliency --data raccoon --pictures 40
    """
    plot = measuring.svg_path(plot)
    named = tuple(dict.fromkeys(part.strip() for part in methods.split(",") if part.strip()))
    for name in named:
        saliency.get(name)
    if format_name == NPZ:
        pool = read_boxed_photos(data)
        kept = pool.select(torch.tensor(evenly(range(len(pool)), pictures)))
        backbone = load_backbone(backbone_name, weights, device)
        wanted = named or CLASS_ACTIVATION
        with measuring.steps(len(wanted) * -(-len(kept) // PHOTOS_A_BATCH)) as bar:
            found = measure_localisation(data.resolve().name, backbone, kept, wanted, bar.step)
        measuring.show(found, describe_machine(backbone.device), as_json, plot)
        return
    images = read_image_set(data, format_name)
    chosen = evenly(images.pictures, pictures)
    backbone = load_backbone(backbone_name, weights, device)
    wanted = named or saliency.names()
    total = len(wanted) * -(-len(chosen) // BATCH)
    with measuring_learner(None) as learner, measuring.steps(total) as bar:
        scores = measure_methods(
            images.name,
            backbone,
            [partial(_read, one) for one in chosen],
            images.labels,
            wanted,
            steps,
            eyes=Eyes(backbone, learner, BESIDE_CAM),
            on_step=bar.step,
        )
    measuring.show(scores, describe_machine(backbone.device), as_json, plot)


def _read(one: LabelledPicture) -> tuple[Picture, Boxes]:
    return decode_picture(one.path.read_bytes(), max_pixels=MOST_PIXELS), one.truth
