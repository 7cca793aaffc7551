"""The `serve` command: the HTTP server alone."""

from __future__ import annotations

from backend.errors import ConfigError
from backend.logs import configure_logs
from backend.settings import load_settings

_STOP_GRACE_S = 10


def command() -> None:
    """Start the server against the Redis of REDIS_URL.

    Example: REDIS_URL=redis://redis:6379/0 PORT=9090 python -m backend serve
    """
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    if not settings.redis_url:
        raise ConfigError(
            "REDIS_URL is empty: a server alone needs the Redis that its workers use.",
            "Set REDIS_URL, or use `python -m backend up`, which brings its own Redis.",
        )
    import uvicorn

    from backend.server.app import create_app
    from backend.server.tls import tls_options

    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # A request that waits for predictions must not hold up Ctrl-C.
        timeout_graceful_shutdown=_STOP_GRACE_S,
        **tls_options(settings),
    )
