"""The certificate with which the server speaks https."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from backend.errors import ConfigError
from backend.settings import Settings

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secret and authenticated alone. Those of TLS 1.3 all are."""


def tls_options(settings: Settings) -> dict[str, Any]:
    """Arguments for uvicorn; none where no certificate is set.

    Raises: ConfigError where the files cannot be read or do not belong together.
    """
    certificate, key = settings.tls_cert_file, settings.tls_key_file
    if certificate is None or key is None:
        return {}
    _require_pair(certificate, key)
    return {"ssl_certfile": certificate, "ssl_keyfile": key, "ssl_ciphers": CIPHERS}


def _require_pair(certificate: Path, key: Path) -> None:
    for variable, path in (("TLS_CERT_FILE", certificate), ("TLS_KEY_FILE", key)):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{variable}={path} cannot be read: {error.strerror or error}.",
                "Name a file that the user of the server may read.",
            ) from error
        if b"-----BEGIN " not in content:
            raise ConfigError(
                f"{variable}={path} is not a PEM file.",
                "Convert it with `openssl x509 -in FILE -inform der` (a key: `openssl pkey`).",
            )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, _no_password)
    except ssl.SSLError as error:
        raise ConfigError(
            f"TLS_CERT_FILE={certificate} and TLS_KEY_FILE={key} cannot be used together: "
            f"{error.reason or error}.",
            "The first certificate in the file has to be the one of the key.",
        ) from error


def _no_password() -> str:
    # Asked for by an encrypted key; OpenSSL would otherwise wait at the terminal.
    raise ConfigError(
        "The key in TLS_KEY_FILE is protected by a password, which nobody can type in here.",
        "Store it without one, readable by the server alone: `openssl pkey -in KEY -out FILE`.",
    )
