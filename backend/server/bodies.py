"""Request bodies: read within bounds, parsed once, checked.

Bodies are parsed by pydantic-core straight from the bytes. Members that no prediction
depends on (annotations and predictions, megabytes with brush labels) never become Python
objects. Nesting beyond 200 levels, numbers beyond 4300 digits and broken Unicode are refused
by the parser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import anyio
import pydantic_core
from fastapi import Request
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from backend.errors import RequestError, RequestTooLarge, RequestTooSlow
from backend.labelstudio.interaction import asked_context, drawn_already
from backend.settings import Settings
from backend.store.keys import project_id_of

_INT64_MAX = 2**63 - 1
_MOST_REPORTED = 3
_EXAMPLE_CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="Raccoon"/></RectangleLabels></View>'
)
_PROJECT = re.compile(r"[A-Za-z0-9_-]{0,64}(\.[0-9]{1,20})?")


def _project_id(value: Any) -> Any:
    # What is neither text of this form nor a number is left to the validator to refuse.
    if value is None:
        return ""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and abs(value) <= _INT64_MAX:
        return str(int(value))
    if isinstance(value, str) and _PROJECT.fullmatch(value):
        return project_id_of(value)
    return value


ProjectId = Annotated[
    str,
    BeforeValidator(_project_id),
    Field(
        pattern=r"^[A-Za-z0-9_-]{0,64}$",
        description='Id of the project, `7`, `"7"` or `"7.1795224262"`.',
        examples=["1.1795224262"],
        json_schema_extra={"pattern": f"^{_PROJECT.pattern}$"},
    ),
]


class TaskBody(BaseModel):
    """A task; everything beside its id and its data is ignored."""

    id: int | None = Field(None, ge=0, le=_INT64_MAX, examples=[12])
    data: dict[str, Any] = Field(examples=[{"image": "/data/upload/1/eb82-a.png"}])


class PredictBody(BaseModel):
    """What Label Studio posts to /predict; further members are ignored."""

    tasks: list[TaskBody]
    project: ProjectId = ""
    label_config: str | None = Field(
        None,
        description="Labelling configuration; if missing, the one of the last /setup.",
        examples=[_EXAMPLE_CONFIG],
    )
    params: Any = Field(
        None,
        description="`context` in it holds what a smart tool marked on the one task; the rest "
        "is ignored.",
    )

    def context(self) -> Mapping[str, Any] | None:
        """What a smart tool marked, None where whole tasks are to be predicted.

        Raises: RequestError for a context of another form, or beside several tasks.
        """
        params = self.params if isinstance(self.params, dict) else {}
        context = asked_context(params.get("context"))
        if context is not None and len(self.tasks) != 1:
            raise RequestError(
                f"params.context goes with one task, the call has {len(self.tasks)}.",
                "Send the task that was marked alone, or leave the context out.",
            )
        return context


class DrawnTask(BaseModel):
    """What is drawn on a task, unread."""

    drafts: Any = None
    annotations: Any = None


class DrawnBody(BaseModel):
    """The members of a call with one task that tell what is drawn on it already.

    Apart from ``PredictBody``, so that only what a smart tool asks pays for reading them.
    """

    tasks: list[DrawnTask]

    def earlier(self) -> list[Any]:
        """Regions, unread."""
        return drawn_already(self.tasks[0].drafts, self.tasks[0].annotations)


class SetupBody(BaseModel):
    """What Label Studio posts to /setup; `access_token` is dropped unread."""

    project: ProjectId = ""
    label_config: str | None = Field(
        None,
        alias="schema",
        description="The labelling configuration.",
        examples=[_EXAMPLE_CONFIG],
    )
    hostname: str | None = Field(None, examples=["http://localhost:8080"])
    extra_params: Any = Field(
        None, description="An object or its JSON text; anything else has no effect."
    )

    def extra_object(self) -> dict[str, Any]:
        """extra_params as an object; empty for what is none.

        Label Studio passes on what was stored: an object from its API, JSON text from its
        form, and any other JSON value that somebody sent.
        """
        value = self.extra_params
        if isinstance(value, str):
            try:
                value = pydantic_core.from_json(value)
            except ValueError:
                return {}
        return value if isinstance(value, dict) else {}


class WebhookProject(BaseModel):
    """The project as a webhook tells it; further members are ignored."""

    id: int | None = Field(None, examples=[1])
    label_config: str | None = None


class WebhookBody(BaseModel):
    """What Label Studio posts to /webhook; members depend on the action.

    It describes, `backend.labelstudio.events` reads.
    """

    action: str = Field(examples=["ANNOTATION_CREATED"])
    project: WebhookProject | None = None


Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, settings: Settings) -> bytes:
    """The whole body, also of a chunked request.

    Raises: RequestTooSlow after REQUEST_TIMEOUT; RequestTooLarge beyond MAX_REQUEST_BYTES. As
    much again is read and dropped first: an answer before the end of the body reaches few
    clients, most report a broken connection.
    """
    try:
        with anyio.fail_after(settings.request_timeout_s):
            return await _read(request, settings.request_bytes)
    except TimeoutError:
        raise RequestTooSlow(
            f"The request body did not arrive within {settings.request_timeout_s:g} s.",
            "Send it faster, or raise REQUEST_TIMEOUT.",
        ) from None


async def _read(request: Request, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit_bytes:
            parts.append(chunk)
        else:
            parts.clear()
            if size > 2 * limit_bytes:
                break
    if size > limit_bytes:
        raise RequestTooLarge(
            f"The request body has more than {limit_bytes} bytes.",
            "Send fewer tasks in one call, or raise MAX_REQUEST_BYTES.",
        )
    return b"".join(parts)


def parse(model: type[Body], body: bytes) -> Body:
    """The body as this model. Raises: RequestError naming the first wrong places."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestError(described(problems), "GET /docs shows what is expected.") from None


def parse_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises: RequestError."""
    try:
        value = pydantic_core.from_json(body)
    except ValueError as error:
        raise RequestError(f"The body is not JSON: {error}.", "Send a JSON object.") from None
    if not isinstance(value, dict):
        raise RequestError("The body is not a JSON object.", "Send a JSON object.")
    return value


def described(problems: Any) -> str:
    """Problems as pydantic lists them, in one sentence: where and what, the first three."""
    lines = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'body'}: {problem['msg']}"
        for problem in problems[:_MOST_REPORTED]
    ]
    more = len(problems) - len(lines)
    return "The request is wrong: " + "; ".join(lines) + (f"; and {more} more." if more else ".")
