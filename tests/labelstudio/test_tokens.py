"""Authorization headers from both kinds of keys, against a real server."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

import pytest
from pydantic import SecretStr

from backend.errors import LabelStudioAuth, LabelStudioError, LabelStudioUnreachable
from backend.labelstudio.tokens import RENEW_AFTER_S, TokenSource, kind_of
from tests.labelstudio.conftest import Call, Script

LEGACY = "0123456789abcdef" * 2 + "01234567"


def jwt(token_type: str) -> str:
    payload = json.dumps({"token_type": token_type, "exp": 8072633395}).encode()
    return f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.c2lnbmF0dXJl"


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def selling(script: Script) -> None:
    """The server sells access-1, access-2, …"""

    def answer(call: Call) -> tuple[int, Any]:
        assert (call.method, call.authorization) == ("POST", "")
        assert call.body == {"refresh": jwt("refresh")}
        return 200, {"access": f"access-{len(script.calls)}"}

    script.answer = answer


@pytest.mark.parametrize(
    ("api_key", "kind"),
    [
        ("", "none"),
        (LEGACY, "legacy"),
        ("my-own.token", "legacy"),
        ("a.b.c", "legacy"),
        ("a.!!!.c", "legacy"),
        (jwt("refresh"), "personal"),
        (jwt("access"), "access"),
    ],
    ids=["empty", "hex", "own", "three-parts", "no-base64", "personal", "access"],
)
def test_kind_by_form(api_key: str, kind: str) -> None:
    assert kind_of(api_key) == kind


def test_legacy_token_needs_no_call(loopback: Script) -> None:
    tokens = TokenSource(loopback.url, SecretStr(f" {LEGACY}\n"), 5)
    assert tokens.authorization() == tokens.renew("Token x") == f"Token {LEGACY}"
    assert loopback.calls == []


@pytest.mark.parametrize(
    ("api_key", "says"),
    [("", "There is no key"), (jwt("access"), "is an access token")],
    ids=["none", "access"],
)
def test_keys_that_cannot_serve_are_explained(api_key: str, says: str) -> None:
    tokens = TokenSource("http://127.0.0.1:1", SecretStr(api_key), 5)
    for ask in (tokens.authorization, tokens.renew):
        with pytest.raises(LabelStudioAuth, match=says) as caught:
            ask()
        assert "LABEL_STUDIO_API_KEY" in caught.value.remedy


def test_personal_token_is_exchanged_and_renewed_in_time(loopback: Script) -> None:
    selling(loopback)
    clock = Clock()
    tokens = TokenSource(f"{loopback.url}/lsx/", SecretStr(jwt("refresh")), 5, clock=clock)
    assert [tokens.authorization(), tokens.authorization()] == ["Bearer access-1"] * 2
    assert [call.path for call in loopback.calls] == ["/lsx/api/token/refresh/"]
    clock.now_s += RENEW_AFTER_S - 0.1
    assert tokens.authorization() == "Bearer access-1"
    clock.now_s += 0.1
    assert tokens.authorization() == "Bearer access-2"


def test_renewal_on_demand_buys_once_for_all_who_were_refused(loopback: Script) -> None:
    selling(loopback)
    tokens = TokenSource(loopback.url, SecretStr(jwt("refresh")), 5)
    refused = tokens.authorization()
    assert [tokens.renew(refused) for _ in range(3)] == ["Bearer access-2"] * 3
    assert tokens.renew() == "Bearer access-3"


def test_threads_share_one_exchange(loopback: Script) -> None:
    def slow(call: Call) -> tuple[int, Any]:
        time.sleep(0.05)
        return 200, {"access": f"access-{len(loopback.calls)}"}

    loopback.answer = slow
    tokens = TokenSource(loopback.url, SecretStr(jwt("refresh")), 5)
    headers: list[str] = []
    threads = [
        threading.Thread(target=lambda: headers.append(tokens.authorization())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert headers == ["Bearer access-1"] * 8


@pytest.mark.parametrize(
    ("status", "answer", "error"),
    [
        (401, {"detail": "Token is invalid"}, LabelStudioAuth),
        (200, {}, LabelStudioAuth),
        (200, [1], LabelStudioAuth),
        (200, b"<html>", LabelStudioError),
        (502, b"bad gateway", LabelStudioUnreachable),
        (0, None, LabelStudioUnreachable),
    ],
    ids=["refused", "no-access", "list", "page", "gateway", "hangs-up"],
)
def test_failed_exchanges(
    loopback: Script, status: int, answer: Any, error: type[Exception]
) -> None:
    loopback.answer = lambda call: (status, answer)
    tokens = TokenSource(loopback.url, SecretStr(jwt("refresh")), 5)
    with pytest.raises(error) as caught:
        tokens.authorization()
    assert type(caught.value) is error
    assert jwt("refresh") not in str(caught.value)
    assert jwt("refresh") not in repr(vars(tokens))
