"""Where a process of this machine reaches the server."""

from __future__ import annotations

from backend.settings import Settings


def local_url(settings: Settings) -> str:
    """Address of the server without a path; one that listens everywhere is asked on loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    scheme = "http" if settings.tls_cert_file is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"
