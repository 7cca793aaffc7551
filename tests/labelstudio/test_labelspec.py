"""Labelling configurations, and what of them the model is asked for."""

from __future__ import annotations

import pytest

from backend.errors import LabelConfigInvalid
from backend.labelstudio.configtree import CONFIG_CHARS, MOST_LEVELS
from backend.labelstudio.labelspec import Control, LabelName, parse_label_config
from backend.labelstudio.ranges import NumberRange

IMAGE = '<Image name="img" value="$image"/>'
BOXES = '<RectangleLabels name="rl" toName="img"><Label value="Dog"/></RectangleLabels>'


def view(*parts: str) -> str:
    return f"<View>{''.join(parts)}</View>"


def test_rectanglelabels() -> None:
    spec = parse_label_config(view(IMAGE, BOXES))
    assert spec.controls == (
        Control(
            name="rl",
            kind="rectanglelabels",
            geometry_name="rl",
            to_name="img",
            data_key="image",
            is_list=False,
            labels=(LabelName("Dog", ("Dog",)),),
        ),
    )
    assert spec.data_keys == ("image",)
    assert spec.unserved == ()


def test_rectangle_with_labels_is_one_control() -> None:
    labels = '<Labels name="lb" toName="img"><Label value="A"/></Labels>'
    spec = parse_label_config(view(IMAGE, labels, '<Rectangle name="re" toName="img"/>'))
    (control,) = spec.controls
    assert (control.name, control.geometry_name, control.kind) == ("lb", "re", "rectangle+labels")
    assert spec.unserved == ()


def test_pair_stays_on_its_own_picture() -> None:
    spec = parse_label_config(
        view(
            IMAGE,
            '<Image name="other" value="$other"/>',
            '<Rectangle name="r1" toName="img"/><Rectangle name="r2" toName="other"/>',
            '<Labels name="l2" toName="other"><Label value="A"/></Labels>',
        )
    )
    assert [(c.name, c.geometry_name, c.data_key) for c in spec.controls] == [("l2", "r2", "other")]
    assert spec.unserved == ("Rectangle without Labels",)


def test_choices_single_multiple_and_nested() -> None:
    spec = parse_label_config(
        view(
            IMAGE,
            '<Choices name="one" toName="img"><Choice value="a"/></Choices>',
            '<Choices name="many" toName="img" choice="multiple">'
            '<Choice value="b"><Choice value="c" alias="cc"/></Choice></Choices>',
        )
    )
    one, many = spec.controls
    assert (one.multiple, many.multiple) == (False, True)
    assert [label.value for label in many.labels] == ["b", "cc"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ('<Label value="Dog"/>', LabelName("Dog", ("Dog",))),
        ('<Label value="Dog" alias="dg"/>', LabelName("dg", ("Dog", "dg"))),
        ('<Label alias="dg"/>', LabelName("dg", ("dg",))),
        (
            '<Label value="Car" predicted_values=" jeep ,cab,, jeep"/>',
            LabelName("Car", ("jeep", "cab")),
        ),
        ('<Label value="Car" predicted_values=" "/>', LabelName("Car", ("Car",))),
    ],
    ids=["value", "alias", "alias-only", "predicted-values", "blank-predicted-values"],
)
def test_label_names(label: str, expected: LabelName) -> None:
    spec = parse_label_config(
        view(IMAGE, f'<RectangleLabels name="rl" toName="img">{label}</RectangleLabels>')
    )
    assert spec.controls[0].labels == (expected,)


def test_label_mentioned_twice_is_one_with_all_names() -> None:
    twice = '<Label value="Car" predicted_values="jeep"/><Label value="Car"/>'
    spec = parse_label_config(
        view(IMAGE, f'<RectangleLabels name="rl" toName="img">{twice}</RectangleLabels>')
    )
    assert spec.controls[0].labels == (LabelName("Car", ("jeep", "Car")),)


def test_everything_nested_commented_and_declared() -> None:
    xml = (
        '<?xml version="1.0" encoding="utf-16"?><!-- boxes -->'
        f"<View><Header value='$title'/><Collapse><Panel value='p'><View>{BOXES}</View></Panel>"
        f"</Collapse><View style='x'>{IMAGE}</View></View>"
    )
    spec = parse_label_config(xml)
    assert [control.name for control in spec.controls] == ["rl"]
    assert spec.unserved == ()


