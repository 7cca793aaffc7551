"""Parts learned from made-up features in which each part lights up its own channels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from safetensors.numpy import load, save

from backend.domain import BackboneIdentity, Boxes, FloatArray
from backend.errors import ConfigError
from backend.learning.examples import Example
from backend.learning.features import F16Array, PictureFeatures
from backend.learning.fit_key_points import fit_key_points, partners, point_labels
from backend.learning.grids import FeaturePair
from backend.learning.nearness import hits
from backend.learning.part_maps import PartMaps, maps_from, sums_of
from backend.learning.project_head import ProjectHead, fit_project, predict, predict_points
from backend.learning.promote import point_answer
from backend.learning.tensors import metadata_of
from backend.learning.whitening import fit_whitening

IDENTITY = BackboneIdentity("made-up", "0123", 160)
SIZE_HW = (200, 300)
PARTS = ("left ear", "nose", "right ear")
SIDES = (6, 10)
CHANNELS = 12

Places = Mapping[str, FloatArray]


def ears_and_nose(random: np.random.RandomState) -> dict[str, FloatArray]:
    """Of a face somewhere, in picture units; its left is on the viewer's right."""
    x, y, half = random.uniform(0.3, 0.7), random.uniform(0.4, 0.7), random.uniform(0.12, 0.2)
    places = {"left ear": (x + half, y - 0.15), "nose": (x, y), "right ear": (x - half, y - 0.15)}
    return {name: np.array([place], np.float32) for name, place in places.items()}


