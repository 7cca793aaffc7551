"""What every route can reach."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

from backend.errors import BackendError
from backend.server.limits import Limits
from backend.server.link import StoreLink
from backend.server.metrics import ServerMetrics
from backend.settings import Settings

_MOST_PROBLEMS = 100


class ProjectProblems:
    """Why projects cannot be served, newest last, told at /health.

    Label Studio shows no text of a refused /setup, so the reason has to be found elsewhere.
    """

    def __init__(self) -> None:
        self._errors: OrderedDict[str, BackendError] = OrderedDict()

    def report(self, project_id: str, error: BackendError) -> None:
        """Note what is wrong with a project; the oldest note beyond a hundred is dropped."""
        self._errors.pop(project_id, None)
        self._errors[project_id] = error
        while len(self._errors) > _MOST_PROBLEMS:
            self._errors.popitem(last=False)

    def solved(self, project_id: str) -> None:
        """Forget the note on a project."""
        self._errors.pop(project_id, None)

    def as_list(self) -> list[dict[str, str]]:
        """One object a project with what is wrong and what to do."""
        return [
            {"project": project_id, "error": error.code, "what": error.what, "remedy": error.remedy}
            for project_id, error in list(self._errors.items())
        ]


@dataclass(frozen=True, slots=True)
class ServerState:
    """Settings, connection, counts, limits and notes of one application."""

    settings: Settings
    link: StoreLink
    metrics: ServerMetrics
    limits: Limits
    problems: ProjectProblems = field(default_factory=ProjectProblems)


def state_of(request: Request) -> ServerState:
    """The state of the application that serves this request."""
    return cast(ServerState, request.app.state.server)