def test_ratings_and_numbers() -> None:
    spec = parse_label_config(
        view(
            IMAGE,
            '<Rating name="stars" toName="img" maxRating="3"/>',
            '<Number name="metres" toName="img" min="0" step="0.1"/>',
        )
    )
    assert [(c.name, c.kind, c.values, c.labels, c.draws) for c in spec.controls] == [
        ("stars", "rating", NumberRange(1, 3, 1), (), False),
        ("metres", "number", NumberRange(0, None, 0.1), (), False),
    ]
    assert spec.unserved == ()


def test_several_pictures() -> None:
    spec = parse_label_config(
        view(
            '<Image name="img" valueList="$images"/>',
            BOXES,
            '<Choices name="each" toName="img" perItem="true"><Choice value="a"/></Choices>',
            '<Choices name="all" toName="img"><Choice value="a"/></Choices>',
        )
    )
    assert [(c.is_list, c.data_key, c.per_item) for c in spec.controls] == [
        (True, "images", False),
        (True, "images", True),
        (True, "images", False),
    ]
    assert spec.data_keys == ("images",)


def test_dynamic_labels_come_after_fixed_ones() -> None:
    spec = parse_label_config(
        view(
            IMAGE,
            '<RectangleLabels name="rl" toName="img" value="$labels"><Label value="Dog"/>'
            "</RectangleLabels>",
        )
    )
    (control,) = spec.controls
    assert control.dynamic_labels_key == "labels"
    data = {
        "labels": [
            {"value": "Cat", "alias": "c", "children": [{"value": "Kitten"}]},
            "Cow",
            {"value": 3},
            None,
            {"value": "Dog", "predicted_values": "pug"},
        ]
    }
    assert spec.labels_for(control, data) == (
        LabelName("Dog", ("Dog", "pug")),
        LabelName("c", ("Cat", "c")),
        LabelName("Kitten", ("Kitten",)),
        LabelName("Cow", ("Cow",)),
    )
    for strange in ({}, {"labels": None}, {"labels": "Cat"}, {"labels": {"value": "Cat"}}):
        assert spec.labels_for(control, strange) == (LabelName("Dog", ("Dog",)),)


def test_options_travel_and_skip_leaves_a_control_to_people() -> None:
    spec = parse_label_config(
        view(
            IMAGE,
            BOXES.replace("toName", 'model_max_boxes="3" smart="true" toName'),
            '<Choices name="c" toName="img" model_skip="true"><Choice value="a"/></Choices>',
        )
    )
    assert spec.controls[0].options.max_boxes == 3
    assert spec.controls[0].smart
    assert [control.name for control in spec.active] == ["rl"]
    assert spec.control("c") is None
    assert spec.control("rl") is spec.controls[0]


@pytest.mark.parametrize(
    ("extra", "unserved"),
    [
        (
            '<Polygon name="p" toName="img"/><Polygon name="q" toName="img"/>',
            ("Polygon", "Polygon without Labels"),
        ),
        (
            '<Video name="v" value="$v"/><VideoRectangle name="vr" toName="v"/>',
            ("VideoRectangle without Labels",),
        ),
        (
            '<Choices name="c" toName="img" perRegion="true"><Choice value="a"/></Choices>',
            ("Choices perRegion",),
        ),
        ('<Choices name="c" toName="img"/>', ("Choices without Choice",)),
        ('<Rating name="c" toName="img" perRegion="true"/>', ("Rating perRegion",)),
        ('<Number name="c" toName="img" perRegion="true"/>', ("Number perRegion",)),
        (
            '<Image name="more" valueList="$more"/><Rating name="c" toName="more"/>',
            ("Rating of several pictures",),
        ),
        (
            '<Labels name="l" toName="img"><Label value="a"/></Labels>',
            ("Labels without a shape",),
        ),
        ('<Rectangle name="r" toName="img"/>', ("Rectangle without Labels",)),
        (
            '<Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="a"/></Choices>',
            ("Text", "Choices of another object than an Image"),
        ),
        (
            '<Repeater on="$images" indexFlag="{{idx}}"><Image name="i_{{idx}}" value="$x"/>'
            '<Choices name="c_{{idx}}" toName="i_{{idx}}"><Choice value="a"/></Choices></Repeater>',
            ("Repeater",),
        ),
    ],
    ids=[
        "polygon",
        "video",
        "per-region",
        "no-choice",
        "rating-per-region",
        "number-per-region",
        "rating-of-a-list",
        "labels",
        "rectangle",
        "text",
        "repeater",
    ],
)
def test_what_cannot_be_served_is_remembered(extra: str, unserved: tuple[str, ...]) -> None:
    spec = parse_label_config(view(IMAGE, BOXES, extra))
    assert [control.name for control in spec.controls] == ["rl"]
    assert spec.unserved == unserved


