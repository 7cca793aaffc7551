"""The `train-prior` command: what a backbone's features tell of objects of any class."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress


def command(
    data: Path = typer.Option(..., "--data", help="Photos with a box each, an npz.", exists=True),
    backbone: str = typer.Option("mobilenet_v2", "--backbone", help="Network by name."),
    weights: Path | None = typer.Option(None, "--weights", help="Its weights.", exists=True),
    out: Path = typer.Option(..., "--out", help="Where the prior is written."),
    count: int = typer.Option(4000, "--count", min=100, help="Canvases to learn from."),
    seed: int = typer.Option(0, "--seed", help="Of everything random."),
) -> None:
    """Learn where objects are, and which boxes fit them, from boxes of many classes.

    Example: python -m backend train-prior --data photos.npz --weights mobilenet_v2.safetensors
    --out backend/learning/priors/mobilenet_v2.safetensors
    """
    from backend.evaluation.prior_training import Photos, train_prior
    from backend.vision.backbones import load_backbone

    photos = Photos.load(data)
    network = load_backbone(backbone, weights, "auto")
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("canvases", total=count)
        prior = train_prior(
            network, photos, count, seed, lambda done: progress.update(bar, completed=done)
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(prior.to_bytes())
    print(f"{out}: {out.stat().st_size} bytes, digest {prior.digest}")
