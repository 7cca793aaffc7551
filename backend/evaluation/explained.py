"""Explanations of pictures, put into words, plain values and the rows of a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.domain import Picture
from backend.evaluation.sheet import Section, SheetRow
from backend.vision.explain import Explanation


@dataclass(frozen=True, slots=True)
class Look:
    """What one method makes of a picture. ms: map, boxes and the steps between."""

    explanation: Explanation
    ms: float


@dataclass(frozen=True, slots=True)
class Looked:
    """A picture with what every method makes of it, in the order asked."""

    path: Path
    picture: Picture
    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """label: None where none was asked for. by: what knows the label, for people."""

    label: str | None
    by: str
    pictures: tuple[Looked, ...]

    def sections(self) -> list[Section]:
        """A section of the sheet for each picture."""
        return [
            Section(
                f"{one.path.name}: {self._heading(one.looks)}",
                tuple(
                    SheetRow(_caption(look), one.picture, look.explanation) for look in one.looks
                ),
            )
            for one in self.pictures
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded."""
        return {
            "label": self.label,
            "by": self.by,
            "pictures": [
                {
                    "path": str(one.path),
                    **_target(one.looks),
                    "methods": [_method(look) for look in one.looks],
                }
                for one in self.pictures
            ],
        }

    def told(self) -> str:
        """Lines for people."""
        lines = []
        for one in self.pictures:
            lines.append(f"{one.path}: {self._heading(one.looks)}")
            lines += [f"  {_caption(look)}" for look in one.looks]
        return "\n".join(lines)

    def _heading(self, looks: Sequence[Look]) -> str:
        if not looks:
            return "no method could be drawn"
        target = looks[0].explanation.target
        classes = ", ".join(f"{name} {share:.2f}" for name, share in target.classes)
        if self.label is None:
            return f"no label was asked for; {self.by} sees {classes}"
        if not target.matched:
            return (
                f"{self.label!r} matches no class of {self.by}; explained is what it sees: "
                f"{classes}"
            )
        return f"{self.label!r}, softmax {target.probability or 0:.3f} by {self.by}: {classes}"


def _caption(look: Look) -> str:
    boxes = look.explanation.boxes
    scores = ", ".join(f"{score:.2f}" for score in boxes.score)
    found = f"{len(boxes)} box{'' if len(boxes) == 1 else 'es'} {scores}".strip()
    return f"{look.explanation.method} | {look.explanation.box_rule} | {found} | {look.ms:.0f} ms"


def _target(looks: Sequence[Look]) -> dict[str, Any]:
    if not looks:
        return {"matched": None, "probability": None, "classes": {}}
    target = looks[0].explanation.target
    return {
        "matched": target.matched,
        "probability": None if target.probability is None else round(target.probability, 4),
        "classes": {name: round(share, 4) for name, share in target.classes},
    }


def _method(look: Look) -> dict[str, Any]:
    boxes = look.explanation.boxes
    return {
        "method": look.explanation.method,
        "box_rule": look.explanation.box_rule,
        "ms": round(look.ms, 1),
        "boxes": [
            {"xyxy_px": [round(v, 1) for v in xyxy], "score": round(score, 4), "label": name}
            for xyxy, score, name in zip(
                boxes.xyxy_px.tolist(), boxes.score.tolist(), boxes.label, strict=True
            )
        ],
    }