def test_first_image_of_several_to_names() -> None:
    spec = parse_label_config(
        view(
            '<Text name="t" value="$t"/>',
            IMAGE,
            '<Choices name="c" toName="t, img"><Choice value="a"/></Choices>',
        )
    )
    assert spec.controls[0].to_name == "img"


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ("", "is not XML"),
        ("<View>", "is not XML"),
        ("<View>\x00</View>", "is not XML"),
        ("<View>\ud800</View>", "is not XML"),
        ("<View/>", "no control that can be served"),
        (view(IMAGE, '<Polygon name="p" toName="img"/>'), "(found: Polygon without Labels)"),
        (view(BOXES), "toName='img'"),
        (view(IMAGE, BOXES.replace('toName="img"', "")), "has no toName"),
        (view(IMAGE, BOXES.replace('name="rl"', "")), "has no name"),
        (view(IMAGE, BOXES.replace('value="Dog"', "")), "has no value"),
        (view(IMAGE, BOXES.replace('"img"', '"img,nothing"')), "toName='nothing'"),
        (view(IMAGE, BOXES, BOXES), "Several controls are named 'rl'"),
        (view('<Image name="img" value="$data.image"/>', BOXES), "value='$data.image'"),
        (view('<Image name="img" value="http://x/$id.png"/>', BOXES), "value='http://x/$id.png'"),
        (view('<Image name="img"/>', BOXES), "has no value"),
        (view(IMAGE, BOXES.replace("toName", 'model_max_boxes="0" toName')), "model_max_boxes='0'"),
        (
            '<!DOCTYPE v [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + view("&b;"),
            "declares a document type",
        ),
        (
            '<!DOCTYPE v [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + view("&f;"),
            "declares a document type",
        ),
        ('<!DOCTYPE v SYSTEM "http://example.org/x.dtd">' + view(), "declares a document type"),
        (view(" " * CONFIG_CHARS), "characters"),
    ],
    ids=[
        "empty", "unclosed", "null", "surrogate", "nothing", "polygon", "dangling", "no-to-name",
        "no-name", "no-label-value", "dangling-second", "twice", "nested-key", "composed-address",
        "no-picture", "option", "entities", "file-entity", "remote-dtd", "too-long",
    ],
)  # fmt: skip
def test_refusals_say_what(xml: str, says: str) -> None:
    with pytest.raises(LabelConfigInvalid) as caught:
        parse_label_config(xml)
    assert says in caught.value.what
    assert caught.value.remedy


def test_nesting_is_bounded() -> None:
    def nested(levels: int) -> str:
        # The Label inside the control is the deepest element.
        return "<View>" * (levels - 2) + IMAGE + BOXES + "</View>" * (levels - 2)

    assert len(parse_label_config(nested(MOST_LEVELS)).controls) == 1
    for levels in (MOST_LEVELS + 1, 20_000):
        with pytest.raises(LabelConfigInvalid, match="nests deeper than 100 levels"):
            parse_label_config(nested(levels))


def fingerprint(*parts: str) -> str:
    return parse_label_config(view(*parts)).fingerprint


TWO = '<RectangleLabels name="rl" toName="img">{}</RectangleLabels>'


@pytest.mark.parametrize(
    "same",
    [
        (IMAGE, '<Header value="Draw"/>', TWO.format('<Label value="A"/><Label value="B"/>')),
        (IMAGE, TWO.format('<Label value="B"/><Label value="A"/>')),
        (IMAGE, TWO.format('<Label value="A" hotkey="1" background="red"/><Label value="B"/>')),
        (TWO.format('<Label value="A"/><!-- --><Label value="B"/>'), IMAGE),
        (
            IMAGE,
            TWO.format('<Label value="A"/><Label value="B"/>').replace(
                "toName", 'smart="true" toName'
            ),
        ),
        (
            IMAGE,
            TWO.format('<Label value="A"/><Label value="B"/>'),
            '<Choices name="c" toName="img" model_skip="true"><Choice value="x"/></Choices>',
            '<Polygon name="p" toName="img"/>',
        ),
    ],
    ids=["header", "order", "styling", "comment", "smart", "skipped"],
)
def test_fingerprint_ignores_what_changes_no_prediction(same: tuple[str, ...]) -> None:
    assert fingerprint(*same) == fingerprint(
        IMAGE, TWO.format('<Label value="A"/><Label value="B"/>')
    )


