"""Names of labels meet names of classes."""

from __future__ import annotations

import importlib

import pytest

from backend.vision.classes import ClassMatcher, ClassName, imagenet_classes
from backend.vision.torchvision_door import load_torchvision

PETS = (
    ClassName("n01", "tabby", ("tabby cat",)),
    ClassName("n02", "sports car", ("sport car",)),
    ClassName("n03", "crane"),
    ClassName("n04", "crane"),
    ClassName("n05", "strawberry"),
    ClassName("n06", "custard apple"),
    ClassName("n07", "fox"),
    ClassName("n08", "mango"),
    ClassName("n09", "man-eater"),
)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param((), (), id="no-name"),
        pytest.param(("",), (), id="empty-name"),
        pytest.param(("tabby",), (0,), id="equal"),
        pytest.param(("TABBY Cat",), (0,), id="synonym-other-case"),
        pytest.param(("Sports_Car",), (1,), id="underscore"),
        pytest.param(("sports-car",), (1,), id="hyphen"),
        pytest.param((" man eater ",), (8,), id="hyphen-in-class"),
        pytest.param(("crane",), (2, 3), id="two-classes-of-one-name"),
        pytest.param(("cranes",), (2, 3), id="plural"),
        pytest.param(("strawberries",), (4,), id="plural-ies"),
        pytest.param(("foxes",), (6,), id="plural-es"),
        pytest.param(("mangoes", "mangos"), (7,), id="both-plurals-of-o"),
        pytest.param(("apple",), (), id="only-a-part-of-a-name"),
        pytest.param(("n06",), (5,), id="wordnet-id"),
        pytest.param(("fox", "tabby", "fox"), (0, 6), id="several-ascending-once"),
    ],
)
def test_match(names: tuple[str, ...], expected: tuple[int, ...]) -> None:
    assert ClassMatcher(PETS).match(names) == expected


def test_an_exact_name_wins_over_a_plural() -> None:
    classes = (ClassName("n1", "bras"), ClassName("n2", "bra"))
    assert ClassMatcher(classes).match(("bras",)) == (0,)


def test_the_classes_stand_in_the_order_of_torchvisions_networks() -> None:
    load_torchvision()
    theirs = importlib.import_module("torchvision.models._meta")._IMAGENET_CATEGORIES
    ours = imagenet_classes()
    assert len(ours) == 1000
    assert len({entry.wnid for entry in ours}) == 1000
    differing = [
        (index, name) for index, name in enumerate(theirs) if name not in ours[index].names
    ]
    # torchvision tells the two cranes and the two maillots apart by names of its own.
    assert differing == [(134, "crane bird"), (639, "maillot tank suit")]
    for index in (134, 639):
        assert theirs[index].startswith(ours[index].name)


@pytest.mark.parametrize(
    ("name", "index"), [("banana", 954), ("Granny Smith", 948), ("magpie", 18), ("stingray", 6)]
)
def test_known_classes(name: str, index: int) -> None:
    assert ClassMatcher(imagenet_classes()).match((name,)) == (index,)


def test_a_raccoon_is_no_class_of_imagenet() -> None:
    assert ClassMatcher(imagenet_classes()).match(("raccoon",)) == ()
