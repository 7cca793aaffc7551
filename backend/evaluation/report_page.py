"""A project's report as one HTML page, with nothing to load and no scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from backend.learning.report import IOU_EDGES, LeadTime, Report, Tally, overlap_counts
from backend.plots import Bar, Series, bar_plot, line_plot

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
caption { text-align: left; font-weight: bold; padding: .3rem 0 }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ccc; text-align: right }
th:first-child, td:first-child { text-align: left }
svg { max-width: 100%; height: auto }
"""
_COLUMNS = ("proposed", "as they were", "changed", "other label", "rejected", "missed")
_MEANING = (
    "A changed box was moved, resized or given another label; those with another label are "
    "counted in both columns. A missed box was drawn beside the proposals."
)


def render_report(report: Report, label_studio_url: str) -> str:
    """The page. label_studio_url: where the links to tasks lead."""
    title = f"What proposals saved in project {report.project_id}"
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
            *_summary(report),
            *_versions(report),
            *_doubts(report, label_studio_url),
            "</body></html>",
        ]
    )


def told(report: Report, label_studio_url: str) -> str:
    """The same as plain text."""
    lines = [
        f"Project {report.project_id}: {_counted(report.annotations, 'annotation')}.",
        f"Median time with a prediction: {_lead_of(report.with_prediction)}; "
        f"without: {_lead_of(report.without_prediction)}.",
    ]
    for one in report.versions:
        lines.append(
            f"\n{one.version}: {_counted(one.pictures, 'picture')}, {one.untouched} without an "
            f"edit, {one.edits_a_picture:.2f} edits a picture"
        )
        width = max(len(name) for name in ("all labels", *one.by_label))
        lines.append(" " * (width + 2) + "".join(f"{name:>14}" for name in _COLUMNS))
        for name, tally in (("all labels", one.total), *one.by_label.items()):
            cells = "".join(f"{value:>14}" for value in _cells(tally))
            lines.append(f"  {name:<{width}}{cells}")
        if one.total.overlaps:
            lines.append(f"  overlap of changed boxes with their proposal: {_spread(one.total)}")
    if report.doubts:
        lines.append("\nAccepted labels that look wrong, the most doubtful first:")
        lines += [
            f"  task {one.task_id}: {one.missed} not found, {one.extra} found beside them  "
            f"{_address(report, one.task_id, label_studio_url)}"
            for one in report.doubts
        ]
    else:
        lines.append(f"\n{_no_doubts(report)}")
    return "\n".join(lines)


def _summary(report: Report) -> Iterator[str]:
    yield f"<p>Submitted: {_counted(report.annotations, 'annotation')}.</p>"
    yield '<table><caption>Time a picture</caption><tr><th scope="col">began</th>'
    yield '<th scope="col">pictures</th><th scope="col">median</th></tr>'
    for name, lead in (
        ("with a prediction", report.with_prediction),
        ("without", report.without_prediction),
    ):
        yield f'<tr><th scope="row">{name}</th><td>{lead.pictures}</td><td>{_lead(lead)}</td></tr>'
    yield "</table>"


def _versions(report: Report) -> Iterator[str]:
    if not report.versions:
        yield "<p>No annotation began with a prediction yet.</p>"
        return
    if len(report.versions) > 1:
        yield from _lines(report)
    yield f"<p>{_MEANING}</p>"
    for at, one in enumerate(report.versions, 1):
        yield f"<h2>{at}. {escape(one.version)}</h2><p>{_counted(one.pictures, 'picture')}, "
        yield f"{one.untouched} without an edit, {one.edits_a_picture:.2f} edits a picture.</p>"
        yield '<table><caption>What became of its proposals</caption><tr><th scope="col">label</th>'
        yield "".join(f'<th scope="col">{name}</th>' for name in _COLUMNS) + "</tr>"
        for name, tally in (("all labels", one.total), *one.by_label.items()):
            cells = "".join(f"<td>{value}</td>" for value in _cells(tally))
            yield f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
        yield "</table>"
        if one.total.overlaps:
            yield bar_plot(
                "Changed boxes by their overlap with the proposal",
                "intersection over union",
                "boxes",
                [Bar(name, float(count)) for name, count in _intervals(one.total.overlaps)],
            )


def _lines(report: Report) -> Iterator[str]:
    """What changed from version to version."""
    steps = range(1, len(report.versions) + 1)
    shares = [
        (name, [_share(getattr(one.total, name), one.total.proposed) for one in report.versions])
        for name in ("kept", "changed", "rejected")
    ]
    yield line_plot(
        "Proposals from version to version",
        "version, oldest first",
        "share of proposals",
        [
            Series(name, tuple(zip(map(float, steps), values, strict=True)))
            for name, values in shares
        ],
    )
    edits = [
        (float(at), one.edits_a_picture) for at, one in zip(steps, report.versions, strict=True)
    ]
    yield line_plot(
        "Edits from version to version",
        "version, oldest first",
        "edits a picture",
        [Series("edits a picture", tuple(edits))],
    )


def _doubts(report: Report, label_studio_url: str) -> Iterator[str]:
    yield "<h2>Accepted labels that look wrong</h2>"
    if not report.doubts:
        yield f"<p>{_no_doubts(report)}</p>"
        return
    yield "<p>A head that was fitted without these pictures disagrees with their labels. "
    yield 'Either may be right.</p><table><tr><th scope="col">task</th>'
    yield '<th scope="col">accepted, not found</th><th scope="col">found beside them</th></tr>'
    for one in report.doubts:
        address = escape(_address(report, one.task_id, label_studio_url), quote=True)
        yield f'<tr><th scope="row"><a href="{address}">{one.task_id}</a></th>'
        yield f"<td>{one.missed}</td><td>{one.extra}</td></tr>"
    yield "</table>"


def _no_doubts(report: Report) -> str:
    if report.judged:
        return f"No accepted label looks wrong among {_counted(report.judged, 'picture')}."
    return "Nothing was learned yet that could judge accepted labels."


def _cells(tally: Tally) -> tuple[int, ...]:
    return (
        tally.proposed,
        tally.kept,
        tally.changed,
        tally.relabelled,
        tally.rejected,
        tally.missed,
    )


def _intervals(overlaps: Sequence[float]) -> list[tuple[str, int]]:
    names = [f"{low:g} to {high:g}" for low, high in pairwise(IOU_EDGES)]
    return list(zip(names, overlap_counts(overlaps), strict=True))


def _spread(tally: Tally) -> str:
    return ", ".join(f"{name}: {count}" for name, count in _intervals(tally.overlaps))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _lead(lead: LeadTime) -> str:
    return "not known" if lead.median_s is None else f"{lead.median_s:.1f} s"


def _lead_of(lead: LeadTime) -> str:
    return f"{_lead(lead)} ({_counted(lead.pictures, 'picture')})"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def _address(report: Report, task_id: int, label_studio_url: str) -> str:
    return f"{label_studio_url}/projects/{report.project_id}/data?task={task_id}"