def features_of(random: np.random.RandomState, places: Places) -> PictureFeatures:
    """Three taps a view: what lies on each part, among noise. An ear looks like the other but
    for one faint channel."""
    looks = {"left ear": (0, 4, 6), "nose": (1, 5), "right ear": (0, 4, 7)}
    views = []
    for side in SIDES:
        taps: list[F16Array] = []
        for cells in (2 * side, side, side // 2):
            values = random.normal(0, 0.15, (CHANNELS, cells, cells))
            centre = (np.arange(cells) + 0.5) / cells
            for name, points in places.items():
                for x, y in points.tolist():
                    near = np.exp(
                        -((centre[None] - x) ** 2 + (centre[:, None] - y) ** 2) / (2 * 0.05**2)
                    )
                    for channel in looks[name]:
                        values[channel] += (0.5 if channel > 5 else 1.0) * near
            taps.append(values.astype(np.float16))
        views.append(tuple(taps))
    pooled = views[-1][-1].astype(np.float32).mean((1, 2)).astype(np.float16)
    return PictureFeatures(tuple(views), pooled, SIZE_HW)


def turned(places: Places) -> dict[str, FloatArray]:
    """The face in a mirror: what was its left ear looks like a right one."""
    other = {"left ear": "right ear", "right ear": "left ear", "nose": "nose"}
    return {other[name]: points * (-1, 1) + (1, 0) for name, points in places.items()}


def accepted(name: str, places: Places, rejected: Places | None = None) -> Example:
    size = np.array(SIZE_HW[::-1], np.float32)
    return Example(
        name,
        Boxes.empty(SIZE_HW),
        np.zeros((0, 4), np.float32),
        drawn_on=False,
        points_px={label: points * size for label, points in places.items()},
        rejected_points_px={label: points * size for label, points in (rejected or {}).items()},
        pointed_on=True,
    )


def project(count: int, seed: int) -> tuple[list[Example], dict[str, FeaturePair]]:
    random = np.random.RandomState(seed)
    examples, features = [], {}
    for number in range(count):
        places, name = ears_and_nose(random), f"{seed}-{number}"
        examples.append(accepted(name, places))
        features[name] = (features_of(random, places), features_of(random, turned(places)))
    return examples, features


def share_near(
    head: ProjectHead, examples: Sequence[Example], features: Mapping[str, FeaturePair]
) -> float:
    """Of accepted points, those that a told point of the label is near to."""
    near = 0
    told_of = predict_points(head, [features[one.picture][0] for one in examples])
    for one, told in zip(examples, told_of, strict=True):
        for label, points in one.points_px.items():
            own = [at for at, name in enumerate(told.label) if name == label]
            near += int(hits(told.xy_px[own], points, SIZE_HW).sum())
    return near / sum(len(points) for one in examples for points in one.points_px.values())


@pytest.fixture(scope="module")
def fitted() -> tuple[ProjectHead, Mapping[str, float], Mapping[str, Mapping[str, bool]]]:
    examples, features = project(10, seed=1)
    head, report = fit_project(examples, features, (), (), IDENTITY)
    return head, report.metrics, {name: one.answers for name, one in report.per_picture.items()}


def test_parts_are_found_where_they_are(
    fitted: tuple[ProjectHead, Mapping[str, float], Mapping[str, Mapping[str, bool]]],
) -> None:
    head, metrics, answers = fitted
    examples, features = project(20, seed=2)
    assert share_near(head, examples, features) > 0.9
    assert metrics["pck"] > 0.8 > 0.4 > metrics["pck_of_mean"]
    assert set(answers) == {f"1-{number}" for number in range(10)}
    assert set(answers["1-0"]) == {point_answer(part) for part in PARTS}
    told = predict_points(head, [features[examples[0].picture][0]])[0]
    assert set(told.label) == set(PARTS)
    assert ((told.score > 0.5) & (told.score < 1)).all()
    assert head.labels == ()
    assert len(predict(head, [features[examples[0].picture][0]])[0]) == 0


def test_what_is_judged_was_not_learned_from() -> None:
    """Points without any relation to the pictures are learned by heart, and told nothing."""
    examples, features = project(12, seed=3)
    shuffled = [
        accepted(one.picture, ears_and_nose(np.random.RandomState(90 + at)))
        for at, one in enumerate(examples)
    ]
    _, report = fit_project(shuffled, features, (), (), IDENTITY)
    assert report.metrics["pck"] < 0.5


def test_the_file_holds_the_whole_head(
    fitted: tuple[ProjectHead, Mapping[str, float], Mapping[str, Mapping[str, bool]]],
) -> None:
    head = fitted[0]
    content = head.to_bytes()
    again = ProjectHead.from_bytes(content)
    assert again.point_labels == PARTS
    assert again.to_bytes() == content
    _, features = project(1, seed=4)
    shown = [features["4-0"][0]]
    assert predict_points(again, shown)[0].xy_px.tolist() == (
        predict_points(head, shown)[0].xy_px.tolist()
    )
    assert len(content) < 100_000


def test_a_head_without_points_is_the_file_it_was() -> None:
    plain = ProjectHead(None, (), small=False).to_bytes()
    assert "points" not in json.loads(metadata_of(plain)["head"])
    assert ProjectHead.from_bytes(plain).points is None


@pytest.mark.parametrize("lost", ["points/offset", "points/relations/parent", "points/tap/0"])
def test_half_a_head_is_refused(
    fitted: tuple[ProjectHead, Mapping[str, float], Mapping[str, Mapping[str, bool]]], lost: str
) -> None:
    content = fitted[0].to_bytes()
    arrays = {name: value for name, value in load(content).items() if name != lost}
    with pytest.raises(ConfigError, match="not a head"):
        ProjectHead.from_bytes(save(arrays, metadata_of(content)))


def test_labels_are_left_alone_by_their_answer(
    fitted: tuple[ProjectHead, Mapping[str, float], Mapping[str, Mapping[str, bool]]],
) -> None:
    fewer = fitted[0].without({point_answer("nose")})
    assert fewer.point_labels == ("left ear", "right ear")
    _, features = project(1, seed=5)
    assert "nose" not in predict_points(fewer, [features["5-0"][0]])[0].label
    assert ProjectHead.from_bytes(fewer.to_bytes()).point_labels == fewer.point_labels


def test_a_label_that_was_accepted_once_or_never() -> None:
    examples, features = project(8, seed=6)
    only = [
        accepted(one.picture, {"left ear": examples[0].points_px["left ear"] / SIZE_HW[::-1]})
        if at == 0
        else Example(
            one.picture,
            one.boxes,
            one.rejected_xyxy_px,
            points_px={"nose": one.points_px["nose"]},
            pointed_on=True,
        )
        for at, one in enumerate(examples)
    ]
    head, _ = fit_project(only, features, (), (), IDENTITY)
    assert head.point_labels == ("left ear", "nose"), "never: the right ear"
    told = [predict_points(head, [features[one.picture][0]])[0].label for one in only]
    assert sum("nose" in labels for labels in told) >= 6
    assert sum("left ear" in labels for labels in told) <= 2, "absent on seven of eight"


def test_one_picture_is_learned_from_but_not_judged() -> None:
    examples, features = project(1, seed=7)
    head, report = fit_project(examples, features, (), (), IDENTITY)
    assert head.point_labels == PARTS
    assert "pck" not in report.metrics
    assert report.per_picture == {}
    others, shown = project(10, seed=8)
    assert share_near(head, others, shown) > 0.3


def test_several_of_a_label_are_told_where_several_were_accepted() -> None:
    random = np.random.RandomState(9)
    examples, features = [], {}
    for number in range(8):
        count = 1 + number % 3
        xs = np.linspace(0.15, 0.85, 4)[random.permutation(4)[:count]]
        places = {"nose": np.stack([xs, random.uniform(0.2, 0.8, count)], 1).astype(np.float32)}
        name = f"n{number}"
        examples.append(accepted(name, places))
        features[name] = (features_of(random, places), features_of(random, turned(places)))
    head, _ = fit_project(examples, features, (), (), IDENTITY)
    assert share_near(head, examples, features) > 0.9
    told = predict_points(head, [features[one.picture][0] for one in examples])
    assert sum(map(len, told)) <= 1.2 * sum(len(one.points_px["nose"]) for one in examples)


def test_mirrored_pictures_are_left_out_where_their_sides_have_unknown_names() -> None:
    """Told by words that are not known, a mirrored left ear would teach that it is a left one."""
    examples, features = project(10, seed=1)
    names = {"left ear": "oreille gauche", "right ear": "oreille droite", "nose": "nez"}
    foreign = [
        accepted(
            one.picture,
            {names[label]: points / SIZE_HW[::-1] for label, points in one.points_px.items()},
        )
        for one in examples
    ]
    assert fit_key_points(foreign, features, IDENTITY).pck > 0.7


def test_a_deleted_point_is_learned_from_as_nothing() -> None:
    """A blot looks like a nose. Where it was deleted its cells are among those of the ground."""
    random = np.random.RandomState(10)
    nose, blot = (np.array([place], np.float32) for place in ((0.3, 0.3), (0.75, 0.7)))
    shown = features_of(random, {"nose": np.concatenate([nose, blot])})
    whitening = fit_whitening([shown])
    none = np.zeros((0, 2), np.float32)
    value = {}
    for name, wrong in (("without", none), ("with", blot)):
        drawn = maps_from(sums_of(shown, whitening, [nose], wrong, 0), whitening)(shown)
        value[name] = float(drawn[0, 14, 15])  # the cell of 20 x 20 at the blot
    assert value["with"] < value["without"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["left eye", "nose", "right eye"], [2, 1, 0]),
        (["LeftEye", "righteye"], [1, 0]),
        (["top left", "top right", "bright", "left"], [1, 0, 2, 3]),
        (["gauche", "droite"], [0, 1]),
        ([], []),
    ],
)
def test_partners(labels: list[str], expected: list[int]) -> None:
    assert partners(labels) == expected


