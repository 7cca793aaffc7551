"""What the insides of boxes look like, learned from made-up shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.domain import BackboneIdentity, BoolArray, Boxes, FloatArray
from backend.learning import forms
from backend.learning.examples import Example
from backend.learning.features import PictureFeatures
from backend.learning.forms import GRID, LEAST, FittedForm, Form, fit_forms
from backend.learning.grids import FeaturePair
from backend.learning.project_head import ProjectHead, fit_project
from backend.vision.likeness import anchored_map
from tests.learning import scenes

SIZE_HW = (160, 160)
CELLS = 20


def features_of(seed: int, mask_hw: BoolArray) -> PictureFeatures:
    """A channel that lights up on the thing, one on the rest of its box, and noise."""
    random = np.random.default_rng(seed)
    on = mask_hw.reshape(CELLS, 8, CELLS, 8).mean((1, 3))
    values = random.normal(0, 0.3, (6, CELLS, CELLS))
    values[0] += 2 * on
    fine = np.repeat(np.repeat(values, 2, 1), 2, 2)
    taps = (fine.astype(np.float16), values.astype(np.float16))
    return PictureFeatures((taps,), np.zeros(6, np.float16), SIZE_HW)


def project(
    count: int, *, label: str = "a", masks: bool = True
) -> tuple[list[Example], dict[str, FeaturePair]]:
    """Squares of which the left third is the thing: a map by likeness takes the whole."""
    examples, features = [], {}
    for seed in range(count):
        x, y = np.random.default_rng(100 + seed).integers(10, 60, 2).tolist()
        box = np.array([[x, y, x + 80, y + 80]], np.float32)
        mask = np.zeros(SIZE_HW, bool)
        mask[y : y + 80, x : x + 27] = True
        name = f"{label}{seed}"
        boxes = Boxes(box, np.ones(1, np.float32), (label,), SIZE_HW)
        one = Example(name, boxes, np.zeros((0, 4), np.float32))
        examples.append(replace(one, masks_hw=(mask,)) if masks else one)
        described = features_of(seed, mask)
        features[name] = (described, described)
    return examples, features


def share_of(found: FloatArray) -> float:
    """Of the places inside the box (the middle two thirds), those that are the thing."""
    low, high = GRID // 6, GRID - GRID // 6
    return float((found[low:high, low:high] > 0.5).mean())


def test_what_was_drawn_is_learned_and_drawn_again() -> None:
    examples, features = project(12)
    (fitted,) = fit_forms(examples[:10], features, ["a"])
    assert fitted.label == "a"
    assert fitted.iou > 0.7
    assert fitted.iou > fitted.unlearned_iou + 0.2
    assert fitted.form is not None
    unseen = examples[11]
    cells = features[unseen.picture][0].views[0][1].astype(np.float32)
    unit = unseen.boxes.xyxy_px[0].astype(np.float64) / 160
    values = anchored_map(cells, unit, np.zeros((0, 2)), np.zeros((0, 2)))
    found = fitted.form(cells, values, unit)
    assert found.shape == (GRID, GRID)
    assert ((found >= 0) & (found <= 1)).all()
    assert share_of(found) == pytest.approx(1 / 3, abs=0.12)
    assert found[:, : GRID // 2].sum() > 2 * found[:, GRID // 2 :].sum()


def test_few_or_no_shapes_teach_nothing() -> None:
    examples, features = project(LEAST - 1)
    assert fit_forms(examples, features, ["a"]) == []
    plain, features = project(10, masks=False)
    assert fit_forms(plain, features, ["a"]) == []


def test_rectangles_do_not_even_have_their_features_read() -> None:
    class Unread(dict[str, FeaturePair]):
        def __getitem__(self, name: str) -> FeaturePair:
            raise AssertionError(name)

    examples, _ = project(10, masks=False)
    assert fit_forms(examples, Unread(), ["a"]) == []


def test_a_form_that_draws_no_better_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, features = project(8)

    def useless(rows: FloatArray, *_: object) -> FloatArray:
        return np.zeros(rows.shape[1], np.float32)

    monkeypatch.setattr(forms, "fit_logistic", useless)
    (fitted,) = fit_forms(examples, features, ["a"])
    assert fitted == FittedForm("a", None, 0.0, fitted.unlearned_iou)
    assert fitted.unlearned_iou > 0


def test_each_label_from_its_own_shapes() -> None:
    examples, features = project(8)
    others, more = project(8, label="b", masks=False)
    found = fit_forms([*examples, *others], features | more, ["a", "b", "c"])
    assert [one.label for one in found] == ["a"]


def test_a_shape_among_boxes_without_one() -> None:
    examples, features = project(8)
    both = [
        replace(
            one,
            boxes=Boxes(
                np.concatenate([[[0, 0, 30, 30]], one.boxes.xyxy_px]).astype(np.float32),
                np.ones(2, np.float32),
                ("a", "a"),
                SIZE_HW,
            ),
            masks_hw=(None, *one.masks_hw),
        )
        for one in examples
    ]
    (fitted,) = fit_forms(both, features, ["a"])
    (alone,) = fit_forms(examples, features, ["a"])
    assert fitted.iou == alone.iou


def test_a_thousand_shapes_are_as_many_as_are_learned_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forms, "MOST", 7)
    examples, features = project(20)
    read: list[str] = []

    class Noting(dict[str, FeaturePair]):
        def __getitem__(self, name: str) -> FeaturePair:
            read.append(name)
            return super().__getitem__(name)

    fit_forms(examples, Noting(features), ["a"])
    assert len(read) == 7
    assert read[0] == "a0"
    assert read[-1] == "a19"


def test_the_start_is_the_map_that_knows_no_label() -> None:
    examples, features = project(1)
    cells = features["a0"][0].views[0][1].astype(np.float32)
    unit = examples[0].boxes.xyxy_px[0].astype(np.float64) / 160
    values = anchored_map(cells, unit, np.zeros((0, 2)), np.zeros((0, 2)))
    start = np.zeros(1 + 7 + len(cells), np.float32)
    start[0] = 1
    found = Form("a", start)(cells, values, unit)
    assert found.max() == pytest.approx(values.max(), abs=0.05)
    assert found.min() < 0.05


@pytest.mark.slow
def test_a_head_keeps_its_forms() -> None:
    examples, features = scenes.project(6, 3)
    shaped = [
        replace(one, masks_hw=tuple(_left_half(xyxy) for xyxy in one.boxes.xyxy_px.tolist()))
        for one in examples
    ]
    identity = BackboneIdentity("made-up", "0123", 160)
    plain, _ = fit_project(examples, features, scenes.LABELS, (), identity)
    head, report = fit_project(shaped, features, scenes.LABELS, (), identity)
    assert plain.forms == ()
    assert head.forms
    again = ProjectHead.from_bytes(head.to_bytes())
    for one in head.forms:
        kept = again.form(one.label)
        assert kept is not None
        assert (kept.weights == one.weights).all()
        assert (
            report.metrics[f"mask_iou_{one.label}"]
            > (report.metrics[f"mask_iou_unlearned_{one.label}"])
        )
    assert again.form("nobody") is None
    # Boxes are learned as if nothing but boxes had been drawn; old heads have no forms.
    assert plain.boxes is not None
    assert again.boxes is not None
    assert (again.boxes.weights == plain.boxes.weights).all()
    assert plain.to_bytes() == plain.boxes.to_bytes()
    assert ProjectHead.from_bytes(plain.to_bytes()).forms == ()


def _left_half(xyxy_px: list[float]) -> BoolArray:
    x0, y0, x1, y1 = (round(edge) for edge in xyxy_px)
    mask = np.zeros(scenes.SIZE_HW, bool)
    mask[y0:y1, x0 : (x0 + x1) // 2] = True
    return mask
