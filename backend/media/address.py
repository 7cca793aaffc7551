"""What the address in a task means: inline bytes, a local file or a URL.

Label Studio hands tasks over with raw addresses: its own paths, cloud URIs that only it
can resolve, plain URLs. Nothing is fetched here.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, unquote_to_bytes, urlsplit

from backend.errors import MediaForbidden, MediaMissing, MediaTooLarge

CLOUD_SCHEMES = ("s3", "gs", "azure-blob")
LONGEST_URL = 8192
LONGEST_SHOWN = 160

Origin = tuple[str, str, int]
"""Scheme, host in lower case, port."""

_LOCAL_FILES = "/data/local-files/"
_UPLOADS = "/data/upload/"
_RESOLVER = re.compile(r"/(tasks|projects)/\d+/(resolve|presign)/?\Z")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a picture is to be had.

    kind: "bytes" (content holds it), "file" (path under the local-files root; url is where
        Label Studio serves the same file), "url".
    send_auth: whether url is one of Label Studio's own and wants its token.
    """

    kind: Literal["bytes", "file", "url"]
    content: bytes = b""
    path: str = ""
    url: str = ""
    send_auth: bool = False


def origin_of(url: str) -> Origin:
    """Scheme, host and port that a token may be bound to.

    Raises: MediaMissing where url has no host or an impossible port.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise MediaMissing(
            f"{shown(url)} is not an address ({error}).", "Correct the address in the task's data."
        ) from None
    if not host:
        raise MediaMissing(
            f"{shown(url)} names no host.", "Correct the address in the task's data."
        )
    scheme = parts.scheme.lower()
    return scheme, host.lower().rstrip("."), port or _DEFAULT_PORT.get(scheme, 0)


def shown(address: str) -> str:
    """The address for people and logs: no credentials, no query (it may be signed), not long."""
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", address)
    if text[:5].lower() == "data:":
        return text[:32].split(",")[0] + ",…"
    head, mark, _ = text.partition("?")
    if "/data/local-files/" in head:
        head, mark = text, ""
    scheme, separator, rest = head.partition("://")
    if separator:
        host, slash, path = rest.partition("/")
        head = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    if mark:
        head += "?…"
    return head if len(head) <= LONGEST_SHOWN else head[:LONGEST_SHOWN] + "…"


def locate(
    address: str,
    *,
    label_studio_url: str,
    task_id: int | None,
    project_id: int | None = None,
    max_bytes: int,
) -> Source:
    """Where the picture behind a task's address is.

    label_studio_url: without a trailing slash; may have a path (sub-path installation).
    task_id, project_id: cloud URIs are resolved by Label Studio for a task, else a project.
    max_bytes: limit of an inline picture, checked before it is unpacked.
    Raises: MediaMissing, MediaForbidden, MediaTooLarge.
    """
    text = address.strip()
    if not text:
        raise MediaMissing(
            "The task has an empty address.", "Put the picture's address into the task's data."
        )
    if text[:5].lower() == "data:":
        return Source("bytes", content=_inline(text, max_bytes))
    if len(text) > LONGEST_URL or _CONTROL.search(text):
        raise MediaMissing(
            f"{shown(text)} is too long or holds control characters.",
            f"Addresses have at most {LONGEST_URL} printable characters.",
        )
    if text.startswith("//"):
        text = f"{urlsplit(label_studio_url).scheme}:{text}"
    if text.startswith("/"):
        return _own_path(text, label_studio_url)
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else ""
    if scheme in ("http", "https"):
        return _absolute(text, label_studio_url)
    if scheme in CLOUD_SCHEMES:
        return _cloud(text, label_studio_url, task_id, project_id)
    if scheme == "file":
        raise MediaForbidden(
            f"{shown(text)}: file: addresses are refused.",
            "Serve the folder through Label Studio's local storage "
            "(/data/local-files/?d=…) and set LOCAL_FILES_ROOT.",
        )
    if scheme:
        raise MediaForbidden(
            f"{shown(text)}: {scheme}: addresses are not served.",
            f"http, https, data, {', '.join(CLOUD_SCHEMES)} and Label Studio's own paths are.",
        )
    raise MediaMissing(
        f"{shown(text)} is a bare relative path, which points nowhere by itself.",
        "Import the file into Label Studio, or write /data/local-files/?d=… or https://….",
    )


def _inline(text: str, max_bytes: int) -> bytes:
    head, comma, payload = text.partition(",")
    if not comma:
        raise MediaMissing(
            f"{shown(text)} is a data: address without data.", "Write data:image/…;base64,…"
        )
    is_base64 = head.lower().endswith(";base64")
    # Base64 spends four characters on three bytes, percent encoding up to three on one.
    if len(payload) > max_bytes * 3 or (is_base64 and len(payload) * 3 // 4 > max_bytes + 3):
        raise _inline_too_large(max_bytes)
    content = unquote_to_bytes(payload)
    if is_base64:
        try:
            # Both alphabets and missing padding are seen in the wild; browsers take them too.
            compact = b"".join(content.split()).translate(bytes.maketrans(b"-_", b"+/"))
            compact = compact.rstrip(b"=")
            content = base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
        except binascii.Error:
            raise MediaMissing(
                f"{shown(text)} does not hold base64.", "Write data:image/…;base64,…"
            ) from None
    if len(content) > max_bytes:
        raise _inline_too_large(max_bytes)
    return content


def _inline_too_large(max_bytes: int) -> MediaTooLarge:
    return MediaTooLarge(
        f"The task holds a data: picture of more than {max_bytes} bytes.",
        "Upload the picture instead, or raise MAX_MEDIA_BYTES.",
    )


def _absolute(text: str, label_studio_url: str) -> Source:
    origin = origin_of(text)
    parts = urlsplit(text)
    path_and_query = parts.path + (f"?{parts.query}" if parts.query else "")
    if origin == origin_of(label_studio_url):
        own = _is_own(_without_prefix(parts.path, label_studio_url))
        # Credentials written into the address are its author's choice and replace the token.
        if own and parts.username is None:
            return _own_path(path_and_query, label_studio_url)
        return Source("url", url=text)
    # Label Studio under another of its names (a public host, localhost): the same file is
    # asked of LABEL_STUDIO_URL, which is reachable from here, and nothing of that host.
    local = parts.path.find(_LOCAL_FILES)
    if local >= 0 and parts.path.endswith(_LOCAL_FILES) and "d" in parse_qs(parts.query):
        return _own_path(path_and_query[local:], label_studio_url)
    inner = _without_prefix(parts.path, label_studio_url)
    if inner.startswith(_UPLOADS):
        return _own_path(inner, label_studio_url)
    return Source("url", url=text)


def _own_path(path_and_query: str, label_studio_url: str) -> Source:
    """A path of Label Studio's, as it writes them, to be asked of LABEL_STUDIO_URL."""
    path, mark, query = path_and_query.partition("?")
    query = query.partition("#")[0]
    inner = _without_prefix(path.partition("#")[0], label_studio_url)
    if ".." in unquote(inner).replace("\\", "/").split("/"):
        raise MediaForbidden(
            f"{shown(path)} climbs out of its folder.", "Write the path without '..'."
        )
    if not _is_own(inner):
        raise MediaMissing(
            f"{shown(path)} is not a path under which Label Studio serves pictures.",
            "Expected /data/upload/…, /data/local-files/?d=…, /tasks/N/resolve/?fileuri=… "
            "or a full https:// URL.",
        )
    url = label_studio_url + inner + mark + query
    if inner.rstrip("/") == _LOCAL_FILES.rstrip("/"):
        wanted = parse_qs(query).get("d", [""])[0]
        if not wanted:
            raise MediaMissing(
                f"{shown(path_and_query)} names no file.", "Write /data/local-files/?d=folder/file."
            )
        return Source("file", path=wanted, url=url, send_auth=True)
    return Source("url", url=url, send_auth=True)


def _without_prefix(path: str, label_studio_url: str) -> str:
    """Path below Label Studio's root; uploads made before and after the installation moved to a
    sub-path differ in whether they carry it."""
    prefix = urlsplit(label_studio_url).path.rstrip("/")
    return path[len(prefix) :] if prefix and path.startswith(prefix + "/") else path


def _is_own(inner: str) -> bool:
    served = ("/data/", "/static/", "/storage-data/")
    return inner.startswith(served) or _RESOLVER.match(inner) is not None


def _cloud(uri: str, label_studio_url: str, task_id: int | None, project_id: int | None) -> Source:
    if task_id is not None:
        owner = f"tasks/{task_id}"
    elif project_id is not None:
        owner = f"projects/{project_id}"
    else:
        raise MediaMissing(
            f"{shown(uri)} can only be resolved by Label Studio, for a task it knows.",
            "Send the task's id, or an https:// address.",
        )
    encoded = base64.urlsafe_b64encode(uri.encode()).decode()
    return Source(
        "url", url=f"{label_studio_url}/{owner}/resolve/?fileuri={encoded}", send_auth=True
    )
