"""Maps from what a network no longer says of a picture that was changed in part."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.domain import BackboneIdentity
from backend.errors import LabelConfigInvalid
from backend.vision import saliency
from backend.vision.architectures import Head
from backend.vision.backbones import Backbone, load_backbone
from backend.vision.classes import imagenet_classes
from backend.vision.look import Looked, look, prepare
from backend.vision.options import read_options
from backend.vision.saliency import Target, rise
from backend.vision.saliency.colour_field import BORDER_PX, ColourField, Redraw
from backend.vision.saliency.meaningful_perturbation import PerturbationOptions, learned_hiding
from backend.vision.saliency.occlusion import occlusion_drops
from backend.vision.saliency.prediction_difference import DifferenceOptions, evidence
from backend.vision.saliency.regions import like_coloured
from backend.vision.saliency.rise import RandomMasks, RiseOptions, rise_estimate
from backend.vision.saliency.self_taught import RegionOptions, region_drops
from backend.vision.saliency.sliding_window import WindowOptions, Windows
from backend.vision.saliency.stretch import stretch
from backend.vision.taps import Tapped
from tests.vision.conftest import (
    SIDE_PX,
    as_picture,
    drawn_picture,
    network_state,
    random_images,
    seeded_backbone,
    seeded_model,
)

Values = Callable[[Looked, Target], Tensor]

FEW: Mapping[str, Mapping[str, str]] = {
    "meaningful_perturbation": {"model_steps": "4", "model_grid": "8"},
    "occlusion": {"model_patch": "0.5"},
    "prediction_difference": {"model_patch": "0.5", "model_samples": "2"},
    "rise": {"model_masks": "16"},
    "self_taught": {"model_regions": "3"},
}
"""Every method of the family, with options that make it quick."""

VALUES: Mapping[str, Values] = {
    "meaningful_perturbation": functools.partial(
        learned_hiding, options=PerturbationOptions(steps=4, grid=8)
    ),
    "occlusion": functools.partial(occlusion_drops, options=WindowOptions(patch=0.5)),
    "prediction_difference": functools.partial(
        evidence, options=DifferenceOptions(patch=0.5, samples=2)
    ),
    "rise": functools.partial(rise_estimate, options=RiseOptions(masks=16)),
    "self_taught": functools.partial(region_drops, options=RegionOptions(regions=3)),
}
"""The same before they are stretched."""

every_method = pytest.mark.parametrize("method", FEW)
every_function = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)

TARGET = Target(torch.tensor([[5, 2], [700, 3]]), torch.tensor([[0.7, 0.3], [1.0, 0.5]]))


def looked_at(backbone: Backbone, images_u8: Tensor) -> Looked:
    return look(backbone, images_u8.permute(0, 2, 3, 1).contiguous().numpy())


def target(*classes: int) -> Target:
    index = torch.tensor(classes, dtype=torch.int64)[:, None]
    return Target(index, torch.ones_like(index, dtype=torch.float32))


class _MeanOfCells:
    """A runtime whose cells are means of squares of pixels; the mean colour is 128.

    On whole numbers and squares of a power of two every sum is exact in any order.
    """

    name = form = "by hand"

    def __init__(self, cell_px: int) -> None:
        self.cell_px = cell_px

    def normalised(self, images_u8: Tensor) -> Tensor:
        return images_u8.float() - 128

    def cells_at(self, pixels: Tensor) -> Tensor:
        return F.avg_pool2d(pixels, self.cell_px)

    def cells(self, images_u8: Tensor) -> Tensor:
        return self.cells_at(self.normalised(images_u8))

    def cells_and_taps(self, images_u8: Tensor) -> Tapped:
        return self.cells(images_u8), ()

    def cells_and_taps_at(self, pixels: Tensor) -> Tapped:
        return self.cells_at(pixels), ()


class _Weighted(Head):
    """Class scores: the sum of all cells, each with a weight (classes, h, w) of its own."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, cells: Tensor) -> Tensor:
        return torch.einsum("bchw,khw->bk", cells, self.weight)


