"""backend.media.fetch against real servers; two ports are two origins."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from backend.errors import (
    BackendError,
    LabelStudioAuth,
    LabelStudioUnreachable,
    MediaForbidden,
    MediaMissing,
    MediaTooLarge,
    MediaUnreachable,
    MediaUnreadable,
)
from backend.media.fetch import MediaFetcher, Tokens
from backend.settings import Settings
from tests.media.servers import Answer, Site, by_path, in_turn, reply, site

PNG = b"\x89PNG\r\n\x1a\n and so on"


class Keys:
    """Tokens that count up with each renewal, as a token source of either kind."""

    def __init__(self, trouble: BackendError | None = None, renewable: bool = True) -> None:
        self._lock = threading.Lock()
        self.number = 1
        self.renewable = renewable
        self.trouble = trouble

    def authorization(self) -> str:
        if self.trouble is not None:
            raise self.trouble
        return f"Token {self.number}"

    def renew(self, refused: str) -> str:
        with self._lock:
            if refused == f"Token {self.number}" and self.renewable:
                self.number += 1
            return f"Token {self.number}"


Make = Callable[..., MediaFetcher]


@pytest.fixture
def make() -> Iterator[Make]:
    """Builds fetchers that are closed afterwards; pauses are recorded, not waited."""
    made: list[MediaFetcher] = []

    def build(
        label_studio: str,
        tokens: Tokens | None = None,
        *,
        allowed: tuple[str, ...] = (),
        pauses: list[float] | None = None,
        resolve: Callable[[str, int], list[str]] | None = None,
        **settings: Any,
    ) -> MediaFetcher:
        more: dict[str, Any] = {} if resolve is None else {"resolve": resolve}
        options: dict[str, Any] = {"label_studio_url": label_studio, "allowed_hosts": allowed}
        options |= {"media_retries": 0, "media_timeout_s": 5.0, **settings}
        pause = (pauses if pauses is not None else []).append
        made.append(MediaFetcher(Settings(**options), tokens, pause=pause, **more))
        return made[-1]

    yield build
    for fetcher in made:
        fetcher.close()


def redirect(to: str, status: int = 302) -> Answer:
    return reply(status, headers={"Location": to})


def test_label_studio_gets_its_token_and_others_do_not(make: Make) -> None:
    with site(reply(body=PNG)) as ls, site(reply(body=PNG)) as other:
        fetcher = make(ls.url, Keys(), allowed=("127.0.0.1",))
        assert fetcher.read("/data/upload/1/a.png", 1) == PNG
        assert fetcher.read(f"{other.url}/a.png", 1) == PNG
        assert fetcher.read("s3://b/k", 9) == PNG
        assert ls.authorizations == ["Token 1", "Token 1"]
        assert other.authorizations == [None]
        assert ls.seen[1].path == "/tasks/9/resolve/?fileuri=czM6Ly9iL2s="
        assert ls.seen[0].headers["accept-encoding"] == "identity"


def test_address_under_another_host_name_is_asked_of_label_studio_alone(make: Make) -> None:
    with site(reply(body=PNG)) as ls, site(reply(body=b"fake")) as other:
        fetcher = make(ls.url, Keys(), allowed=("127.0.0.1",))
        assert fetcher.read(f"{other.url}/data/upload/1/a.png", 1) == PNG
        assert other.seen == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_another_origin_drops_the_token(make: Make, status: int) -> None:
    with site(reply(body=PNG)) as store, site(redirect(f"{store.url}/b?sig=1", status)) as ls:
        fetcher = make(ls.url, Keys(), allowed=("127.0.0.1",))
        assert fetcher.read("s3://b/k", 1) == PNG
        assert ls.authorizations == ["Token 1"]
        assert store.authorizations == [None]


def test_redirect_within_label_studio_keeps_the_token(make: Make) -> None:
    answers = by_path(data=redirect("../../static/a.png"), static=reply(body=PNG))
    with site(answers) as ls:
        assert make(ls.url, Keys()).read("/data/upload/a.png", 1) == PNG
        assert [s.path for s in ls.seen] == ["/data/upload/a.png", "/static/a.png"]
        assert ls.authorizations == ["Token 1", "Token 1"]


def test_chain_that_leaves_label_studio_comes_back_without_the_token(make: Make) -> None:
    back: list[str] = []

    def bounce(handler: BaseHTTPRequestHandler) -> None:
        redirect(back[0])(handler)

    with (
        site(bounce) as other,
        site(by_path(data=redirect(f"{other.url}/x"), static=reply(body=PNG))) as ls,
    ):
        back.append(f"{ls.url}/static/a.png")
        assert make(ls.url, Keys(), allowed=("127.0.0.1",)).read("/data/upload/a", 1) == PNG
        assert ls.authorizations == ["Token 1", None]


def test_foreign_redirect_into_label_studio_gets_no_token(make: Make) -> None:
    with site(reply(body=PNG)) as ls, site(redirect(f"{ls.url}/data/upload/a")) as other:
        make(ls.url, Keys(), allowed=("127.0.0.1",)).read(f"{other.url}/x", 1)
        assert ls.authorizations == [None]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_inside_addresses_are_refused(make: Make, host: str) -> None:
    with site(reply(body=PNG)) as ls, site(reply(body=PNG)) as inside:
        with pytest.raises(MediaForbidden, match="ALLOWED_HOSTS"):
            make(ls.url).read(f"http://{host}:{inside.port}/a.png", 1)
        assert inside.seen == []


def test_redirect_to_an_inside_address_is_refused(make: Make) -> None:
    with site(reply(body=PNG)) as inside, site(redirect(f"{inside.url}/secret")) as ls:
        with pytest.raises(MediaForbidden, match="loopback"):
            make(ls.url, Keys(), media_retries=2).read("/data/upload/a", 1)
        assert inside.seen == []


def test_name_that_turns_inside_after_the_first_answer_is_refused(make: Make) -> None:
    """The connection goes to the answer that was checked; each connection asks once."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["203.0.113.1"] if len(asked) == 1 else ["127.0.0.1"]

    with site(reply(body=PNG)) as inside, site(reply()) as ls:
        # 203.0.113.0/24 is for documentation: allowed here, nobody answers there.
        fetcher = make(ls.url, resolve=rebinding, allowed=("203.0.113.0/24",), media_timeout_s=0.3)
        with pytest.raises(MediaUnreachable):
            fetcher.read(f"http://rebind.example:{inside.port}/a", 1)
        assert asked == ["rebind.example"]
        with pytest.raises(MediaForbidden, match="loopback"):
            fetcher.read(f"http://rebind.example:{inside.port}/a", 1)
        assert inside.seen == []


