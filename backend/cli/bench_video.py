"""The `bench video` command: how well a thing is followed through a clip."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import typer

from backend.cli import measuring
from backend.evaluation.bed import measuring_learner
from backend.evaluation.filmed import read_filmed
from backend.evaluation.following import measure_following
from backend.evaluation.machine import describe_machine
from backend.video.classifiers import load_video_classifier
from backend.vision.backbones import load_backbone


def command(
    data: Path = typer.Option(
        ..., "--data", exists=True, file_okay=False, help="Folder of a clip with boxes.csv."
    ),
    accepted: int = typer.Option(10, min=1, max=100, help="Accepted key frames."),
    way: str = typer.Option("frame_cam", "--way", help="How frames are looked at."),
    looks_fps: float | None = typer.Option(
        None, min=0.1, max=60, help="Frames a second looked at; else as the way wants."
    ),
    classifier: str = typer.Option("r3d_18", help="Network of video_cam."),
    classifier_weights: Path | None = typer.Option(
        None, exists=True, dir_okay=False, help="Its weights file."
    ),
    least_iou: float = typer.Option(
        0.9, min=0.1, max=1, help="Overlap with the path that key frames must keep."
    ),
    backbone_name: str = measuring.BACKBONE,
    weights: Path | None = measuring.WEIGHTS,
    device: str = measuring.DEVICE,
    as_json: bool = measuring.AS_JSON,
) -> None:
    """How well the rest of a clip is predicted from key frames accepted in its first 100.

    mean_iou and share_50 (IoU of .5 and more) are over the frames after the first 100 on which
    the thing is to be seen, of what Label Studio draws between the key frames; a frame without
    a box counts 0. false_share: of the frames without the thing, those with a box. fps: frames
    a second of following, features not kept from before; decode_fps: of decoding alone.

    Example: python -m backend bench video --data car --json
    """
    filmed = read_filmed(data)
    backbone = load_backbone(backbone_name, weights, device)
    with measuring_learner(None) as learner, measuring.steps(3) as bar:
        figures = measure_following(
            filmed,
            backbone,
            learner,
            accepted=accepted,
            way=way,
            classifier=partial(load_video_classifier, classifier, classifier_weights),
            looks_fps=looks_fps,
            least_iou=least_iou,
            say=bar.step,
        )
    measuring.tell(figures, describe_machine(backbone.device), as_json)