def test_maps_are_the_regression_itself() -> None:
    """Folded into one matrix a tap they give what the regression gives on whitened cells."""
    random = np.random.RandomState(11)
    shown = features_of(random, ears_and_nose(random))
    whitening = fit_whitening([shown])
    places = [np.array([place], np.float32) for place in ((0.3, 0.3), (0.7, 0.6))]
    sums = sums_of(shown, whitening, places, np.zeros((0, 2), np.float32), 0)
    ridge, side = sums.fit(3000.0), 2 * SIDES[-1]
    grid = whitening.grid(shown.views[-1], side)
    expected = ridge(grid.reshape(side * side, -1)).reshape(side, side, 2).transpose(2, 0, 1)
    fine = PictureFeatures(shown.views[-1:], shown.pooled, SIZE_HW)
    drawn = maps_from(sums, whitening)(fine)
    assert drawn == pytest.approx(expected, abs=1e-4)


def test_many_labels_are_drawn_as_few_are() -> None:
    random = np.random.RandomState(12)
    shown = features_of(random, ears_and_nose(random))
    weights = tuple(random.normal(0, 1, (CHANNELS, 9)).astype(np.float32) for _ in range(3))
    maps = PartMaps(weights, np.zeros(9, np.float32))
    assert maps.only([7])(shown)[0] == pytest.approx(maps(shown)[7], abs=1e-5)


def test_nothing_accepted() -> None:
    examples, features = project(2, seed=13)
    empty = [accepted(one.picture, {"nose": np.zeros((0, 2), np.float32)}) for one in examples]
    assert point_labels(empty) == ()
    with pytest.raises(ValueError, match="no key point"):
        fit_key_points(empty, features, IDENTITY)
