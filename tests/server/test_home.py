"""The page at /: for browsers all of it, escaped; for programs what /health says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
import redis

from backend.jobs.failed import failed_jobs
from backend.jobs.queues import queue
from backend.server.board import MOST_PROJECTS
from backend.server.csp import page_policy
from backend.server.home_page import home_style
from backend.settings import Settings
from backend.store.projects import ProjectStore
from tests.server.conftest import LABEL_CONFIG, Serve
from tests.server.filled import HOSTILE, fill

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


class Read(HTMLParser):
    """Words and elements of a page; elements that are opened and never closed fail."""

    VOID = frozenset({"meta", "link", "img", "br", "circle", "line", "polyline", "rect", "path"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def page(
    client: httpx.Client, connection: redis.Redis, settings: Callable[..., Settings]
) -> httpx.Client:
    """A client that asks as a browser does, of a backend that has something of everything."""
    fill(connection, settings())
    client.headers.update(BROWSER)
    return client


def test_everything_is_shown(page: httpx.Client) -> None:
    reply = page.get("/")
    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    assert reply.headers["Vary"] == "Accept"
    read = Read(reply.text)
    for words in (
        "DEGRADED: 1 of 2 workers failed",
        "Project 7",
        "Predicts with mobilenet_v2-3-",
        "Training waits",
        "1 prediction waits to be written",
        "Learning curve of project 7",
        "F1 at IoU 0.5: 5 0.41, 12 0.63, 30 0.78",
        "3 in use",
        "mobilenet_v2-2-0a1b2c3d 4 25 % 4 50 % 25 % 25 % 1",
        "1 × Raccoon",
        "1 of 1 tasks failed. media_missing",
        "No memory",
        "w1 ready predicts cpu openvino float32 mobilenet_v2 here 41",
        "Pictures a minute",
    ):
        assert words in read.text, words


def test_programs_get_what_health_says(page: httpx.Client) -> None:
    for accept in ("*/*", "application/json"):
        reply = page.get("/", headers={"Accept": accept})
        assert reply.headers["Vary"] == "Accept"
        assert reply.json() == page.get("/health").json()


def test_nothing_told_by_others_becomes_markup(page: httpx.Client) -> None:
    text = page.get("/").text
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;") == 4  # a worker's reason twice, a label, a task's reason
    read = Read(text)
    assert read.all("script") == []
    addresses = [attrs["href"] or "" for attrs in read.all("a")]
    assert not any("javascript" in address for address in addresses)
    assert "http://studio.example/projects/7/data" in addresses


def test_the_browser_is_allowed_nothing_but_the_page(page: httpx.Client) -> None:
    reply = page.get("/")
    policy = reply.headers["Content-Security-Policy"]
    assert policy == page_policy(home_style(), own_images=True, own_forms=True)
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", reply.text, re.DOTALL)
    assert style == home_style(), "or its hash would not fit"
    assert not re.search(r"\sstyle=|\son[a-z]+=", reply.text)


def test_opening_it_computes_nothing(
    serve: Serve, connection: redis.Redis, settings: Callable[..., Settings]
) -> None:
    fill(connection, settings())
    client = serve(label_studio_api_key="k" * 40)
    before = {key: connection.type(key) for key in connection.scan_iter()}
    read = Read(client.get("/", headers=BROWSER).text)
    assert read.all("img") == []
    assert len(queue(connection, "interactive")) == 0
    assert {key: connection.type(key) for key in connection.scan_iter()} == before
    links = [a["href"] for a in read.all("a") if (a["href"] or "").startswith("explain?")]
    assert links == [
        "explain?project=7&task=12&label=%3Cscript%3Ealert%28%22x%22%29%3C%2Fscript%3E",
        "explain?project=7&task=11&label=Raccoon",
    ]
    asked = Read(client.get("/", params={"maps": 1}, headers=BROWSER).text)
    assert [image["loading"] for image in asked.all("img")] == ["lazy", "lazy"]
    assert all(image["alt"] for image in asked.all("img"))


def test_without_a_key_no_map_is_promised(page: httpx.Client) -> None:
    read = Read(page.get("/", params={"maps": 1}).text)
    assert read.all("img") == []
    assert "LABEL_STUDIO_API_KEY" in read.text


def test_every_table_has_a_caption_and_headers(page: httpx.Client) -> None:
    text = page.get("/").text
    tables = re.findall(r"<table>.*?</table>", text, re.DOTALL)
    assert len(tables) == 6
    for table in tables:
        read = Read(table)
        assert len(read.all("caption")) == 1
        headers = read.all("th")
        assert {header["scope"] for header in headers} == {"col", "row"}
        columns = sum(header["scope"] == "col" for header in headers)
        for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL):
            cells = Read(row)
            assert len(cells.all("th")) + len(cells.all("td")) == columns
    ids = [attrs["id"] for _, attrs in Read(text).elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = {attrs.get("aria-labelledby") for _, attrs in Read(text).elements} - {None}
    assert named <= set(ids)


def test_it_reads_itself_anew_only_where_that_was_asked_for(page: httpx.Client) -> None:
    assert "Refresh" not in page.get("/").headers
    reply = page.get("/", params={"refresh": 15})
    assert reply.headers["Refresh"] == "15"
    assert 'href="./"' in reply.text
    assert page.get("/", params={"refresh": 1}).status_code == 422


def test_projects_are_shown_page_by_page(client: httpx.Client, connection: redis.Redis) -> None:
    for number in range(1, MOST_PROJECTS + 4):
        ProjectStore(connection).remember_setup(
            str(number), label_config=LABEL_CONFIG, extra_params={}, hostname=""
        )
    first = Read(client.get("/", headers=BROWSER).text)
    assert len(first.all("article")) == MOST_PROJECTS
    assert "3 further projects" in first.text
    second = Read(client.get("/", params={"skip": MOST_PROJECTS}, headers=BROWSER).text)
    assert [article["aria-labelledby"] for article in second.all("article")] == [
        "project-21", "project-22", "project-23",
    ]  # fmt: skip
    assert "further" not in second.text
    assert Read(client.get("/", params={"skip": 999}, headers=BROWSER).text).all("article") == []


def test_an_empty_backend_says_what_to_do(client: httpx.Client) -> None:
    text = Read(client.get("/", headers=BROWSER).text).text
    assert "python -m backend worker" in text
    assert "Connect Model" in text
    assert "None in the cache." in text


def test_redis_away_is_told_at_once(serve: Serve, tmp_path: Path) -> None:
    client = serve(redis_url=f"unix://{tmp_path}/nobody.sock")
    started_s = time.monotonic()
    reply = client.get("/", headers=BROWSER)
    assert time.monotonic() - started_s < 5  # half a second on a quiet machine
    assert reply.status_code == 200
    read = Read(reply.text)
    assert "DEGRADED: Redis" in read.text
    assert "until Redis answers again" in read.text
    assert read.all("table") == []


def test_a_head_of_another_release_spoils_one_line_only(
    page: httpx.Client, connection: redis.Redis
) -> None:
    connection.hset("lsb:1:heads:meta:7", "3", b'{"schema": 99}')
    text = Read(page.get("/").text).text
    assert "A head cannot be read" in text
    assert "Recent predictions" in text


def test_a_failed_job_is_tried_again_by_its_button(
    page: httpx.Client, connection: redis.Redis
) -> None:
    (failed,) = failed_jobs(connection)
    (form,) = Read(page.get("/").text).all("form")
    assert form == {"method": "post", "action": f"jobs/{failed.id}/retry"}
    reply = page.post(f"/jobs/{failed.id}/retry", headers={"Sec-Fetch-Site": "same-origin"})
    assert reply.status_code == 303
    back = page.get(str(reply.url.join(reply.headers["Location"])))
    assert back.url.path == "/"
    assert "The job is queued again." in back.text
    assert failed_jobs(connection) == []
    assert queue(connection, failed.queue).job_ids == [failed.id]
    again = page.post(f"/jobs/{failed.id}/retry")
    assert "told=gone" in again.headers["Location"]


def test_a_failed_job_is_tried_again_by_a_program(
    client: httpx.Client, connection: redis.Redis, settings: Callable[..., Settings]
) -> None:
    fill(connection, settings())
    (failed,) = failed_jobs(connection)
    reply = client.post(f"/jobs/{failed.id}/retry")
    assert reply.json() == {"id": failed.id, "status": "queued"}
    reply = client.post(f"/jobs/{failed.id}/retry")
    assert (reply.status_code, reply.json()["error"]) == (404, "job_not_found")


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),  # Label Studio's pages on another port
        ({"Origin": "{own}"}, True),
        ({"Origin": "http://127.0.0.1:8080"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "{own}"}, False),
    ],
)
def test_other_sites_pages_cannot_push_the_button(
    page: httpx.Client, connection: redis.Redis, headers: dict[str, str], taken: bool
) -> None:
    (failed,) = failed_jobs(connection)
    own = str(page.base_url).rstrip("/")
    sent = {name: value.format(own=own) for name, value in headers.items()}
    reply = page.post(f"/jobs/{failed.id}/retry", headers=sent)
    assert reply.status_code == (303 if taken else 403)
    assert (failed_jobs(connection) == []) is taken


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook", "/jobs/x/retry"])
def test_no_route_takes_what_another_site_posts(client: httpx.Client, path: str) -> None:
    reply = client.post(path, json={}, headers={"Origin": "https://elsewhere.example"})
    assert (reply.status_code, reply.json()["error"]) == (403, "cross_site")
    assert client.delete("/jobs/x", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_it_asks_for_credentials(serve: Serve) -> None:
    client = serve(basic_auth_user="u", basic_auth_pass="p")
    assert client.get("/", headers=BROWSER).status_code == 401
    assert client.get("/", headers=BROWSER, auth=("u", "p")).status_code == 200
