"""The shapes of replies, for the OpenAPI description."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field


class ErrorReply(BaseModel):
    """A refusal: a stable word, what is wrong, what to do, and the id that the log carries."""

    error: str = Field(examples=["label_config_invalid"])
    what: str
    remedy: str
    request_id: str


class WorkersReply(BaseModel):
    """Living workers, in all and by state."""

    alive: int
    states: dict[str, int] = Field(examples=[{"ready": 2, "starting": 0, "failed": 0}])


class ModelReply(BaseModel):
    """What the workers loaded."""

    name: str
    digest: str = Field(description="Short hex digest of the weights.")
    size_px: int = Field(description="Side of the network's input in pixels.")
    classes: int = Field(description="Number of classes it knows.")
    source: str = Field(
        description="Where its weights come from: file, embedded or download.", examples=["file"]
    )


class ProblemReply(BaseModel):
    """A project that cannot be served, and why."""

    project: str
    error: str
    what: str
    remedy: str


class HealthReply(BaseModel):
    """The state of the backend at a glance."""

    status: str = Field(
        description="`UP`, or `DEGRADED: …` with the reason in words.", examples=["UP"]
    )
    version: str = Field(description="Version of the backend.")
    workers: WorkersReply
    trainers: int = Field(description="Living workers that train.")
    queues: dict[str, int] = Field(description="Jobs waiting, by queue.")
    device: str | None = Field(description="Devices of the ready workers.", examples=["cpu"])
    runtimes: dict[str, str] = Field(
        description="What computes the forward pass of each ready worker, by its name.",
        examples=[{"here-0-1f2e": "openvino float32"}],
    )
    backbone: str = Field(
        description="Network that predicts, by name; what BACKBONE says until a worker is ready.",
        examples=["mobilenet_v2"],
    )
    hint: str | None = Field(description="How to get a better network, where there is one.")
    model: ModelReply | None = Field(description="null before the first worker was ready.")
    problems: list[ProblemReply] = Field(description="Projects that cannot be served.")


class AliveReply(BaseModel):
    """The process lives."""

    status: str = Field(examples=["UP"])


class SetupReply(BaseModel):
    """The version that predictions of this project will carry."""

    model_version: str = Field(min_length=1, examples=["mobilenet_v2-0-1f3a9c20"])
    error: ErrorReply | None = Field(
        None, description="Why the labelling configuration cannot be served, if so."
    )


class PredictionReply(BaseModel):
    """One prediction as Label Studio stores it."""

    result: list[dict[str, Any]]
    score: float
    model_version: str


class PredictReply(BaseModel):
    """One entry a task, in order; `[]` where there is no prediction (yet)."""

    results: list[PredictionReply | list[Any]]


class WebhookReply(BaseModel):
    """What became of the event."""

    status: str = Field(examples=["accepted", "ignored"])
    action: str
    job: str | None = Field(
        None, description="Id of the training that waits or runs because of it."
    )
    reason: str | None = None


class VersionsReply(BaseModel):
    """Model versions of all known projects: of each the current one first."""

    versions: list[str]


class JobReply(BaseModel):
    """A job as it stands."""

    id: str
    state: str = Field(description="queued, running, done, failed or cancelled.", examples=["done"])
    progress: dict[str, int] = Field(
        description="Tasks, or steps of a training, done and in all.",
        examples=[{"done": 32, "total": 32}],
    )
    outcome: dict[str, Any] | None = Field(
        description="Number predicted, and numbers failed by code; of a training whether a "
        "version was published, which, and why; null until it is done.",
        examples=[{"predicted": 31, "failed": {"media_missing": 1}}],
    )
    reason: str = Field(description="Why it failed, else empty.", examples=[""])


class RetryReply(BaseModel):
    """A job that is tried again; a training goes on under another id."""

    id: str
    status: str = Field(examples=["queued"])


_TEXTS: Final = {
    403: "A page of another site sent the call.",
    401: "Credentials are missing or wrong.",
    404: "There is no such thing.",
    405: "The route does not know this method.",
    408: "The body did not arrive within REQUEST_TIMEOUT.",
    413: "The body is larger than MAX_REQUEST_BYTES, or has more than MAX_REQUEST_TASKS tasks.",
    422: "The request cannot be served; the reply says why and what to do.",
    429: "More was asked for in a minute than one address may; Retry-After says when to ask again.",
    502: "Label Studio refused or failed when the worker asked it.",
    503: "Redis is away, or no worker is alive; the same call may succeed later.",
    504: "It is not done within the deadline; the work goes on, ask again.",
}


Responses = dict[int | str, dict[str, Any]]


def responses(ok: dict[str, Any], *statuses: int, guarded: bool = True) -> Responses:
    """The `responses` of a route: its 200, these refusals, and those that any route has.

    guarded: whether the route asks for credentials.
    """
    refused = sorted({405, *statuses} | ({401} if guarded else set()))
    told: Responses = {200: ok}
    for status in refused:
        told[status] = {"model": ErrorReply, "description": _TEXTS[status]}
    return told
