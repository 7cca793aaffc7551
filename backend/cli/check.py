"""One thing that the doctor looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from backend.errors import BackendError

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """name: what was looked at. detail: what was found. remedy: what to do, "" where ok."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def failed(name: str, error: BackendError) -> Check:
    """The problem that an error is."""
    return Check(name, "problem", error.what, error.remedy)


def attempt(name: str, look: Callable[[], Check | Sequence[Check]]) -> list[Check]:
    """What look finds, or the problem that kept it from finding anything."""
    try:
        found = look()
    except BackendError as error:
        return [failed(name, error)]
    return [found] if isinstance(found, Check) else list(found)


def healthy(checks: Sequence[Check]) -> bool:
    """Whether nothing is a problem; warnings are allowed."""
    return all(check.state != "problem" for check in checks)