def test_connection_goes_to_the_checked_address_under_the_given_name(make: Make) -> None:
    with site(reply(body=PNG)) as server, site(reply()) as ls:
        fetcher = make(ls.url, resolve=lambda host, port: ["127.0.0.1"], allowed=("pics.example",))
        assert fetcher.read(f"http://pics.example:{server.port}/a", 1) == PNG
        assert server.seen[0].headers["host"] == f"pics.example:{server.port}"


def test_next_address_is_tried_where_the_first_does_not_answer(make: Make) -> None:
    with site(reply(body=PNG)) as server, site(reply()) as ls:
        fetcher = make(
            ls.url, resolve=lambda host, port: ["127.9.9.9", "127.0.0.1"], allowed=("p.example",)
        )
        assert fetcher.read(f"http://p.example:{server.port}/a", 1) == PNG


def test_sixth_redirect_is_one_too_many(make: Make) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        number = int(handler.path.rsplit("/", 1)[1])
        (redirect(f"/static/{number - 1}") if number else reply(body=PNG))(handler)

    with site(answer) as ls:
        assert make(ls.url).read("/static/5", 1) == PNG
        with pytest.raises(MediaMissing, match="more than 5 times"):
            make(ls.url).read("/static/6", 1)
        assert len(ls.seen) == 12


def test_redirect_to_a_file_is_refused(make: Make) -> None:
    with site(redirect("file:///etc/passwd")) as ls, pytest.raises(BackendError) as caught:
        make(ls.url).read("/data/upload/a", 1)
    assert isinstance(caught.value, (MediaForbidden, MediaMissing))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip", "br"])
def test_body_of_a_redirect_is_not_even_read(make: Make, encoding: str) -> None:
    """It may be a bomb; only where it leads to is wanted."""
    bomb = gzip.compress(bytes(50_000_000))
    headers = {"Location": "/static/a.png", "Content-Encoding": encoding}
    with site(by_path(data=reply(302, bomb, headers), static=reply(body=PNG))) as ls:
        tracemalloc.start()
        try:
            assert make(ls.url).read("/data/upload/a", 1) == PNG
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()