def test_fingerprint_tells_apart_what_changes_predictions() -> None:
    a = '<Label value="A"/>'
    variants = [
        (IMAGE, TWO.format(a)),
        (IMAGE, TWO.format('<Label value="B"/>')),
        (IMAGE, TWO.format('<Label value="A" alias="x"/>')),
        (IMAGE, TWO.format('<Label value="A" predicted_values="x"/>')),
        (IMAGE, TWO.format(a + '<Label value="B"/>')),
        (IMAGE, TWO.format(a).replace('"rl"', '"other"')),
        (IMAGE, TWO.format(a).replace("toName", 'value="$labels" toName')),
        (IMAGE, TWO.format(a).replace("toName", 'model_score_threshold="0.2" toName')),
        (IMAGE, TWO.format(a).replace("toName", 'model_saliency="gradient" toName')),
        (IMAGE, TWO.format(a).replace("toName", 'model_dilate="3" toName')),
        (IMAGE.replace("$image", "$photo"), TWO.format(a)),
        (IMAGE.replace("value=", "valueList="), TWO.format(a)),
        (IMAGE, '<Choices name="rl" toName="img"><Choice value="A"/></Choices>'),
        (
            IMAGE,
            '<Choices name="rl" toName="img" choice="multiple"><Choice value="A"/></Choices>',
        ),
        (IMAGE, '<Rating name="r" toName="img"/>'),
        (IMAGE, '<Rating name="r" toName="img" maxRating="3"/>'),
        (IMAGE, '<Number name="r" toName="img" min="1" max="5"/>'),
    ]
    assert len({fingerprint(*variant) for variant in variants}) == len(variants)


def test_fingerprint_is_stable_over_releases() -> None:
    # A changed value here means that every stored prediction is made again: do it knowingly.
    assert fingerprint(IMAGE, BOXES) == "a42388573d9552dbbd174ce35d63fbb2"


SHAPES = ("Rectangle", "Polygon", "Brush", "Ellipse", "KeyPoint")


@pytest.mark.parametrize("tag", SHAPES)
def test_every_shape_of_an_image_is_served(tag: str) -> None:
    label = '<Label value="a"/>'
    (own,) = parse_label_config(
        view(IMAGE, f'<{tag}Labels name="s" toName="img">{label}</{tag}Labels>')
    ).controls
    assert (own.kind, own.shape, own.paired) == (f"{tag.lower()}labels", tag.lower(), False)
    assert own.geometry_name == own.name == "s"
    (pair,) = parse_label_config(
        view(
            IMAGE,
            f'<{tag} name="g" toName="img"/>',
            f'<Labels name="l" toName="img">{label}</Labels>',
        )
    ).controls
    assert (pair.kind, pair.shape, pair.paired) == (f"{tag.lower()}+labels", tag.lower(), True)
    assert (pair.name, pair.geometry_name) == ("l", "g")


def test_a_rectangle_takes_the_labels_before_other_shapes() -> None:
    spec = parse_label_config(
        view(
            IMAGE,
            '<Polygon name="p" toName="img"/><Rectangle name="r" toName="img"/>',
            '<Labels name="l" toName="img"><Label value="a"/></Labels>',
        )
    )
    assert [control.kind for control in spec.controls] == ["rectangle+labels"]
    assert spec.unserved == ("Polygon",)


@pytest.mark.parametrize(
    ("written", "rate"), [("", 24.0), ('framerate="25"', 25.0), ('frameRate="29.97"', 29.97)]
)
def test_a_video_is_served_with_its_rate(written: str, rate: float) -> None:
    (control,) = parse_label_config(
        view(
            f'<Video name="v" value="$video" {written}/>',
            '<VideoRectangle name="box" toName="v"/>',
            '<Labels name="l" toName="v"><Label value="a"/></Labels>',
        )
    ).controls
    assert control.kind == "videorectangle+labels"
    assert control.shape == "videorectangle"
    assert not control.paired
    assert (control.geometry_name, control.to_name, control.data_key) == ("box", "v", "video")
    assert control.framerate == rate


@pytest.mark.parametrize("written", ["0", "-1", "fast", "nan", "1e9"])
def test_a_rate_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(LabelConfigInvalid, match="framerate"):
        parse_label_config(
            view(
                f'<Video name="v" value="$video" framerate="{written}"/>',
                '<VideoRectangle name="box" toName="v"/>',
                '<Labels name="l" toName="v"><Label value="a"/></Labels>',
            )
        )
