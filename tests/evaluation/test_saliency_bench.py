"""Pointing, deletion, insertion, MaxBoxAcc by hand, and the two benches over them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from backend.cli import bench_saliency
from backend.cli.app import build_app
from backend.domain import Boxes, FloatArray, Picture, SaliencyMap
from backend.errors import ConfigError, ImageSetInvalid, UnknownName
from backend.evaluation import localisation
from backend.evaluation.distil.photos import PhotoPool
from backend.evaluation.faithfulness import (
    area,
    centre_is_in,
    deletion_and_insertion,
    points_at,
)
from backend.evaluation.localisation import THRESHOLDS, box_hits, centre_map, read_boxed_photos
from backend.evaluation.matching import accuracy, judge
from backend.evaluation.saliency_bench import evenly, measure_methods
from backend.vision import saliency
from backend.vision.backbones import Backbone
from backend.vision.boxes.levels import SHARES
from backend.vision.detect import DetectOptions, LabelQuery, detect, look, prepare
from backend.vision.look import Looked
from backend.vision.options import NO_OPTIONS
from backend.vision.saliency import SALIENCY, SaliencyMethod, Target
from tests.evaluation.sets import write_set
from tests.vision.conftest import SIDE_PX, drawn_picture, seeded_backbone

BOX = (50, 30, 110, 90)
KEYS = {"method", "ms_per_image", "pointing", "deletion", "insertion", "f1_50"}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return seeded_backbone("mobilenet_v2")


def truth(*boxes: tuple[float, ...], label: str = "orange") -> Boxes:
    """Boxes on a picture of 160 x 120."""
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Boxes(xyxy, np.ones(len(boxes), np.float32), (label,) * len(boxes), (120, 160))


@pytest.mark.parametrize(
    ("row", "column", "inside"),
    [(0, 0, False), (1, 1, True), (2, 2, True), (1, 0, False), (2, 3, False)],
)
def test_the_middle_of_the_highest_cell_points(row: int, column: int, inside: bool) -> None:
    # Cells of 40 x 30 pixels: their middles are at 20, 60, 100, 140 and 15, 45, 75, 105.
    values = np.zeros((4, 4), np.float32)
    values[row, column] = 1
    assert points_at(values, truth(BOX)) is inside


def test_of_equal_cells_the_first_points_and_any_box_counts() -> None:
    flat = np.zeros((4, 4), np.float32)
    assert not points_at(flat, truth(BOX))
    assert points_at(flat, truth(BOX, (0, 0, 30, 30)))
    assert not points_at(flat, truth())


def test_a_box_is_half_open() -> None:
    assert centre_is_in(truth((80, 60, 90, 70)))
    assert not centre_is_in(truth((60, 60, 80, 70)))
    assert not centre_is_in(truth())


@pytest.mark.parametrize(
    ("curve", "expected"), [([1, 0], 0.5), ([1, 1, 1], 1.0), ([1, 0, 0, 0, 0], 0.125)]
)
def test_area(curve: list[float], expected: float) -> None:
    assert area(np.array(curve, np.float32)) == pytest.approx(expected)


class Whiteness:
    """A network whose first class is as probable as the left half has white pixels."""

    def __init__(self, like: Backbone) -> None:
        self.identity = like.identity
        self.seen: list[torch.Tensor] = []

    def features(self, images_u8: torch.Tensor) -> torch.Tensor:
        self.seen += list(images_u8)
        return images_u8

    def logits(self, images_u8: torch.Tensor) -> torch.Tensor:
        left = images_u8[..., : images_u8.shape[-1] // 2]
        white = (left == 255).float().mean((1, 2, 3)).clamp(1e-6, 1 - 1e-6)
        return torch.stack([white.logit(), torch.zeros(len(white))], 1)


SIDE = 32
WHITE = (torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2 * 255
"""A chessboard, whose squares are single pixels."""


def curves(backbone: Backbone, values: FloatArray, steps: int) -> tuple[Any, Any, torch.Tensor]:
    """Deletion and insertion of a chessboard beside black, and the pictures that were made."""
    images = torch.zeros((1, 3, SIDE, SIDE), dtype=torch.uint8)
    images[..., : SIDE // 2] = WHITE[:, : SIDE // 2].to(torch.uint8)
    network: Any = Whiteness(backbone)
    looked = Looked(network, images, network.features(images), network.logits(images))
    network.seen.clear()
    gone, come = deletion_and_insertion(looked, 0, [0], values, steps)
    return gone, come, torch.stack(network.seen)


LEFT, RIGHT = (np.array([row], np.float32) for row in ([1, 0], [0, 1]))


def test_deletion_takes_what_the_map_names_first(backbone: Backbone) -> None:
    gone, _, made = curves(backbone, LEFT, 4)
    grey = torch.tensor([round(255 * v) for v in (0.485, 0.456, 0.406)], dtype=torch.uint8)
    half = SIDE // 2
    assert torch.equal(made[0, 0, :, :half], WHITE[:, :half].to(torch.uint8))
    assert (made[4] == grey[:, None, None]).all()
    # Half of the pixels: the chessboard has gone, the rest is as it was.
    assert (made[2, :, :, :half] == grey[:, None, None]).all()
    assert (made[2, :, :, half:] == 0).all()
    np.testing.assert_allclose(gone, [0.5, 0.25, 0, 0, 0], atol=0.01)


def test_insertion_begins_blurred_and_ends_with_the_picture(backbone: Backbone) -> None:
    _, come, made = curves(backbone, LEFT, 4)
    begun, ended = made[5], made[9]
    assert begun.float().mean() == pytest.approx(float(ended.float().mean()), rel=0.1)
    assert begun[..., : SIDE // 2].float().std() < 0.5 * ended[..., : SIDE // 2].float().std()
    assert torch.equal(ended, made[0])
    np.testing.assert_allclose(come, [0, 0.25, 0.5, 0.5, 0.5], atol=0.01)


def test_a_map_of_what_counts_beats_its_opposite(backbone: Backbone) -> None:
    good, bad = curves(backbone, LEFT, 8), curves(backbone, RIGHT, 8)
    assert area(good[0]) == pytest.approx(0.125, abs=0.01)
    assert area(bad[0]) == pytest.approx(0.375, abs=0.01)
    assert area(good[1]) == pytest.approx(0.375, abs=0.01)
    assert area(bad[1]) == pytest.approx(0.125, abs=0.01)


def reading(*pictures: tuple[Picture, Boxes]) -> list[Callable[[], tuple[Picture, Boxes]]]:
    return [partial(lambda one: one, one) for one in pictures]


def other_picture() -> tuple[Picture, Boxes]:
    return drawn_picture((120, 160), (5, 5, 45, 45)), truth((5, 5, 45, 45), label="raccoon")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers a method that draws given maps, for the time of a test."""

    def add(name: str, draw: Callable[[Looked, Target], FloatArray]) -> None:
        def whole(
            looked: Looked, target: Target, given: Mapping[str, str] = NO_OPTIONS
        ) -> SaliencyMap:
            return SaliencyMap(draw(looked, target))

        table = dict(SALIENCY._entries)
        table[name] = SaliencyMethod(name, whole, "threshold", whole)
        monkeypatch.setattr(SALIENCY, "_entries", table)

    return add


