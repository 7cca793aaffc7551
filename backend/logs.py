"""How log lines look, and that no secret stands in them."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_KEY = re.compile(
    r"passw|_pass$|^pass$|secret|token|api_?key|authorization|cookie|credential", re.I
)
_SECRET_TEXT = (
    # Credentials in an address; a query, which may be signed; what follows a header's scheme.
    (re.compile(r"(?<=://)[^\s/?#\"'@]+@"), "***@"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://[^\s?\"'<>]{1,500}\?)[^\s\"'<>]+"), r"\1…"),
    (re.compile(r"\b(Basic|Bearer|Token)(:? )[A-Za-z0-9._~+/=-]{12,}"), r"\1\2***"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SEVERAL_LINES = frozenset({"exception", "exc_info", "stack", "trace"})
_LIBRARIES = ("rq.worker", "rq.job", "httpx", "httpcore", "asyncio", "PIL")
"""Libraries that tell their everyday work; ours tells it in our words."""


def configure_logs(level: str, log_format: str) -> None:
    """Send all log lines of this process, those of libraries too, to stderr.

    level: debug, info, warning or error. log_format: text for people, json for machines.
    Ids bound with ``structlog.contextvars`` (request, job, worker) are in every line.
    """
    as_json = log_format == "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
        structlog.processors.StackInfoRenderer(),
        hide_secrets,
        one_line,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            # The default traceback prints local variables, and settings among them.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *last,
                hide_in_text,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Stars in place of values whose key looks like a secret, also inside dictionaries."""
    return {key: _hidden(key, value) for key, value in event.items()}


def hide_in_text(_: WrappedLogger, __: str, rendered: Any) -> str:
    """Stars in a finished line, tracebacks included, in place of what looks like a secret."""
    line = str(rendered)
    for pattern, instead in _SECRET_TEXT:
        line = pattern.sub(instead, line)
    return line


def one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Control characters of callers' texts written out: none can begin a line of its own."""
    return {
        key: _CONTROL.sub(lambda found: ascii(found[0])[1:-1], value)
        if isinstance(value, str) and key not in _SEVERAL_LINES
        else value
        for key, value in event.items()
    }


def _hidden(key: Any, value: Any) -> Any:
    if isinstance(key, str) and _SECRET_KEY.search(key):
        return "***"
    if isinstance(value, dict):
        return {inner: _hidden(inner, item) for inner, item in value.items()}
    return value
