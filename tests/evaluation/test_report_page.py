"""The report as text and as a page."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

from backend.evaluation.report_page import render_report, told
from backend.learning.report import HeldOut, Report, Review, ReviewedBox, build_report

URL = "http://localhost:8080"
NASTY = '<b>"&'


def full_report() -> Report:
    before = (ReviewedBox("a", NASTY, (0, 0, 10, 10)), ReviewedBox("b", "dog", (0, 0, 10, 10)))
    after = (ReviewedBox("a", NASTY, (0, 0, 6, 10)), ReviewedBox("b", "dog", (0, 0, 10, 10)))
    held_out = [HeldOut(task, 3, 0, 0) for task in range(5)] + [HeldOut(77, 0, 1, 2)]
    reviews = [
        Review(1, True, "net-1-<x>", before, after, 12.0),
        Review(2, True, "net-2-y", before[1:], after[1:]),
    ]
    return build_report(3, reviews, held_out)


def test_a_page_without_anything_says_so() -> None:
    page = render_report(build_report(3, []), URL)
    assert "No annotation began with a prediction yet." in page
    assert "Nothing was learned yet" in page
    assert "not known" in page


def test_the_page_loads_nothing_and_is_well_formed() -> None:
    page = render_report(full_report(), URL)
    assert "<script" not in page
    assert "src=" not in page
    assert NASTY not in page
    assert 'lang="en"' in page
    assert f'href="{URL}/projects/3/data?task=77"' in page
    # Everything but the head's unclosed tags parses as XML: every text is escaped.
    body = page[page.index("<body>") : page.index("</html>")]
    tree = fromstring(body)
    svg = "{http://www.w3.org/2000/svg}svg"
    assert len(tree.findall(svg)) == 3
    assert all(
        plot.find("{http://www.w3.org/2000/svg}desc") is not None for plot in tree.findall(svg)
    )


def test_one_version_has_no_line_through_it() -> None:
    before = (ReviewedBox("a", "dog", (0, 0, 10, 10)),)
    page = render_report(build_report(3, [Review(1, True, "net-1-x", before, before)]), URL)
    assert "<polyline" not in page
    assert "1 picture, 1 without an edit" in page


def test_the_text_has_the_same_figures() -> None:
    text = told(full_report(), URL)
    assert "12.0 s (2 pictures); without: not known (0 pictures)" in text
    assert "net-1-<x>: 1 picture, 0 without an edit, 1.00 edits a picture" in text
    assert "0.5 to 0.7: 1" in text
    assert f"task 77: 2 not found, 1 found beside them  {URL}/projects/3/data?task=77" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["all", "labels", "2", "1", "1", "0", "0", "0"] in rows
