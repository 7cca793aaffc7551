"""The Authorization header for Label Studio, from either kind of its tokens.

A legacy token is sent as it is. A personal access token is a JWT that only buys access
tokens, each good for 300 s; it is useless in a header itself.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable
from typing import Literal

from pydantic import SecretStr

from backend.errors import LabelStudioAuth
from backend.labelstudio.transport import KEY_REMEDY, open_client, read_json, send

TokenKind = Literal["none", "legacy", "personal", "access"]

RENEW_AFTER_S = 240.0
"""Age at which an access token is replaced; Label Studio lets it live 300 s."""


def kind_of(api_key: str) -> TokenKind:
    """What a key is, judged by its form alone.

    ``access`` is the short-lived token that a personal access token buys, given by mistake.
    """
    if not api_key:
        return "none"
    parts = api_key.split(".")
    if len(parts) != 3:
        return "legacy"
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return "legacy"
    if isinstance(payload, dict) and payload.get("token_type") == "access":
        return "access"
    return "personal"


class TokenSource:
    """Gives the Authorization header of one key; safe to share between threads.

    base_url: Label Studio, with the path of a sub-path installation.
    clock: seconds that only grow, for the age of access tokens.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        timeout_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key = SecretStr(api_key.get_secret_value().strip())
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._access = ""
        self._bought_at = 0.0

    @property
    def kind(self) -> TokenKind:
        """What the key is; ``none`` and ``access`` give no header."""
        return kind_of(self._api_key.get_secret_value())

    def authorization(self) -> str:
        """Value of the Authorization header.

        Cost: a call to Label Studio every four minutes with a personal access token.
        Raises: LabelStudioAuth, LabelStudioUnreachable.
        """
        if self.kind != "personal":
            return self._direct()
        with self._lock:
            if not self._access or self._clock() - self._bought_at >= RENEW_AFTER_S:
                self._buy()
            return f"Bearer {self._access}"

    def renew(self, refused: str | None = None) -> str:
        """A header fresher than the refused one.

        refused: the header that got a 401. Where another thread has renewed since, its
        header is given and none is bought. A legacy token cannot be renewed: the same comes
        back. Raises: as authorization.
        """
        if self.kind != "personal":
            return self._direct()
        with self._lock:
            if refused is None or refused == f"Bearer {self._access}":
                self._buy()
            return f"Bearer {self._access}"

    def _direct(self) -> str:
        if self.kind == "legacy":
            return f"Token {self._api_key.get_secret_value()}"
        if self.kind == "none":
            raise LabelStudioAuth("There is no key for Label Studio.", KEY_REMEDY)
        raise LabelStudioAuth(
            "LABEL_STUDIO_API_KEY is an access token, which expires after five minutes.", KEY_REMEDY
        )

    def _buy(self) -> None:
        # A client of its own: once in four minutes, and nothing is left open in forked children.
        with open_client(self._base_url, self._timeout_s) as client:
            asked_at = self._clock()
            request = client.build_request(
                "POST", "api/token/refresh/", json={"refresh": self._api_key.get_secret_value()}
            )
            answer = read_json(send(client, request))
        access = answer.get("access") if isinstance(answer, dict) else None
        if not isinstance(access, str) or not access:
            raise LabelStudioAuth(
                "Label Studio gave no access token for the personal access token.", KEY_REMEDY
            )
        self._access, self._bought_at = access, asked_at