def linear_backbone(weight: Tensor, side_px: int) -> Backbone:
    """A network whose scores anyone can compute; weight: (classes, h, w), h == w."""
    identity = BackboneIdentity("by hand", "0" * 8, side_px, ("a", "b"), "memory")
    runtime = _MeanOfCells(side_px // weight.shape[-1])
    return Backbone(
        identity, imagenet_classes()[:2], runtime, _Weighted(weight), torch.device("cpu")
    )


def test_the_tables_of_this_file_name_the_family() -> None:
    assert set(FEW) == set(VALUES) <= set(saliency.names())


# Occlusion


@pytest.mark.parametrize(
    ("windows", "spans"),
    [
        pytest.param(Windows(4, 2, 2), [(0, 2), (2, 4)], id="beside-each-other"),
        pytest.param(Windows(5, 2, 2), [(0, 2), (2, 4), (4, 5)], id="the-last-is-cut-off"),
        pytest.param(Windows(5, 3, 1), [(0, 3), (1, 4), (2, 5)], id="overlapping"),
        pytest.param(Windows(1, 1, 1), [(0, 1)], id="one-pixel"),
    ],
)
def test_places_of_the_window(windows: Windows, spans: list[tuple[int, int]]) -> None:
    assert windows.spans_px() == spans
    masks = windows.masks(torch.arange(len(windows)))
    for mask, (rows, columns) in zip(masks, itertools.product(spans, spans), strict=True):
        expected = torch.ones(windows.side_px, windows.side_px)
        expected[slice(*rows), slice(*columns)] = 0
        torch.testing.assert_close(mask, expected)
    values = torch.arange(len(windows)).float()
    hidden = 1 - masks
    naive = (values[:, None, None] * hidden).sum(0) / hidden.sum(0)
    torch.testing.assert_close(windows.mean_over_places(values), naive)


def test_a_window_covers_a_share_of_the_side() -> None:
    assert WindowOptions().windows(100) == Windows(100, 20, 10)
    assert WindowOptions(patch=0.5, stride=0.25).windows(100) == Windows(100, 50, 25)
    assert DifferenceOptions(patch=0.5).windows(100) == Windows(100, 50, 50)
    assert WindowOptions(patch=0.05).windows(1) == Windows(1, 1, 1)


@pytest.mark.parametrize("side_px", [1, 7, 64, 224, 288, 321])
def test_rounding_adds_no_places(side_px: int) -> None:
    for options, places in (
        (WindowOptions(), 81),
        (DifferenceOptions(), 64),
        (WindowOptions(patch=0.05, stride=0.025), 1521),
    ):
        assert 1 <= len(options.windows(side_px)) <= places


def test_a_stride_that_leaves_out_pixels_is_refused() -> None:
    with pytest.raises(LabelConfigInvalid, match=r"model_stride=0.3 leaves pixels.*no larger"):
        read_options(WindowOptions, {"model_stride": "0.3", "model_patch": "0.2"})


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_the_served_network_gives_what_captum_gives(name: str) -> None:
    captum = pytest.importorskip("captum.attr")
    backbone, images = seeded_backbone(name), random_images(2)
    options = WindowOptions(patch=0.25, stride=0.15)
    windows = options.windows(SIDE_PX)
    patch, stride = windows.patch_px, windows.stride_px
    assert (SIDE_PX - patch) % stride  # the last window is cut off
    expected = captum.Occlusion(seeded_model(name)).attribute(
        backbone.normalised(images).contiguous(),
        sliding_window_shapes=(3, patch, patch),
        strides=(3, stride, stride),
        baselines=0,
        target=[5, 700],
        perturbations_per_eval=16,
    )
    found = occlusion_drops(looked_at(backbone, images), target(5, 700), options)
    for ours, theirs in zip(found, expected[:, 0], strict=True):
        assert float(torch.cosine_similarity(ours.ravel(), theirs.ravel(), 0)) > 0.999
        assert math.isclose(float(ours.norm()), float(theirs.norm()), rel_tol=1e-3)


def test_occlusion_by_hand() -> None:
    """Four patches of one cell each: a drop is the cell's value times its weight."""
    weight = torch.tensor([[[1.0, 2.0], [0.0, -1.0]], [[0.0, 0.0], [3.0, 0.0]]])
    image = torch.tensor([[130, 132], [134, 136]], dtype=torch.uint8)
    fine = image.repeat_interleave(4, 0).repeat_interleave(4, 1).expand(1, 3, 8, 8)
    looked = looked_at(linear_backbone(weight, 8), fine)
    both = Target(torch.tensor([[0, 1]]), torch.tensor([[1.0, 0.5]]))
    drops = occlusion_drops(looked, both, WindowOptions(patch=0.5, stride=0.5))
    # Three channels of 2, 4, 6 and 8 above the mean colour.
    expected = torch.tensor([[6.0, 24.0], [0.5 * 54, -24.0]])
    torch.testing.assert_close(drops[0], expected.repeat_interleave(4, 0).repeat_interleave(4, 1))


# RISE


def test_a_pixel_is_shown_with_the_probability_that_was_asked_for() -> None:
    masks = RandomMasks(RiseOptions(masks=4000, grid=3, keep=0.3), 10).at(torch.arange(4000))
    assert masks.shape == (4000, 10, 10)
    assert 0 <= float(masks.min()) < 0.01 < 0.99 < float(masks.max()) <= 1
    # A pixel's deviation is at most that of one cell: 0.46 / sqrt(4000) is 0.007.
    assert float((masks.mean(0) - 0.3).abs().max()) < 4 * 0.0073


def test_a_mask_does_not_depend_on_how_many_are_drawn_at_once() -> None:
    masks = RandomMasks(RiseOptions(masks=5, grid=4), 9)
    torch.testing.assert_close(masks.at(torch.arange(5))[3:], masks.at(torch.tensor([3, 4])))


def _expected_rise(backbone: Backbone, image_u8: Tensor, asked: Target) -> Tensor:
    """The estimate's limit, over all 16 patterns of a grid of 2 x 2 and all 4 shifts."""
    patterns = torch.tensor([*itertools.product((0.0, 1.0), repeat=4)]).reshape(16, 1, 2, 2)
    large = F.interpolate(patterns, (6, 6), mode="bilinear")[:, 0]
    masks = torch.cat([large[:, y : y + 4, x : x + 4] for y in (0, 1) for x in (0, 1)])
    logits = backbone.logits_at(backbone.normalised(image_u8) * masks[:, None])
    probability = torch.softmax(logits, 1)[:, asked.class_index[0, 0]]
    centred = probability / probability.mean() - 1
    return (centred[:, None, None] * masks).mean(0) / 0.5


def test_the_estimate_of_rise_converges_to_the_exact_expectation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sixteen times the masks leave a quarter of the error, as chance has it."""
    weight = torch.tensor([[[1.0, -2.0], [0.0, 3.0]], [[0.0, 0.0], [0.0, 0.0]]]) / 256
    backbone, image = linear_backbone(weight, 4), random_images(1, 4)
    looked, expected = looked_at(backbone, image), _expected_rise(backbone, image, target(0))
    assert float(expected.abs().max()) > 0.05

    def error(masks: int) -> float:
        squares = []
        for seed in range(8):
            monkeypatch.setattr(rise, "_SEED", seed)
            found = rise_estimate(looked, target(0), RiseOptions(masks=masks, grid=2))[0]
            squares.append(float((found - expected).square().sum() / expected.square().sum()))
        return math.sqrt(sum(squares) / len(squares))

    few, some, many = (error(masks) for masks in (16, 256, 4096))
    assert few > 2 * some > 4 * many
    assert many < 0.06


# Meaningful perturbation


def test_what_is_hidden_is_what_the_network_looks_at_and_no_more_than_is_paid_for() -> None:
    """Two equal spots, of which the network sees the upper left one."""
    image = torch.full((1, 3, SIDE_PX, SIDE_PX), 100, dtype=torch.uint8)
    image[:, :, 8:24, 8:24] = image[:, :, 40:56, 40:56] = 220
    weight = torch.zeros(2, 8, 8)
    weight[0, 1:3, 1:3] = 1 / 128
    looked = looked_at(linear_backbone(weight, SIDE_PX), image)

    def hiding(area: float) -> Tensor:
        options = PerturbationOptions(grid=16, blur=0.2, jitter=0.0, area=area)
        return learned_hiding(looked, target(0), options)[0]

    cheap, dear, priceless = (hiding(area) for area in (0.3, 1.0, 100.0))
    assert float(cheap[2:6, 2:6].mean()) > 0.7
    assert not cheap[9:, 9:].any()  # where the other spot is
    assert 0 < float(dear.mean()) < float(cheap.mean())
    assert not priceless.any()


@pytest.mark.slow
def test_behind_what_is_hidden_the_class_is_improbable() -> None:
    """Of a drawn picture; the mask is resized and the blur drawn as a reader would."""
    served, side = load_backbone("embedded", None, "cpu", size_px=96), 96
    picture = prepare(drawn_picture(), side)
    looked = look(served, picture[None])
    likeliest = target(int(looked.logits.argmax()))
    rough, smooth = (
        learned_hiding(looked, likeliest, PerturbationOptions(jitter=0.0, roughness=roughness))
        for roughness in (8.0, 1000.0)
    )
    mask = 1 - F.interpolate(rough[None], (side, side), mode="bilinear")[0, 0, :, :, None]
    blurred = cv2.GaussianBlur(picture, (0, 0), 0.045 * side)
    seen = (blurred + (picture - blurred.astype(np.float32)) * mask.numpy()).round()
    again = look(served, seen[None].astype(np.uint8))
    at = likeliest.class_index[0, 0]
    assert float(again.probability[0, at]) < 0.1 * float(looked.probability[0, at])
    assert 0.05 < float(rough.mean()) < 0.95
    steps = [float(hidden.diff(dim=1).abs().pow(3).mean()) for hidden in (rough, smooth)]
    assert steps[1] < steps[0] / 2


# Prediction difference


def _smooth_picture(side_px: int) -> Tensor:
    """(3, S, S) uint8: blurred noise in correlated colours, far from 0 and 255."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 3, side_px + 4, side_px + 4, generator=generator)
    smooth = F.avg_pool2d(noise, 5, 1)[0]
    mixing = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0, 0.5, 0.5]])
    mixed = torch.einsum("cd,dhw->chw", mixing, smooth)
    return (128 + 100 * mixed).round().clamp(40, 215).to(torch.uint8)


