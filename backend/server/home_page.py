"""The page at /, made from what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from backend.plots import Series, line_plot
from backend.server.board import MOST_FAILED, MOST_PROJECTS, Board, ProjectBoard
from backend.server.overview import Overview
from backend.store.recent import RecentPrediction

MOST_HEADS = 10
"""Rows of a project's tables."""

MOST_MAPS = 4
"""Maps drawn at once: each takes a worker's time."""

_PACE_MEAN_MINUTES = 5
_QUEUE_WORDS = {
    "interactive": "an annotator waits",
    "predict": "Label Studio waits",
    "push": "predictions to be written into Label Studio",
    "bulk": "whole projects, nobody waits",
    "train": "heads to be trained",
}
_MEASURE_NAMES = {"f1_50": "F1 at IoU 0.5", "f1_70": "F1 at IoU 0.7", "no_edit": "no edit needed"}
_FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class View:
    """What the page is to show.

    health: as at /health. board: None where it could not be read; missing says why.
    query: the page's own parameters. told: the outcome of what was asked for by a button.
    label_studio_url: where links lead for projects that told no address. can_explain:
    whether maps can be drawn.
    """

    health: Mapping[str, Any]
    overview: Overview
    board: Board | None
    now_s: float
    query: Mapping[str, int]
    label_studio_url: str
    can_explain: bool
    missing: str = ""
    told: str = ""


def render_home(view: View) -> str:
    """HTML; every text in it is escaped."""
    board = view.board
    template = _environment().get_template("home.html")
    return template.render(
        ago=lambda at_s: _ago(view.now_s - at_s),
        project_address=lambda one: _project_address(one, view.label_studio_url),
        style=Markup(home_style()),  # noqa: S704 -- our own file
        up=view.health["status"] == "UP",
        **{name: view.health[name] for name in ("status", "version", "backbone", "hint")},
        problems=view.health["problems"],
        overview=view.overview,
        waiting=sum(view.overview.queues.values()),
        board=board,
        pace_mean=fmean(board.pace[-_PACE_MEAN_MINUTES:]) if board else 0.0,
        pace_plot=_pace_plot(board.pace) if board else "",
        queue_words=_QUEUE_WORDS,
        most_heads=MOST_HEADS,
        most_maps=MOST_MAPS,
        most_failed=MOST_FAILED,
        maps=view.query.get("maps"),
        every_s=view.query.get("refresh"),
        here=lambda changes: _address(view.query, changes),
        now_s=view.now_s,
        missing=view.missing,
        told=view.told,
        can_explain=view.can_explain,
    )


@lru_cache(1)
def home_style() -> str:
    """The page's style sheet."""
    return (_FOLDER / "home.css").read_text("utf-8")


@lru_cache(1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "iso": _iso,
        "curve": _curve,
        "measures": _measures,
        "measure_name": lambda name: _MEASURE_NAMES.get(name, name.replace("_", " ")),
        "labels": _labels,
        "map_address": _map_address,
        "before": lambda skip: max(0, skip - MOST_PROJECTS) or None,
    }
    return environment


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ago(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def _pace_plot(pace: tuple[int, ...]) -> Markup:
    points = tuple((float(at - len(pace)), float(count)) for at, count in enumerate(pace))
    plot = line_plot(
        "Pictures a minute", "minutes from now", "pictures", [Series("all workers", points)]
    )
    return Markup(plot)  # noqa: S704 -- line_plot escapes its texts


def _measures(project: ProjectBoard) -> list[str]:
    """Names of what its heads were measured by, those of boxes first."""
    had = {name for meta in project.versions.values() for name in meta.metrics}
    answers = sorted(name for name in had if name.startswith("accuracy_"))
    return [name for name in _MEASURE_NAMES if name in had] + answers


def _curve(project: ProjectBoard) -> Markup:
    series = [
        Series(
            _MEASURE_NAMES.get(name, name.replace("_", " ")),
            tuple(
                sorted(
                    (float(meta.pictures), meta.metrics[name])
                    for meta in project.versions.values()
                    if name in meta.metrics
                )
            ),
        )
        for name in _measures(project)
    ]
    title = f"Learning curve of project {project.id}"
    plot = line_plot(title, "pictures learned from", "on pictures not seen", series)
    return Markup(plot)  # noqa: S704 -- line_plot escapes its texts


def _labels(recent: RecentPrediction) -> dict[str, int]:
    """How many regions have each label or choice."""
    counts: Counter[str] = Counter()
    for region in recent.prediction.get("result", ()):
        value = region.get("value", {})
        named = value.get(region.get("type"), ())
        counts.update(named if isinstance(named, list) else [str(named)])
    return dict(counts)


def _map_address(recent: RecentPrediction) -> str:
    labels = [
        name
        for region in recent.prediction.get("result", ())
        for name in region.get("value", {}).get("rectanglelabels", ())
    ]
    asked: dict[str, Any] = {"project": recent.project_id, "task": recent.task_id}
    return "explain?" + urlencode(asked | ({"label": labels[0]} if labels else {}))


def _project_address(project: ProjectBoard, label_studio_url: str) -> str:
    """Where people find the project; "" where no address can be trusted to be one."""
    base = (project.host or label_studio_url).rstrip("/")
    if urlsplit(base).scheme not in ("http", "https") or not project.id.isdecimal():
        return ""
    return f"{base}/projects/{quote(project.id)}/data"


def _address(query: Mapping[str, int], changes: Mapping[str, int | None]) -> str:
    """This page with other parameters; None takes one away."""
    merged = {**query, **changes}
    kept = {name: value for name, value in merged.items() if value}
    return "?" + urlencode(kept) if kept else "./"
