"""The `collect-photos` command: a training set packed for `train-backbone`."""

from __future__ import annotations

from pathlib import Path

import typer

from backend.evaluation.distil.collect import collect_archive


def command(
    source: Path = typer.Option(..., help="Folder tiny-imagenet-200."),
    classes: Path = typer.Option(..., help="JSON list of label, wnid, imagenet_index."),
    out: Path = typer.Option(..., help="Archive to write (.npz)."),
    measuring: list[Path] = typer.Option([], help="Archives whose split 1 must stay unseen."),
) -> None:
    """Pack the training rows of tiny-imagenet-200 into one archive.

    Example: python -m backend collect-photos --source tiny-imagenet-200
    --classes classes.json --measuring tiny_imagenet.npz --out tiny_train.npz
    """
    print(f"{collect_archive(source, classes, out, measuring)} photos in {out}")
