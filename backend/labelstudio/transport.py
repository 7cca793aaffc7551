"""One HTTP call to Label Studio, its failures turned into errors with a remedy."""

from __future__ import annotations

import json
from typing import Any

import httpx

from backend.errors import LabelStudioAuth, LabelStudioError, LabelStudioUnreachable

KEY_REMEDY = (
    "Set LABEL_STUDIO_API_KEY to a personal access token (in Label Studio: Account & Settings, "
    "Personal Access Token) or to a legacy token (Account & Settings, Legacy Token, where "
    "an administrator has them enabled under Organization, Access Token Settings)."
)
_UNREACHABLE_REMEDY = "Check LABEL_STUDIO_URL, and that Label Studio runs and is reached from here."
_EXCERPT_CHARS = 300
# Nothing of the request has left in these cases, so it cannot have been carried out.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def open_client(base_url: str, timeout_s: float) -> httpx.Client:
    """A connection pool for one Label Studio; base_url may have a path. Not yet connected."""
    return httpx.Client(
        base_url=base_url,
        timeout=timeout_s,
        headers={"Accept": "application/json"},
        limits=httpx.Limits(max_connections=32, max_keepalive_connections=8),
    )


def send(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """The reply to a request, if it is a success.

    Raises: LabelStudioAuth for 401 and 403; LabelStudioUnreachable for network trouble,
    timeouts and 5xx, with ``maybe_done`` where the request had left; LabelStudioError for
    redirects and every other refusal.
    """
    called = f"{request.method} {request.url.copy_with(query=None, userinfo=b'')}"
    try:
        response = client.send(request)
    except httpx.TransportError as error:
        raise LabelStudioUnreachable(
            f"{called} failed: {type(error).__name__} {error}".rstrip() + ".",
            _UNREACHABLE_REMEDY,
            maybe_done=not isinstance(error, _NOT_SENT),
        ) from error
    if response.is_success:
        return response
    status = response.status_code
    if status in (401, 403):
        raise LabelStudioAuth(f"{called} was refused ({status}): {_said(response)}.", KEY_REMEDY)
    if status >= 500 or status == 429:
        raise LabelStudioUnreachable(
            f"{called} failed ({status}): {_said(response)}.",
            "Label Studio's own log has the reason.",
            maybe_done=status != 429,
        )
    if response.is_redirect:
        raise LabelStudioError(
            f"{called} redirects to {response.headers.get('location', 'nowhere')}.",
            "Set LABEL_STUDIO_URL to the address Label Studio is finally found at.",
        )
    raise LabelStudioError(f"{called} was refused ({status}): {_said(response)}.")


def read_json(response: httpx.Response) -> Any:
    """The JSON of a reply. Raises: LabelStudioError where it is something else."""
    try:
        return response.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LabelStudioError(
            f"{response.request.method} {response.request.url.copy_with(query=None)} "
            f"did not answer with JSON: {_said(response)}.",
            "Check LABEL_STUDIO_URL: another program, or a proxy's page, answers there.",
        ) from error


def _said(response: httpx.Response) -> str:
    """What the reply says, short enough for a log line."""
    text = response.text
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        answer = None
    if isinstance(answer, dict):
        shown = answer.get("validation_errors") or answer.get("detail") or answer
        text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
    text = " ".join(text.split()).rstrip(".") or "no reason given"
    return text if len(text) <= _EXCERPT_CHARS else text[:_EXCERPT_CHARS] + "…"