def _covariance(field: ColourField, pixels: Tensor) -> Tensor:
    """(3 N, 3 N) of the values at N pixels, colour by colour, from the definition."""
    return torch.kron(field.colour, field.correlation(pixels, pixels))


def test_the_field_has_the_pictures_mean_colours_and_correlations() -> None:
    image = _smooth_picture(16)
    field = ColourField.of(image)
    values = image.double() - image.double().mean((1, 2), keepdim=True)
    torch.testing.assert_close(field.mean_rgb, image.double().mean((1, 2)))
    torch.testing.assert_close(field.colour, torch.cov(values.flatten(1), correction=0))
    shifted = (values * values.roll((-2, -1), (1, 2))).mean() / values.square().mean()
    found = field.correlation(torch.tensor([[3, 4]]), torch.tensor([[1, 3]]))
    torch.testing.assert_close(found[0, 0], shifted / 1.001)


def test_pictures_drawn_from_a_field_have_its_statistics() -> None:
    field = ColourField.of(_smooth_picture(16))
    drawn = field.drawn(4000, 0)
    torch.testing.assert_close(drawn.mean((0, 2, 3)), field.mean_rgb, atol=0.5, rtol=0)
    pixels = torch.tensor([[2, 3], [2, 4], [5, 3]])
    values = drawn[:, :, pixels[:, 0], pixels[:, 1]].flatten(1)
    expected = _covariance(field, pixels)
    found = torch.cov(values.T, correction=0)
    assert float((found - expected).norm() / expected.norm()) < 0.05