def bump(looked: Looked, _target: Target) -> FloatArray:
    """Highest in the middle of BOX."""
    y, x = np.mgrid[:12, :16] + 0.5
    away = np.hypot(x - 8, y - 6)
    values = np.clip(1 - away / 4, 0, 1).astype(np.float32)
    return np.repeat(values[None], len(looked), 0)


def corner(looked: Looked, _target: Target) -> FloatArray:
    values = np.zeros((len(looked), 4, 4), np.float32)
    values[:, 3, 3] = 1
    return values


def test_every_figure_of_two_drawn_methods(backbone: Backbone, drawn: Any) -> None:
    drawn("bump", bump)
    drawn("corner", corner)
    pictures = reading((drawn_picture(), truth(BOX)), (drawn_picture(), truth(BOX)))
    found = measure_methods("set", backbone, pictures, ["orange"], ["bump", "corner"], 4)
    good, bad = (one.as_dict() for one in found.methods)
    assert good.keys() == KEYS
    assert (good["method"], bad["method"]) == ("bump", "corner")
    assert (good["pointing"], bad["pointing"]) == (1.0, 0.0)
    assert (good["f1_50"], bad["f1_50"]) == (1.0, 0.0)
    assert found.centre == 1.0
    assert good["ms_per_image"] > 0
    for row in (good, bad):
        assert 0 <= row["deletion"] <= 1
        assert 0 <= row["insertion"] <= 1
    assert good["deletion"] != bad["deletion"]
    assert len(found.methods[0].deleted) == 5
    assert found.methods[0].deleted[0] == pytest.approx(found.methods[0].inserted[-1], abs=1e-5)


def test_boxes_are_those_of_detect(backbone: Backbone) -> None:
    pictures = [(drawn_picture(), truth(BOX)), other_picture()]
    labels = ("orange", "raccoon")
    found = measure_methods("set", backbone, reading(*pictures), labels, ["norm", "cam"], 2)
    squares = np.stack([prepare(one, SIDE_PX) for one, _ in pictures])
    for row in found.methods:
        boxes = detect(
            look(backbone, squares),
            [one for one, _ in pictures],
            [LabelQuery(name, (name,)) for name in labels],
            DetectOptions(saliency=row.method),
        )
        judged = [judge(one, true) for one, (_, true) in zip(boxes, pictures, strict=True)]
        assert row.f1_50 == pytest.approx(accuracy(judged).f1_50)


