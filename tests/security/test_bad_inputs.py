"""Thousands of bad calls and files, counted: not one breaks anything.

`pytest -s tests/security/test_bad_inputs.py` prints how many were tried.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis

from backend.server.app import create_app
from backend.settings import load_settings
from tests.security.bad_inputs import all_calls
from tests.server.conftest import serving

pytestmark = pytest.mark.slow

SLOWEST_S = 60.0
"""No bad call may keep a thread busy; on a quiet machine the costliest takes about a second."""


@pytest.fixture(scope="module")
def address(redis_server: str) -> Iterator[str]:
    redis.Redis.from_url(redis_server).flushall()
    app = create_app(
        load_settings(
            redis_url=redis_server,
            predict_deadline_without_key_s=0.001,
            request_bytes=3_000_000,
            request_timeout_s=1.0,
            explain_per_minute=0,
        )
    )
    with serving(app) as base:
        yield base


def test_no_call_breaks_the_server(address: str) -> None:
    answers: Counter[int] = Counter()
    broken: list[str] = []
    host = urlsplit(address).netloc
    connection = http.client.HTTPConnection(host, timeout=2 * SLOWEST_S)
    for call in all_calls():
        began_s = time.monotonic()
        # Byte by byte as given: other clients would correct the path.
        connection.putrequest(call.method, call.path, skip_accept_encoding=True)
        connection.putheader("Content-Length", str(len(call.body)))
        connection.putheader("Content-Type", "application/json")
        connection.endheaders(call.body)
        reply = connection.getresponse()
        content = reply.read()
        answers[reply.status] += 1
        took_s = time.monotonic() - began_s
        if reply.status in (500, 502) or b"Traceback" in content or took_s > SLOWEST_S:
            broken.append(f"{call.name} ({call.path[:60]}): {reply.status} after {took_s:.1f} s")
        if len(content) > 20_000 and call.method != "GET":
            broken.append(f"{call.name}: an answer of {len(content)} bytes")
    connection.close()
    told = f"bad calls tried: {answers.total()}, answers by status: {dict(sorted(answers.items()))}"
    print(f"\n{told}")  # noqa: T201 - the count is what docs/security.md states
    assert broken == []
    assert answers.total() > 2000
    assert answers[401] == 0  # nobody was asked for a password, so all was looked at
    assert answers[422] > 300


RAW = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nothing": b"\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "other version": b"GET / HTTP/9.9\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /setup HTTP/1.1\r\nHost: a\r\n"
    b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    "length and chunks": b"POST /setup HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"POST /setup HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{}",
    "huge length": b"POST /setup HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999\r\n\r\n{}",
    "broken chunk": b"POST /setup HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"zz\r\n{}",
    "huge chunk": b"POST /setup HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"ffffffffffffff\r\n{}",
    "unknown coding": b"POST /setup HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    "folded header": b"GET /health HTTP/1.1\r\nHost: a\r\n X-Request-ID: b\r\n\r\n",
    "blank before colon": b"GET /health HTTP/1.1\r\nHost : a\r\n\r\n",
    "zero byte": b"GET /health HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    "huge header": b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 40_000 + b"\r\n",
    "huge path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute path": b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "asked to be a proxy": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
    "web socket": b"GET /health HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n",
    "body that never ends": b"POST /setup HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{",
}


def test_no_bytes_break_the_server(address: str) -> None:
    host, port = urlsplit(address).hostname, urlsplit(address).port
    for name, content in RAW.items():
        with socket.create_connection((host, port), timeout=20) as connection:
            try:
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR) if name != "body that never ends" else None
                answer = connection.recv(65536)
            except OSError:
                continue  # refused before all of it was read
        assert answer == b"" or answer.split(b" ", 2)[1][:1] in (b"2", b"4"), (name, answer[:100])
        assert name != "body that never ends" or b" 408 " in answer[:20]
    print(f"\nbad byte sequences tried: {len(RAW)}")  # noqa: T201 - likewise
    connection_after = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    connection_after.request("GET", "/healthz")
    assert connection_after.getresponse().status == 200
    connection_after.close()