def test_refused_token_is_renewed_once(make: Make) -> None:
    with site(in_turn(reply(401), reply(body=PNG))) as ls:
        keys = Keys()
        assert make(ls.url, keys).read("/data/upload/a", 1) == PNG
        assert ls.authorizations == ["Token 1", "Token 2"]
    with site(reply(401)) as ls:
        with pytest.raises(MediaForbidden, match="LABEL_STUDIO_API_KEY is not accepted"):
            make(ls.url, Keys(), media_retries=3).read("/data/upload/a", 1)
        assert len(ls.seen) == 2


def test_token_that_cannot_be_renewed_is_not_tried_again(make: Make) -> None:
    with site(reply(401)) as ls, pytest.raises(MediaForbidden, match="not accepted"):
        make(ls.url, Keys(renewable=False)).read("/data/upload/a", 1)
    assert len(ls.seen) == 1


def test_threads_refused_together_renew_once(make: Make) -> None:
    gate = threading.Barrier(4)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers["Authorization"] == "Token 1":
            gate.wait(5)
            reply(401)(handler)
        else:
            reply(body=PNG)(handler)

    with site(answer) as ls, ThreadPoolExecutor(4) as pool:
        keys = Keys()
        fetcher = make(ls.url, keys)
        assert list(pool.map(lambda n: fetcher.read(f"/static/{n}", n), range(4))) == [PNG] * 4
        assert keys.number == 2


@pytest.mark.parametrize(
    ("status", "tokens", "remedy"),
    [
        pytest.param(401, None, "Set LABEL_STUDIO_API_KEY", id="401 without key"),
        pytest.param(403, None, "Set LABEL_STUDIO_API_KEY", id="403 without key"),
        pytest.param(403, Keys(), "may not see this file", id="403 with key"),
    ],
)
def test_refusal_of_label_studio(make: Make, status: int, tokens: Keys | None, remedy: str) -> None:
    with site(reply(status)) as ls:
        with pytest.raises(MediaForbidden) as caught:
            make(ls.url, tokens).read("/data/upload/a", 1)
        assert remedy in caught.value.remedy
        assert len(ls.seen) == 1


def test_refusal_of_another_host_is_not_blamed_on_the_key(make: Make) -> None:
    with (
        site(reply()) as ls,
        site(reply(403)) as other,
        pytest.raises(MediaForbidden, match="presigned"),
    ):
        make(ls.url, Keys(), allowed=("127.0.0.1",)).read(f"{other.url}/a?sig=secret", 1)


def test_sign_in_page_of_label_studio_is_recognised(make: Make) -> None:
    with (
        site(redirect("/user/login/?next=/data/upload/a")) as ls,
        pytest.raises(MediaForbidden, match="LABEL_STUDIO_API_KEY"),
    ):
        make(ls.url).read("/data/upload/a", 1)


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (LabelStudioAuth("No.", "Do."), MediaForbidden),
        (LabelStudioUnreachable("Off."), MediaUnreachable),
    ],
)
def test_trouble_of_the_token_source_is_a_media_error(
    make: Make, trouble: BackendError, error: type[BackendError]
) -> None:
    with site(reply(body=PNG)) as ls:
        with pytest.raises(error, match=trouble.what):
            make(ls.url, Keys(trouble)).read("/data/upload/a", 1)
        assert ls.seen == []


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_passing_failures_are_repeated(make: Make, status: int) -> None:
    pauses: list[float] = []
    with site(in_turn(reply(status), reply(status), reply(body=PNG))) as ls:
        assert make(ls.url, pauses=pauses, media_retries=2).read("/static/a", 1) == PNG
        assert len(ls.seen) == 3
    assert 0.1 <= pauses[0] <= 0.3
    assert 0.2 <= pauses[1] <= 0.6


def test_repetitions_end(make: Make) -> None:
    pauses: list[float] = []
    with site(reply(503)) as ls:
        with pytest.raises(MediaUnreachable, match=r"HTTP 503 \(3 attempts\)") as caught:
            make(ls.url, pauses=pauses, media_retries=2).read("/static/a", 1)
        assert caught.value.retry
        assert (len(ls.seen), len(pauses)) == (3, 2)


@pytest.mark.parametrize(("asked", "waited"), [("2", 2.0), ("3600", 5.0)])
def test_retry_after_is_kept_within_bounds(make: Make, asked: str, waited: float) -> None:
    pauses: list[float] = []
    answers = in_turn(reply(429, headers={"Retry-After": asked}), reply(body=PNG))
    with site(answers) as ls:
        make(ls.url, pauses=pauses, media_retries=1).read("/static/a", 1)
    assert pauses == [waited]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, MediaMissing),
        (410, MediaMissing),
        (204, MediaMissing),
        (418, MediaMissing),
        (500, MediaUnreachable),
    ],
)
def test_lasting_failures_are_not_repeated(
    make: Make, status: int, error: type[BackendError]
) -> None:
    with site(reply(status)) as ls:
        with pytest.raises(error, match=str(status)):
            make(ls.url, media_retries=3).read("/static/a", 1)
        assert len(ls.seen) == 1