def test_each_label_has_the_same_say(backbone: Backbone, drawn: Any) -> None:
    drawn("bump", bump)
    pictures = [(drawn_picture(), truth(BOX))] * 3 + [other_picture()]
    found = measure_methods("set", backbone, reading(*pictures), ["orange"], ["bump"], 1)
    assert found.methods[0].pointing == 0.5, "three of three oranges, none of one raccoon"
    assert found.centre == 0.5


def test_a_map_explains_the_label_or_what_is_seen(backbone: Backbone, drawn: Any) -> None:
    asked: list[list[int]] = []

    def noting(looked: Looked, target: Target) -> FloatArray:
        kept = zip(target.class_index, target.weight, strict=True)
        asked.extend([int(v) for v in index[weight > 0]] for index, weight in kept)
        return corner(looked, target)

    drawn("noting", noting)
    pictures = reading((drawn_picture(), truth(BOX)), other_picture())
    measure_methods("set", backbone, pictures, ["orange", "raccoon"], ["noting"], 1)
    (orange,) = backbone.matcher.match(("orange",))
    logits = look(backbone, np.stack([prepare(other_picture()[0], SIDE_PX)])).logits
    likeliest = logits[0].topk(5).indices.tolist()
    assert [orange] in asked
    assert likeliest in asked


def test_what_a_method_cannot_do_is_left_out(backbone: Backbone, drawn: Any) -> None:
    def cannot(looked: Looked, target: Target) -> FloatArray:
        raise ConfigError("It has no rectifier.", "Choose another.")

    drawn("cannot", cannot)
    pictures = reading((drawn_picture(), truth(BOX)))
    found = measure_methods("set", backbone, pictures, ["orange"], ["cannot", "norm"], 1)
    assert [one.method for one in found.methods] == ["norm"]
    assert found.left_out == {"cannot": "It has no rectifier. Choose another."}
    assert "cannot is left out: It has no rectifier." in found.told()
    with pytest.raises(UnknownName):
        measure_methods("set", backbone, pictures, [], ["nothing"], 1)


@pytest.mark.parametrize(
    ("count", "expected"), [(None, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4]), (2, [0, 2]), (1, [0])]
)
def test_evenly(count: int | None, expected: list[int]) -> None:
    assert evenly(range(5), count) == expected