@pytest.mark.parametrize(
    ("rows", "columns"), [((6, 9), (7, 9)), ((0, 3), (14, 16))], ids=["inside", "in-a-corner"]
)
def test_a_part_is_drawn_from_the_conditional_gaussian(
    rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    """Mean and covariance of the draws against the dense formula over all colours at once."""
    side, count = 16, 6000
    image = _smooth_picture(side)
    field = ColourField.of(image)
    near = torch.cartesian_prod(
        *(
            torch.arange(max(low - BORDER_PX, 0), min(high + BORDER_PX, side))
            for low, high in (rows, columns)
        )
    )
    y, x = near.T
    inside = (y >= rows[0]) & (y < rows[1]) & (x >= columns[0]) & (x < columns[1])
    part, border = near[inside], near[~inside]
    joint = _covariance(field, torch.cat([part, border]))
    # Colour by colour: the first len(part) of each colour's pixels are the part's.
    of_part = (torch.arange(len(joint)) % len(near)) < len(part)
    known = image[:, border[:, 0], border[:, 1]].double() - field.mean_rgb[:, None]
    gain = torch.linalg.solve(joint[~of_part][:, ~of_part], joint[~of_part][:, of_part]).T
    mean = gain @ known.flatten() + field.mean_rgb.repeat_interleave(len(part))
    left = joint[of_part][:, of_part] - gain @ joint[~of_part][:, of_part]

    drawn = Redraw(image, count, 0).part(rows, columns).double()
    assert drawn.shape == (count, 3, rows[1] - rows[0], columns[1] - columns[0])
    values = drawn.flatten(2).flatten(1)
    # Rounding to whole values adds a twelfth to each variance.
    deviation = left.diagonal().add(1 / 12).sqrt()
    assert float(((values.mean(0) - mean).abs() / deviation).max()) < 5 / math.sqrt(count)
    found = torch.cov(values.T, correction=0) - torch.eye(len(left), dtype=torch.float64) / 12
    assert float((found - left).norm() / left.norm()) < 0.08
    assert float(left.norm() / joint[of_part][:, of_part].norm()) < 0.7  # the border tells


def test_a_patch_that_the_network_does_not_look_at_makes_no_difference() -> None:
    weight = torch.zeros(2, 4, 4)
    weight[0, 0, 0], weight[1, 3, 1] = 1 / 64, 1 / 32
    looked = looked_at(linear_backbone(weight, 32), random_images(1, 32))
    options = DifferenceOptions(patch=0.25, samples=3)
    for asked in (target(0), target(1), Target(torch.tensor([[0, 1]]), torch.tensor([[1.0, 0.5]]))):
        bits = evidence(looked, asked, options)[0, ::8, ::8]
        assert set(map(tuple, bits.nonzero().tolist())) == {(0, 0), (3, 1)}


def test_evidence_by_a_naive_loop(tiny: Backbone) -> None:
    """One patch that is the whole picture, drawn anew without a border to depend on."""
    images = random_images(1)
    found = evidence(
        looked_at(tiny, images), target(5), DifferenceOptions(patch=1.0, stride=1.0, samples=4)
    )[0]
    side = (0, SIDE_PX)
    model = seeded_model("squeezenet1_1")
    odds = []
    for pictures in (images, Redraw(images[0], 4, 0).part(side, side)):
        with torch.no_grad():
            logits = model(tiny.normalised(pictures)).double()
        mean = float(torch.softmax(logits, 1)[:, 5].mean())
        corrected = (mean * 1281167 + 1) / (1281167 + 1000)
        odds.append(math.log2(corrected / (1 - corrected)))
    assert abs(odds[0] - odds[1]) > 0.005
    torch.testing.assert_close(found, torch.full_like(found, odds[0] - odds[1]), atol=1e-4, rtol=0)


# Regions


def test_regions_follow_colours_and_partition_the_picture() -> None:
    rgb = np.full((96, 96, 3), 60, np.uint8)
    rgb[:, 40:] = (200, 30, 30)  # not where a regular grid of four would part it
    number = like_coloured(rgb, 2)
    assert number.shape == (96, 96)
    assert set(np.unique(number)) <= set(range(4))
    assert not set(np.unique(number[:, :40])) & set(np.unique(number[:, 40:]))


def test_regions_of_one_colour_are_a_grid() -> None:
    number = like_coloured(np.full((96, 96, 3), 90, np.uint8), 3)
    np.testing.assert_array_equal(number, np.arange(9).reshape(3, 3).repeat(32, 0).repeat(32, 1))


@pytest.mark.parametrize(
    ("regions", "halvings", "sides"), [(8, 2, [8, 4, 2]), (5, 4, [5, 2]), (3, 0, [3])]
)
def test_scales_halve_down_to_two(regions: int, halvings: int, sides: list[int]) -> None:
    assert RegionOptions(regions, halvings).per_side() == sides


def test_drops_of_regions_are_those_of_a_naive_loop() -> None:
    """And their mean over a scale is what the whole picture adds, where scores are linear."""
    weight = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    backbone = linear_backbone(weight, SIDE_PX)
    picture = prepare(drawn_picture(), SIDE_PX)
    looked = look(backbone, picture[None])
    whole = float(looked.logits[0, 1])
    found = region_drops(looked, target(1), RegionOptions(4, 1))[0]
    naive = torch.zeros_like(found)
    for per_side in (4, 2):
        number = torch.from_numpy(like_coloured(picture, per_side))
        for region in range(per_side**2):
            pixels = backbone.normalised(looked.images_u8)
            pixels[:, :, number == region] = 0
            drop = whole - float(backbone.logits_at(pixels)[0, 1])
            naive[number == region] += drop / float((number == region).float().mean()) / 2
    torch.testing.assert_close(found, naive, atol=1e-2, rtol=1e-4)
    assert math.isclose(float(found.mean()), whole, rel_tol=1e-3)


# All of them


@every_function
def test_a_picture_has_its_own_classes_in_any_batch_and_order(
    tiny: Backbone, values: Values
) -> None:
    looked = looked_at(tiny, random_images(2))
    together = values(looked, TARGET)
    assert not torch.allclose(together[0], together[1])
    turned = Target(TARGET.class_index.flip(0), TARGET.weight.flip(0))
    swapped = values(looked.select(torch.tensor([1, 0])), turned)
    torch.testing.assert_close(swapped.flip(0), together)
    other = Target(torch.tensor([[5, 2], [9, 3]]), TARGET.weight)
    torch.testing.assert_close(values(looked, other)[0], together[0])
    assert not torch.allclose(values(looked, other)[1], together[1])


@every_function
def test_an_entry_of_weight_0_is_switched_off(tiny: Backbone, values: Values) -> None:
    looked = looked_at(tiny, random_images(2))
    padded = Target(F.pad(TARGET.class_index, (0, 1), value=9), F.pad(TARGET.weight, (0, 1)))
    torch.testing.assert_close(values(looked, padded), values(looked, TARGET))
    nothing = values(looked, Target(TARGET.class_index, torch.zeros_like(TARGET.weight)))
    assert not stretch(nothing).any()


@every_function
def test_no_picture_gives_no_map(tiny: Backbone, values: Values) -> None:
    looked = looked_at(tiny, random_images(2))
    nothing = Target(torch.zeros((0, 1), dtype=torch.int64), torch.zeros((0, 1)))
    shape = values(looked, TARGET).shape
    assert values(looked.select(torch.arange(0)), nothing).shape == (0, *shape[1:])


@every_method
def test_one_colour_and_a_picture_of_one_pixel_give_numbers(tiny: Backbone, method: str) -> None:
    pixel = as_picture(np.array([[[250, 3, 90]]], np.uint8))
    pictures = [np.full((SIDE_PX, SIDE_PX, 3), 124, np.uint8), prepare(pixel, SIDE_PX)]
    drawn = saliency.get(method).draw(look(tiny, np.stack(pictures)), target(5, 700), FEW[method])
    assert drawn.values_bhw.shape[0] == 2
    assert np.isfinite(drawn.values_bhw).all()
    assert 0 <= drawn.values_bhw.min() <= drawn.values_bhw.max() <= 1


@every_method
def test_the_same_every_time_whatever_else_is_drawn_by_chance(tiny: Backbone, method: str) -> None:
    looked = looked_at(tiny, random_images(1))
    draw = saliency.get(method).draw
    with torch.inference_mode():
        chosen = target(5)  # as targets come from a look
    first = draw(looked, chosen, FEW[method]).values_bhw
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state()
    np.testing.assert_array_equal(draw(looked, chosen, FEW[method]).values_bhw, first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("method", "passes"),
    [
        ("meaningful_perturbation", 41),
        ("occlusion", 82),
        ("prediction_difference", 257),
        ("rise", 256),
        ("self_taught", 85),
    ],
)
def test_a_map_costs_as_many_passes_as_are_promised(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch, method: str, passes: int
) -> None:
    looked = looked_at(tiny, random_images(1))
    counted = []

    def logits_at(pixels: Tensor) -> Tensor:
        counted.append(len(pixels))
        return pixels.mean((2, 3)) @ torch.ones(3, 1000)

    monkeypatch.setattr(tiny, "logits_at", logits_at)
    saliency.get(method).draw(looked, target(5))
    assert sum(counted) == passes
    assert max(counted) <= 32


class _Broken(nn.Module):
    def forward(self, cells: Tensor) -> Tensor:
        raise RuntimeError("broken head")


@every_method
def test_nothing_stays_behind_not_even_after_an_exception(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    backbone = seeded_backbone("squeezenet1_1")
    looked, before = looked_at(backbone, random_images(1)), network_state(backbone)
    drawn = saliency.get(method).draw(looked, target(5), FEW[method]).values_bhw
    with monkeypatch.context() as broken:
        broken.setattr(backbone, "head", _Broken())
        with pytest.raises(RuntimeError, match="broken head"):
            saliency.get(method).draw(looked, target(5), FEW[method])
    assert network_state(backbone) == before
    assert torch.is_grad_enabled()
    again = saliency.get(method).draw(looked, target(5), FEW[method]).values_bhw
    np.testing.assert_array_equal(again, drawn)
