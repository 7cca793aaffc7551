"""backend.media.address: what a task's address means."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BackendError, MediaForbidden, MediaMissing, MediaTooLarge
from backend.media.address import Source, locate, origin_of, shown

LS = "http://ls.example:8080"
SUB = "http://ls.example:8080/lsx"


def at(address: str, *, base: str = LS, task_id: int | None = 7, **more: int) -> Source:
    return locate(
        address,
        label_studio_url=base,
        task_id=task_id,
        project_id=more.get("project_id"),
        max_bytes=more.get("max_bytes", 1000),
    )


def own(url: str) -> Source:
    return Source("url", url=url, send_auth=True)


def local(path: str, url: str) -> Source:
    return Source("file", path=path, url=url, send_auth=True)


@pytest.mark.parametrize(
    ("address", "base", "expected"),
    [
        pytest.param(
            "/data/upload/1/a%C3%A9.png", LS, own(f"{LS}/data/upload/1/a%C3%A9.png"), id="upload"
        ),
        pytest.param(
            "  /data/upload/1/a.png\n", LS, own(f"{LS}/data/upload/1/a.png"), id="blanks around"
        ),
        pytest.param(
            "/data/upload/1/a.png",
            SUB,
            own(f"{SUB}/data/upload/1/a.png"),
            id="older upload, sub-path",
        ),
        pytest.param(
            "/lsx/data/upload/1/a.png",
            SUB,
            own(f"{SUB}/data/upload/1/a.png"),
            id="newer upload, sub-path",
        ),
        pytest.param(
            "/data/local-files/?d=imgs/a%20b.png",
            LS,
            local("imgs/a b.png", f"{LS}/data/local-files/?d=imgs/a%20b.png"),
            id="local file",
        ),
        pytest.param(
            "/tasks/3/resolve/?fileuri=czM6",
            LS,
            own(f"{LS}/tasks/3/resolve/?fileuri=czM6"),
            id="resolved already",
        ),
        pytest.param(
            "http://ls.example:8080/data/upload/1/a.png",
            LS,
            own(f"{LS}/data/upload/1/a.png"),
            id="absolute, Label Studio",
        ),
        pytest.param(
            "http://LS.example:8080/my/a.png",
            LS,
            Source("url", url="http://LS.example:8080/my/a.png"),
            id="Label Studio's host, not its path",
        ),
        pytest.param(
            "http://localhost:8080/data/upload/1/a.png?x=1",
            LS,
            own(f"{LS}/data/upload/1/a.png"),
            id="upload under another host name",
        ),
        pytest.param(
            "https://label.example/lsx/data/upload/1/a.png",
            SUB,
            own(f"{SUB}/data/upload/1/a.png"),
            id="upload under another host name, sub-path",
        ),
        pytest.param(
            "https://label.example/any/data/local-files/?d=a.png",
            LS,
            local("a.png", f"{LS}/data/local-files/?d=a.png"),
            id="local file under another host name and path",
        ),
        pytest.param(
            "https://cdn.example/site/data/upload/a.png",
            LS,
            Source("url", url="https://cdn.example/site/data/upload/a.png"),
            id="another site's upload folder",
        ),
        pytest.param(
            "https://cdn.example/data/local-files/a.png",
            LS,
            Source("url", url="https://cdn.example/data/local-files/a.png"),
            id="another site's folder",
        ),
        pytest.param(
            "//cdn.example/a.png", LS, Source("url", url="http://cdn.example/a.png"), id="no scheme"
        ),
        pytest.param(
            "http://u:p@ls.example:8080/data/upload/a.png",
            LS,
            Source("url", url="http://u:p@ls.example:8080/data/upload/a.png"),
            id="own credentials replace the token",
        ),
        pytest.param(
            "data:image/png;base64,AAEC", LS, Source("bytes", content=b"\0\1\2"), id="data"
        ),
        pytest.param("data:,a%20b", LS, Source("bytes", content=b"a b"), id="data, percent"),
        pytest.param(
            "DATA:image/png;BASE64,-_8",
            LS,
            Source("bytes", content=b"\xfb\xff"),
            id="data, url-safe",
        ),
    ],
)
def test_meaning(address: str, base: str, expected: Source) -> None:
    assert at(address, base=base) == expected


@pytest.mark.parametrize("uri", ["s3://bkt/d/é 0.png", "gs://b/x", "azure-blob://c/x?y=1"])
def test_cloud_uri_goes_through_the_resolver_of_its_task(uri: str) -> None:
    source = at(uri)
    parts = urlsplit(source.url)
    assert (parts.netloc, parts.path, source.send_auth) == (
        "ls.example:8080",
        "/tasks/7/resolve/",
        True,
    )
    encoded = parse_qs(parts.query)["fileuri"][0]
    assert base64.urlsafe_b64decode(encoded).decode() == uri


def test_cloud_uri_of_a_task_without_id_is_resolved_for_the_project() -> None:
    url = at("s3://b/k", base=SUB, task_id=None, project_id=4).url
    assert url == f"{SUB}/projects/4/resolve/?fileuri=czM6Ly9iL2s="


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        pytest.param("", MediaMissing, "empty address", id="empty"),
        pytest.param(" \n", MediaMissing, "empty address", id="blank"),
        pytest.param("a.png", MediaMissing, "relative path", id="bare name"),
        pytest.param("img/a.png", MediaMissing, "relative path", id="relative"),
        pytest.param("C:\\a.png", MediaMissing, "relative path", id="drive letter"),
        pytest.param("/etc/passwd", MediaMissing, "not a path under which", id="not served"),
        pytest.param("/api/projects/", MediaMissing, "not a path under which", id="its API"),
        pytest.param("/data/upload/../../api/x", MediaForbidden, "climbs out", id="dots"),
        pytest.param("/data/upload/%2e%2e/api/x", MediaForbidden, "climbs out", id="encoded dots"),
        pytest.param("/data/local-files/", MediaMissing, "names no file", id="no d"),
        pytest.param("file:///etc/passwd", MediaForbidden, "file: addresses", id="file"),
        pytest.param("ftp://h/a.png", MediaForbidden, "ftp: addresses", id="ftp"),
        pytest.param("javascript:alert(1)", MediaForbidden, "javascript:", id="javascript"),
        pytest.param("http://", MediaMissing, "names no host", id="no host"),
        pytest.param("http://h:99999/a", MediaMissing, "not an address", id="port"),
        pytest.param("http://[::1/a", MediaMissing, "not an address", id="bracket"),
        pytest.param("http://h/a\x00b", MediaMissing, "control characters", id="NUL"),
        pytest.param("http://h/" + "a" * 9000, MediaMissing, "too long", id="long"),
        pytest.param("data:image/png;base64", MediaMissing, "without data", id="no comma"),
        pytest.param("data:;base64,A", MediaMissing, "base64", id="bad base64"),
        pytest.param("data:;base64," + "A" * 1400, MediaTooLarge, "1000 bytes", id="data, large"),
        pytest.param("data:," + "a" * 1001, MediaTooLarge, "1000 bytes", id="data, one too many"),
    ],
)
def test_refusals_say_why_and_what_to_do(
    address: str, error: type[BackendError], words: str
) -> None:
    with pytest.raises(error) as caught:
        at(address)
    assert words in caught.value.what
    assert caught.value.remedy


def test_cloud_uri_without_task_or_project_is_explained() -> None:
    with pytest.raises(MediaMissing, match="resolved by Label Studio"):
        at("s3://b/k", task_id=None)


def test_inline_picture_of_exactly_the_limit_is_taken() -> None:
    text = base64.b64encode(bytes(1000)).decode()
    assert at(f"data:;base64,{text}").content == bytes(1000)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://u:secret@h/a.png?X-Amz-Signature=abc", "https://h/a.png?…"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,…"),
        ("http://h/data/local-files/?d=a.png", "http://h/data/local-files/?d=a.png"),
        ("a\nb", "a\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_shown_hides_what_is_secret(address: str, expected: str) -> None:
    assert shown(address) == expected


def test_origin_has_the_port_of_its_scheme() -> None:
    assert origin_of("HTTPS://Host./x") == origin_of("https://host:443") == ("https", "host", 443)
    assert origin_of("http://host") != origin_of("https://host")


@given(st.text(max_size=60))
def test_any_text_gives_a_source_or_a_typed_error(text: str) -> None:
    for prefix in ("", "/", "http://", "/data/local-files/?d=", "data:;base64,", "s3://"):
        try:
            source = at(prefix + text)
        except BackendError:
            continue
        if source.send_auth:
            assert origin_of(source.url) == origin_of(LS)
