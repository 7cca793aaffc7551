"""One tree of errors; each says what, why and what to do.

BackendError
├── ConfigError            a setting or labelling configuration cannot be served
│   ├── SettingsInvalid
│   ├── LabelConfigInvalid
│   ├── UnknownName
│   ├── WeightsUnavailable
│   └── ImageSetInvalid    pictures with true boxes, for a measurement, cannot be read
├── RequestError           a call is malformed
│   ├── RequestTooLarge    too many bytes, or too many tasks
│   ├── RequestTooSlow     its body did not arrive in time
│   ├── TooManyCalls       more in a minute than one address may ask for
│   ├── JobNotFound
│   ├── ProjectNotFound    Label Studio never set the project up here
│   └── TaskNotFound
├── MediaError             a picture cannot be had
│   ├── MediaMissing       the task's data has no address, or the address has no picture
│   ├── MediaForbidden     address refused by a guard, or by its host
│   ├── MediaTooLarge
│   ├── MediaUnreadable
│   └── MediaUnreachable   network trouble, may pass
├── LabelStudioError       Label Studio's API refused or failed
│   ├── LabelStudioAuth
│   └── LabelStudioUnreachable
├── StoreUnavailable       Redis cannot be reached, or holds another schema
├── OutOfMemory            a device has no room for a picture
├── ShapeError             an array has not the documented shape
├── WorkersMissing         nobody is there to do the work
├── DeadlinePassed         the work goes on, its result comes too late for this call
├── ChildFailed            a process started for a demonstration ended or never answered
└── JobError
    ├── JobCancelled
    ├── JobRefused         a job found that its call cannot be served; told as that error
    ├── JobForbidden       a job names a function that workers do not run
    └── BackboneMismatch   a job was made for weights this worker does not have
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SHOWN_CHARS = 500
"""As much of a caller's text as stands in a message."""


class BackendError(Exception):
    """Base of all errors of the backend.

    code: stable word for logs and metrics. status: HTTP status when it reaches a caller.
    retry: whether the same call may succeed later. what/remedy: for people.
    """

    code = "error"
    status = 500
    retry = False

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what} {remedy}".strip())


class ConfigError(BackendError):
    code, status = "config", 422


class SettingsInvalid(ConfigError):
    code = "settings_invalid"


class LabelConfigInvalid(ConfigError):
    """what quotes the configuration, whose names may be megabytes long, so it is cut."""

    code = "label_config_invalid"

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(_cut(what), _cut(remedy))


class UnknownName(ConfigError):
    """A registry has no such entry; the known ones are told, nearest first."""

    code = "unknown_name"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        name = _cut(name)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        ordered = near + [n for n in names if n not in near]
        super().__init__(f"There is no {kind} named {name!r}.", f"Known: {', '.join(ordered)}.")


class WeightsUnavailable(ConfigError):
    code, status = "weights_unavailable", 503


class ImageSetInvalid(ConfigError):
    code = "image_set_invalid"


class RequestError(BackendError):
    code, status = "bad_request", 422


class RequestTooLarge(RequestError):
    code, status = "request_too_large", 413


class RequestTooSlow(RequestError):
    code, status, retry = "request_too_slow", 408, True


class TooManyCalls(RequestError):
    """retry_after_s: whole seconds after which the same call is taken."""

    code, status, retry = "too_many_calls", 429, True

    def __init__(self, what: str, remedy: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(what, remedy)


class JobNotFound(RequestError):
    code, status = "job_not_found", 404


class ProjectNotFound(RequestError):
    code, status = "project_not_found", 404


class TaskNotFound(RequestError):
    code, status = "task_not_found", 404


class MediaError(BackendError):
    code, status = "media", 422


class MediaMissing(MediaError):
    code = "media_missing"


class MediaForbidden(MediaError):
    code = "media_forbidden"


class MediaTooLarge(MediaError):
    code = "media_too_large"


class MediaUnreadable(MediaError):
    code = "media_unreadable"


class MediaUnreachable(MediaError):
    code, retry = "media_unreachable", True


class LabelStudioError(BackendError):
    code, status = "label_studio", 502


class LabelStudioAuth(LabelStudioError):
    code = "label_studio_auth"


class LabelStudioUnreachable(LabelStudioError):
    """maybe_done: whether Label Studio may have carried out the call all the same."""

    code, retry = "label_studio_unreachable", True

    def __init__(self, what: str, remedy: str = "", *, maybe_done: bool = False) -> None:
        self.maybe_done = maybe_done
        super().__init__(what, remedy)


class StoreUnavailable(BackendError):
    code, status, retry = "store_unavailable", 503, True


class OutOfMemory(BackendError):
    code, status = "out_of_memory", 503


class ShapeError(BackendError):
    code = "shape"


class WorkersMissing(BackendError):
    code, status, retry = "no_workers", 503, True


class DeadlinePassed(BackendError):
    code, status, retry = "deadline_passed", 504, True


class ChildFailed(BackendError):
    code = "child_failed"


class JobError(BackendError):
    code = "job"


class JobCancelled(JobError):
    code, status = "job_cancelled", 409


class JobRefused(JobError):
    """code, status: of the error that the job met in its worker."""

    def __init__(self, code: str, status: int, what: str, remedy: str) -> None:
        self.code = code
        self.status = status
        super().__init__(what, remedy)


class JobForbidden(JobError):
    code, status = "job_forbidden", 403


class BackboneMismatch(JobError):
    code, status, retry = "backbone_mismatch", 409, True


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