def test_box_hits_by_hand() -> None:
    # A step pyramid: 1 in the middle fifth, 0.5 in the middle three fifths, 0 elsewhere.
    fine = np.zeros((160, 160), np.float32)
    fine[32:128, 32:128] = 0.5
    fine[64:96, 64:96] = 1
    hits = dict(zip(THRESHOLDS, box_hits(fine, np.array([0.2, 0.2, 0.8, 0.8])), strict=True))
    assert hits[0.0] == 0, "the whole picture: IoU .36"
    assert hits[0.01] == hits[0.5] == 1
    assert hits[0.51] == hits[0.99] == 0, "IoU .11"
    small = dict(zip(THRESHOLDS, box_hits(fine, np.array([0.4, 0.4, 0.6, 0.6])), strict=True))
    assert small[0.5] == 0
    assert small[0.51] == small[0.99] == 1
    assert box_hits(centre_map(), np.array([0.25, 0.25, 0.75, 0.75])).max() == 1


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An archive of four bright squares on grey, two of them for measuring."""
    encoded, boxes = [], []
    for at in range(4):
        x, y = (8, 8) if at % 2 else (28, 28)
        picture = np.full((64, 64, 3), 90, np.uint8)
        picture[y : y + 28, x : x + 28] = (20, 160, 250)
        encoded.append(np.frombuffer(cv2.imencode(".png", picture)[1].tobytes(), np.uint8))
        boxes.append((x, y, x + 27, y + 27))
    np.savez(
        tmp_path / "drawn.npz",
        data=np.concatenate(encoded),
        offsets=np.cumsum([0, *map(len, encoded)]),
        imagenet_index=np.array([950, 3, 950, 3]),
        split=np.array([0, 0, 1, 1]),
        box=np.array(boxes, np.uint8),
    )
    return tmp_path


def test_max_box_acc_takes_the_best_threshold(backbone: Backbone, photos: Path, drawn: Any) -> None:
    pool = read_boxed_photos(photos)
    assert len(pool) == 2

    def exact(looked: Looked, target: Target) -> FloatArray:
        assert target.class_index.tolist() == [[950], [3]]
        values = np.zeros((len(looked), 64, 64), np.float32)
        for row, (x, y) in enumerate(((28, 28), (8, 8))):
            values[row, y : y + 28, x : x + 28] = 0.5
            values[row, y + 10 : y + 14, x + 10 : x + 14] = 1
        return values

    drawn("exact", exact)
    drawn("corner", corner)
    found = localisation.measure_localisation("set", backbone, pool, ["exact", "corner"])
    good, bad = (one.as_dict() for one in found.methods)
    assert good.keys() == {"method", "ms_per_image", "max_box_acc", "threshold"}
    assert good["max_box_acc"] == 1.0
    assert 0 < good["threshold"] <= 0.5
    assert bad["max_box_acc"] == 0.0
    assert found.centre.max_box_acc == found.as_dict()["centre"]["max_box_acc"] == 0.0
    assert "exact" in found.told()
    assert "<polyline" in found.plot()


@pytest.mark.parametrize("name", localisation.CLASS_ACTIVATION)
def test_what_is_measured_by_default_exists(name: str) -> None:
    assert saliency.get(name).name == name


@pytest.mark.parametrize(
    "arrays",
    [
        None,
        {"data": np.zeros(3, np.uint8)},
        {
            "data": np.zeros(3, np.uint8),
            "offsets": np.array([0, 3]),
            "imagenet_index": np.zeros(1),
            "split": np.ones(1),
            "box": np.zeros((1, 4)),
        },
    ],
    ids=["no archive", "arrays missing", "no photo"],
)
def test_archives_that_cannot_be_read(tmp_path: Path, arrays: dict[str, Any] | None) -> None:
    if arrays is not None:
        np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ImageSetInvalid) as refused:
        read_boxed_photos(tmp_path)
    assert "imagenet_index" in refused.value.remedy


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ImageSetInvalid):
        read_boxed_photos(tmp_path)


def test_photos_without_boxes_are_refused(backbone: Backbone) -> None:
    pool = PhotoPool(torch.zeros((1, 3, 8, 8), dtype=torch.uint8), torch.zeros(1), None, None)
    with pytest.raises(ImageSetInvalid):
        localisation.measure_localisation("set", backbone, pool, ["cam"])


@pytest.fixture
def asked(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(bench_saliency, "load_backbone", lambda *_: backbone)

    def ask(*arguments: str) -> Any:
        given = ["bench", "saliency", *arguments]
        return CliRunner().invoke(build_app(given), given, catch_exceptions=False)

    return ask


def test_the_command_prints_one_object_a_method(asked: Any, tmp_path: Path) -> None:
    folder, plot = write_set(tmp_path / "drawn", 5), tmp_path / "curves.svg"
    given = ["--data", str(folder), "--methods", "norm,cam", "--pictures", "3", "--steps", "2"]
    found = json.loads(asked(*given, "--json", "--plot", str(plot)).stdout)
    assert (found["data"], found["pictures"], found["steps"]) == ("drawn", 3, 2)
    assert [one["method"] for one in found["methods"]] == ["norm", "cam"]
    assert all(one.keys() == KEYS for one in found["methods"])
    assert 0 <= found["centre"]["pointing"] <= 1
    assert found["thresholds"].keys() == {"norm", "cam"}
    assert set(found["thresholds"].values()) <= set(SHARES)
    assert found["versions"]["torch"]
    assert "<polyline" in plot.read_text("utf-8")
    told = asked(*given).stdout.splitlines()
    assert told[0].startswith("drawn: 3 pictures, mobilenet_v2; the centre points at ")
    figures = ["ms_per_image", "pointing", "deletion", "insertion", "f1_50", "threshold"]
    assert told[1].split() == figures
    assert [line.split()[0] for line in told[2:]] == ["norm", "cam"]


def test_the_command_measures_max_box_acc(asked: Any, photos: Path) -> None:
    given = ["--data", str(photos), "--format", "npz", "--methods", "cam", "--json"]
    found = json.loads(asked(*given).stdout)
    (row,) = found["methods"]
    assert row["method"] == "cam"
    assert row["max_box_acc"] in (0.0, 0.5, 1.0)
    assert row["threshold"] in THRESHOLDS
    assert found["pictures"] == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--methods", "cma"], "named 'cma'", id="method"),
        pytest.param(["--format", "coco"], "named 'coco'", id="format"),
        pytest.param(["--format", "npz"], "no npz archive", id="archive"),
        pytest.param(["--plot", "x.png"], "ends in .svg|is no SVG", id="plot"),
    ],
)
def test_what_is_refused(asked: Any, tmp_path: Path, arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        asked("--data", str(write_set(tmp_path / "drawn", 1)), *arguments)