def test_missing_local_file_names_label_studios_settings(make: Make) -> None:
    with site(reply(404)) as ls, pytest.raises(MediaMissing, match="LOCAL_FILES_SERVING_ENABLED"):
        make(ls.url).read("/data/local-files/?d=a.png", 1)


def test_local_files_switched_off_in_label_studio(make: Make) -> None:
    with site(reply(403)) as ls, pytest.raises(MediaForbidden, match="LOCAL_FILES_SERVING_ENABLED"):
        make(ls.url, Keys()).read("/data/local-files/?d=a.png", 1)


def test_upload_that_label_studio_fails_to_find(make: Make) -> None:
    with site(reply(500)) as ls, pytest.raises(MediaUnreachable, match="no such upload"):
        make(ls.url, Keys()).read("/data/upload/1/gone.png", 1)


def test_nobody_listening_is_repeated_and_unreachable(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    pauses: list[float] = []
    with pytest.raises(MediaUnreachable, match="2 attempts"):
        make(f"http://127.0.0.1:{port}", pauses=pauses, media_retries=1).read("/static/a", 1)
    assert len(pauses) == 1


def test_unknown_name_is_unreachable(make: Make) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(MediaUnreachable, match=r"cannot resolve nobody\.example"):
        make("http://ls.example", resolve=unknown).read("http://nobody.example/a", 1)


def dripping(head: bytes) -> Answer:
    """Sends head, then a byte every 20 ms for 5 s."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.wfile.write(head)
        for _ in range(250):
            handler.wfile.write(b"x")
            time.sleep(0.02)

    return answer


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Slow: ", id="headers"),
    ],
)
def test_time_is_limited_as_a_whole(make: Make, head: bytes) -> None:
    with site(dripping(head)) as ls:
        fetcher = make(ls.url, media_timeout_s=0.3)
        start = time.monotonic()
        with pytest.raises(MediaUnreachable, match=r"no answer within 0\.3 s"):
            fetcher.read("/static/a", 1)
        assert 0.25 < time.monotonic() - start < 4  # the server goes on for 5 s


@pytest.mark.slow
def test_silent_server_is_given_up_and_asked_again(make: Make) -> None:
    def silent(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        time.sleep(5)

    with site(in_turn(silent, reply(body=PNG))) as ls:
        # Long enough for the answer to the second time of asking on a busy machine.
        fetcher = make(ls.url, media_timeout_s=1.0, media_retries=1)
        assert fetcher.read("/static/a", 1) == PNG


def test_broken_off_body_is_repeated(make: Make) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        reply(body=PNG, headers={"Content-Length": "9999"})(handler)

    with site(in_turn(cut, reply(body=PNG))) as ls:
        assert make(ls.url, media_retries=1).read("/static/a", 1) == PNG
        assert len(ls.seen) == 2


def streaming(chunks: int) -> Answer:
    """Chunked, without a length: chunks of 1000 bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for _ in range(chunks):
            handler.wfile.write(b"3e8\r\n" + bytes(1000) + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(body=bytes(1001)), id="announced"),
        pytest.param(streaming(10_000), id="not announced"),
        pytest.param(
            reply(body=gzip.compress(bytes(50_000_000)), headers={"Content-Encoding": "gzip"}),
            id="gzip bomb announced",
        ),
    ],
)
def test_too_large(make: Make, answer: Answer) -> None:
    with site(answer) as ls:
        with pytest.raises(MediaTooLarge, match="more than 1000 bytes"):
            make(ls.url, media_bytes=1000, media_retries=2).read("/static/a", 1)
        assert len(ls.seen) == 1


def test_gzip_bomb_below_the_limit_on_the_wire(make: Make) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 60_000
    with (
        site(reply(body=bomb, headers={"Content-Encoding": "gzip"})) as ls,
        pytest.raises(MediaTooLarge),
    ):
        make(ls.url, media_bytes=60_000).read("/static/a", 1)


def test_exactly_the_limit_is_taken(make: Make) -> None:
    with site(reply(body=bytes(1000))) as ls:
        assert make(ls.url, media_bytes=1000).read("/static/a", 1) == bytes(1000)


