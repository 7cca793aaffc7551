"""Plots as SVG."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

import pytest

from backend.plots import HEIGHT_PX, WIDTH_PX, Bar, Series, bar_plot, line_plot

SVG = "{http://www.w3.org/2000/svg}"


def texts(tree: Element) -> list[str]:
    return [node.text or "" for node in tree.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    "series",
    [
        [],
        [Series("none", ())],
        [Series("one", ((5.0, 0.5),))],
        [Series("flat", ((0.0, 0.0), (10.0, 0.0)))],
        [Series(str(at), ((0.0, at / 10), (50.0, 1.0))) for at in range(9)],
        [Series("high", ((0.0, 12.0), (1.0, 3000.0)))],
    ],
    ids=["nothing", "no point", "one point", "nought", "more than colours", "large"],
)
def test_every_line_lies_inside(series: list[Series]) -> None:
    tree = fromstring(line_plot("t", "x", "y", series))
    for line in tree.iter(f"{SVG}polyline"):
        for point in (line.get("points") or "").split():
            x, y = (float(value) for value in point.split(","))
            assert 0 <= x <= WIDTH_PX
            assert 0 <= y <= HEIGHT_PX
    assert {one.name for one in series} <= set(texts(tree))


def test_points_lie_where_their_values_are() -> None:
    tree = fromstring(
        line_plot("t", "x", "y", [Series("a", ((0.0, 0.0), (25.0, 0.5), (50.0, 1.0)))])
    )
    (line,) = tree.iter(f"{SVG}polyline")
    points = [tuple(map(float, p.split(","))) for p in (line.get("points") or "").split()]
    # Left 56 to right 544, bottom 292 to top 40.
    assert points == [(56.0, 292.0), (300.0, 166.0), (544.0, 40.0)]
    assert {"0", "10", "50", "0.2", "1"} <= set(texts(tree))


@pytest.mark.parametrize(
    ("xs", "ticks"),
    [
        ((1.0, 3.0), ["1", "2", "3"]),
        ((4.0, 15.0), ["0", "5", "10", "15"]),
        ((0.0, 0.5), ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
    ],
    ids=["counted things have no halves", "nor steps of two and a half", "measured ones do"],
)
def test_ticks_along_x(xs: tuple[float, float], ticks: list[str]) -> None:
    tree = fromstring(line_plot("t", "x", "y", [Series("a", tuple((x, 0.5) for x in xs))]))
    below = [n.text for n in tree.iter(f"{SVG}text") if float(n.get("y", "0")) == HEIGHT_PX - 32]
    assert below == ticks


def test_names_are_escaped_and_told() -> None:
    tree = fromstring(line_plot("a < b", 'x & "y"', "y", [Series("<i>", ((1.0, 0.25),))]))
    assert tree.findtext(f"{SVG}title") == "a < b"
    assert tree.findtext(f"{SVG}desc") == "<i>: 1 0.25"
    assert tree.get("role") == "img"


def test_bars_are_as_high_as_their_values() -> None:
    tree = fromstring(bar_plot("t", "x", "y", [Bar("a", 0.0), Bar("b", 5.0), Bar("c", 10.0)]))
    heights = [float(r.get("height", "")) for r in tree.iter(f"{SVG}rect") if r.get("x")]
    assert heights[0] == 0
    assert heights[2] == pytest.approx(2 * heights[1]) == pytest.approx(252)
    assert {"a", "b", "c"} <= set(texts(tree))
    assert fromstring(bar_plot("t", "x", "y", [])) is not None
