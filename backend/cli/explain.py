"""The `explain` command: where methods look for a label, and what a label rests on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import typer

from backend.cli import measuring
from backend.cli.looking import Knowing, Network, knowing, read_picture
from backend.domain import Picture
from backend.errors import ConfigError
from backend.evaluation.explained import Explained, Look, Looked
from backend.evaluation.sheet import draw_gallery, draw_sheet, draw_units
from backend.settings import load_settings
from backend.vision import boxes, saliency
from backend.vision.detect import DetectOptions, look, prepare
from backend.vision.explain import explain
from backend.vision.imagined import activation_maximisation
from backend.vision.overlay import png
from backend.vision.units import units

ALL = "all"
_BATCH = 8
"""Pictures in one forward pass; methods over many pictures compare these."""


def command(
    images: list[Path] | None = typer.Argument(None, help="Pictures to look at."),
    label: str = typer.Option("", "--label", help="What to look for; empty: what is seen."),
    predicted_values: str = typer.Option(
        "", "--predicted-values", help="What the network calls the label, comma separated."
    ),
    method: str = typer.Option("cam", "--method", help=f"Names, comma separated, or {ALL}."),
    box_rule: str | None = typer.Option(None, "--box-rule", help="Else each method's own."),
    given: list[str] = typer.Option(
        [], "--set", help="An option of methods and box rule, as threshold=0.4; repeatable."
    ),
    out: Path | None = typer.Option(
        None, "--out", dir_okay=False, help="Where the PNG goes; else NAME-explained.png."
    ),
    project: int | None = typer.Option(None, "--project", help="Whose trained head explains."),
    units_of: str = typer.Option(
        "", "--units", metavar="LABEL", help="Draw the channels that this label rests on."
    ),
    imagined: str = typer.Option(
        "", "--imagine", metavar="LABEL", help="Draw what this label looks like to the network."
    ),
    gallery: bool = typer.Option(False, "--gallery", help="Maps alone, several in a line."),
    backbone_name: str | None = typer.Option(None, "--backbone", help="Else BACKBONE."),
    weights: Path | None = measuring.WEIGHTS,
    device: str | None = typer.Option(None, "--device", help="Else DEVICE."),
    names: bool = typer.Option(False, "--list", help="Print the names of all methods."),
    as_json: bool = measuring.AS_JSON,
) -> None:
    """Draw a sheet: picture, map, seeds, mask, component and boxes, a row a method.

    A label means the network's classes of that name. One that matches none is explained as
    zero-shot answers are, by the likeliest classes, and the sheet says so. --units draws, of
    the pictures named, those that excite each channel most; --imagine needs no picture.

    Example: python -m backend explain dog.jpg --label beagle --method cam,gradient,occlusion
    """
    if names:
        print("\n".join(saliency.names()))
        return
    paths = images or []
    if not paths and not imagined:
        raise ConfigError("No picture is named.", "Name one or more; --list prints the methods.")
    if sum(map(bool, (label, units_of, imagined))) > 1:
        raise ConfigError(
            "--label, --units and --imagine are three questions.", "Ask one at a time."
        )
    methods = _methods(method)
    if box_rule is not None:
        boxes.get(box_rule)
    extra = dict(map(_option, given))
    to = out or Path(f"{paths[0].stem if paths else imagined}-explained.png")
    if to.suffix.lower() != ".png":
        raise ConfigError(f"{to} is no PNG.", "Name a file that ends in .png.")
    settings = load_settings()
    pictures = [read_picture(path, settings.media_pixels) for path in paths]
    network = Network(backbone_name, weights, device)
    asked = label or units_of or imagined
    known = knowing(settings, network, project, asked, _parts(predicted_values))
    if imagined:
        drawn = activation_maximisation(known.backbone, known.require_class())
        measuring.write_bytes(to, png(drawn.permute(1, 2, 0).numpy()))
        print(json.dumps({"label": imagined, "by": known.by, "sheet": str(to)}) if as_json else to)
        return
    if units_of:
        _draw_units(known, pictures, paths, to, as_json)
        return
    options = [DetectOptions(saliency=name, box_rule=box_rule, extra=extra) for name in methods]
    looks = _all_looks(known, pictures, options, strict=method != ALL)
    found = Explained(label or None, known.by, tuple(map(Looked, paths, pictures, looks)))
    draw = draw_gallery if gallery else draw_sheet
    measuring.write_bytes(to, png(draw(found.sections())))
    if as_json:
        print(json.dumps({**found.as_dict(), "sheet": str(to)}))
    else:
        print(f"{found.told()}\nDrawn: {to}")


def _all_looks(
    known: Knowing, pictures: Sequence[Picture], options: Sequence[DetectOptions], *, strict: bool
) -> list[tuple[Look, ...]]:
    """Of each picture what every method makes of it.

    strict: raise what a method cannot do, instead of leaving it out with a word.
    """
    looks: list[list[Look]] = [[] for _ in pictures]
    with measuring.steps(len(options) * -(-len(pictures) // _BATCH)) as bar:
        for one in options:
            for at in range(0, len(pictures), _BATCH):
                bar.step(one.saliency)
                try:
                    found = _looks(known, pictures[at : at + _BATCH], one)
                except ConfigError as error:
                    if strict:
                        raise
                    print(f"{one.saliency} is left out: {error}", file=sys.stderr)
                    break
                for row, drawn in enumerate(found, at):
                    looks[row].append(drawn)
    return [tuple(own) for own in looks]


def _looks(known: Knowing, pictures: Sequence[Picture], options: DetectOptions) -> list[Look]:
    backbone = known.backbone
    looked = look(backbone, np.stack([prepare(one, backbone.size_px) for one in pictures]))
    begun_s = time.perf_counter()
    found = explain(looked, pictures, known.label, options)
    ms = (time.perf_counter() - begun_s) * 1000 / len(pictures)
    return [Look(one, ms) for one in found]


def _draw_units(
    known: Knowing, pictures: Sequence[Picture], paths: Sequence[Path], to: Path, as_json: bool
) -> None:
    index, backbone = known.require_class(), known.backbone
    squares_u8 = np.stack([prepare(one, backbone.size_px) for one in pictures])
    found = units(look(backbone, squares_u8), index)
    measuring.write_bytes(to, png(draw_units(found, pictures)))
    if as_json:
        rows = [
            {
                "channel": one.channel,
                "weight": round(one.weight, 4),
                "share": round(one.share, 4),
                "pictures": [str(paths[at]) for at in one.pictures],
            }
            for one in found
        ]
        label = known.label.value if known.label else None
        print(json.dumps({"label": label, "by": known.by, "units": rows, "sheet": str(to)}))
        return
    for one in found:
        excited_by = ", ".join(paths[at].name for at in one.pictures)
        print(f"channel {one.channel}: adds {one.share:.4f}; {excited_by}")
    print(f"Drawn: {to}")


def _methods(text: str) -> tuple[str, ...]:
    if text == ALL:
        return saliency.names()
    names = tuple(dict.fromkeys(_parts(text)))
    if not names:
        raise ConfigError("No method is named.", "--list prints their names.")
    for name in names:
        saliency.get(name)
    return names


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name.strip() or not equals:
        raise ConfigError(f"--set {text!r} is no option.", "Write --set threshold=0.4.")
    return name.strip(), value.strip()


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