def test_packed_answer_is_unpacked(make: Make) -> None:
    packed = gzip.compress(PNG)
    with site(reply(body=packed, headers={"Content-Encoding": "gzip"})) as ls:
        assert make(ls.url).read("/static/a", 1) == PNG


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "gzip"])
def test_other_packings_are_explained(make: Make, encoding: str) -> None:
    with (
        site(reply(body=b"junk", headers={"Content-Encoding": encoding})) as ls,
        pytest.raises(MediaUnreadable, match="Content-Encoding"),
    ):
        make(ls.url).read("/static/a", 1)


def test_web_page_is_explained_but_a_picture_under_a_wrong_type_is_taken(make: Make) -> None:
    html = {"Content-Type": "text/html; charset=utf-8"}
    with (
        site(reply(body=b"<html>hello", headers=html)) as ls,
        pytest.raises(MediaUnreadable, match="web page"),
    ):
        make(ls.url).read("/static/a", 1)
    with site(reply(body=PNG, headers=html)) as ls:
        assert make(ls.url).read("/static/a", 1) == PNG


def test_cookies_are_not_carried_to_the_next_picture(make: Make) -> None:
    with site(reply(body=PNG, headers={"Set-Cookie": "sessionid=1; Path=/"})) as ls:
        fetcher = make(ls.url)
        fetcher.read("/static/a", 1)
        fetcher.read("/static/b", 1)
        assert "cookie" not in ls.seen[1].headers


def test_proxies_of_the_environment_are_not_used(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(reply(body=b"proxy")) as proxy, site(reply(body=PNG)) as ls:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert make(ls.url).read("/static/a", 1) == PNG
        assert proxy.seen == []


def test_credentials_in_an_address_go_to_its_host_and_not_into_messages(make: Make) -> None:
    with site(reply()) as ls, site(reply(404)) as other:
        address = f"http://user:hush@127.0.0.1:{other.port}/a"
        with pytest.raises(MediaMissing) as caught:
            make(ls.url, Keys(), allowed=("127.0.0.1",)).read(address, 1)
        assert other.authorizations == ["Basic dXNlcjpodXNo"]
        assert "hush" not in str(caught.value)


def test_local_file_is_read_from_disk_else_asked_of_label_studio(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "here.png").write_bytes(b"disk")
    with site(reply(body=b"label studio")) as ls:
        fetcher = make(ls.url, Keys(), local_files_root=tmp_path)
        assert fetcher.read("/data/local-files/?d=here.png", 1) == b"disk"
        assert ls.seen == []
        assert fetcher.read("/data/local-files/?d=there.png", 1) == b"label studio"
        with pytest.raises(MediaForbidden):
            fetcher.read("/data/local-files/?d=../secret", 1)
        assert [s.path for s in ls.seen] == ["/data/local-files/?d=there.png"]


@pytest.mark.slow
def test_one_fetcher_serves_many_threads_over_kept_connections(make: Make) -> None:
    def echo(handler: BaseHTTPRequestHandler) -> None:
        reply(body=handler.path.encode())(handler)

    with site(echo) as ls, ThreadPoolExecutor(8) as pool:
        fetcher = make(ls.url, Keys())
        paths = [f"/static/{n}" for n in range(400)]
        assert list(pool.map(lambda p: fetcher.read(p, 1).decode(), paths)) == paths
        assert len({request.client for request in ls.seen}) <= 8


def test_tls_without_a_known_authority_is_refused(make: Make, tls_site: Site) -> None:
    with pytest.raises(MediaUnreachable, match="certificate that cannot be verified") as caught:
        make(tls_site.url, media_retries=2).read("/static/a", 1)
    assert "SSL_CERT_FILE" in caught.value.remedy
    assert tls_site.seen == []


@pytest.mark.parametrize(("name", "fetched"), [("pics.example", True), ("other.example", False)])
def test_tls_verifies_the_name_although_an_address_is_connected_to(
    make: Make,
    tls_site: Site,
    authority: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fetched: bool,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    fetcher = make(
        "http://ls.example", resolve=lambda host, port: ["127.0.0.1"], allowed=("127.0.0.1",)
    )
    address = f"https://{name}:{tls_site.port}/a"
    if fetched:
        assert fetcher.read(address, 1) == b"secret"
    else:
        with pytest.raises(MediaUnreachable, match=r"not valid for 'other\.example'"):
            fetcher.read(address, 1)
