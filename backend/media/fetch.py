"""Reading the bytes behind a task's address, within bounds."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Generic, NoReturn, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx
import structlog

from backend.errors import (
    LabelStudioError,
    LabelStudioUnreachable,
    MediaForbidden,
    MediaMissing,
    MediaUnreachable,
    MediaUnreadable,
)
from backend.media.address import Source, locate, origin_of, shown
from backend.media.body import body_of
from backend.media.guard import Guard, GuardedTransport, Resolver, before, resolve_host
from backend.media.header import sniff
from backend.media.local import local_file, read_local
from backend.media.video_files import FetchedVideos, Sink, VideoFile, video_in
from backend.settings import Settings

log = structlog.get_logger(__name__)

MOST_REDIRECTS = 5
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PASSING_STATUS = frozenset((429, 502, 503, 504))
_ORIGINS_KEPT = 4  # Label Studio, a cloud store, a few more

T = TypeVar("T")


class Tokens(Protocol):
    """What is asked of Label Studio's token source."""

    def authorization(self) -> str:
        """Value of the Authorization header."""

    def renew(self, refused: str) -> str:
        """A header fresher than the refused one, the same where there is none."""


class _PassingError(Exception):
    """A failure that may be gone in a moment; why is for people."""

    def __init__(self, why: str, pause_s: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class _Redirect:
    """Where an answer points to instead of holding the picture."""

    location: str


@dataclass(frozen=True, slots=True)
class _Take(Generic[T]):
    """What is made of a good answer; timeout_s: from the connection to the last byte."""

    read: Callable[[httpx.Response, str], T]
    timeout_s: float


class MediaFetcher:
    """Fetches pictures and videos: guarded, bounded in size and time, repeated where that can help.

    One for a process, shared by its threads; it keeps connections open between pictures.
    MEDIA_TIMEOUT bounds each attempt as a whole, from the connection to the last byte;
    VIDEO_TIMEOUT that of a video.
    tokens: Label Studio's token source, None without an API key.
    resolve: host name to addresses, replaceable. pause: waits so many seconds.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: Tokens | None,
        *,
        resolve: Resolver = resolve_host,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._pause = pause
        self._label_studio = origin_of(settings.label_studio_url)
        self._guard = Guard(settings.label_studio_url, settings.allowed_hosts, resolve)
        self._ssl_context = httpx.create_ssl_context(trust_env=False)
        self._ssl_context.load_default_certs()  # beside certifi's: a company's own authority
        # A client serves one thread at a time: in httpcore 1.0.9 a thread that looks whether
        # an idle connection was closed can close it under another that just took it.
        self._clients = threading.Lock()
        self._idle: list[httpx.Client] = []
        self._videos = FetchedVideos(settings.data_dir / "videos", settings.video_cache_bytes)

    def close(self) -> None:
        """Close the connections that are kept open."""
        with self._clients:
            closing, self._idle = self._idle, []
        for client in closing:
            client.close()

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        with self._clients:
            client = self._idle.pop() if self._idle else None
        if client is None:
            client = self._new_client()
        try:
            yield client
        finally:
            with self._clients:
                self._idle.append(client)  # last in, first out: its connections are still open

    def _new_client(self) -> httpx.Client:
        return httpx.Client(
            transport=GuardedTransport(
                self._guard, ssl_context=self._ssl_context, connections=_ORIGINS_KEPT
            ),
            # A proxy would connect in our place, past the guard.
            trust_env=False,
            follow_redirects=False,
            # A session of one host has no business with the next picture.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={"Accept-Encoding": "identity", "User-Agent": "label-studio-saliency-backend"},
        )

    def read(self, address: str, task_id: int | None, project_id: int | None = None) -> bytes:
        """The bytes behind a task's address.

        task_id, project_id: for whom Label Studio resolves cloud addresses.
        Raises: MediaMissing, MediaForbidden, MediaTooLarge, MediaUnreadable (a web page),
            MediaUnreachable (after the last repetition).
        """
        source = locate(
            address,
            label_studio_url=self._settings.label_studio_url,
            task_id=task_id,
            project_id=project_id,
            max_bytes=self._settings.media_bytes,
        )
        if source.kind == "bytes":
            return source.content
        if source.kind == "file" and self._settings.local_files_root is not None:
            content = read_local(
                self._settings.local_files_root, source.path, self._settings.media_bytes
            )
            if content is not None:
                return content
        return self._download(source, _Take(self._picture, self._settings.media_timeout_s))

    @contextmanager
    def video(
        self, address: str, task_id: int | None, project_id: int | None = None
    ) -> Iterator[VideoFile]:
        """The file behind a task's address, streamed to disk once; a local one in its place.

        It stays where it is until the context is left. Arguments and errors as ``read``.
        """
        settings = self._settings
        source = locate(
            address,
            label_studio_url=settings.label_studio_url,
            task_id=task_id,
            project_id=project_id,
            max_bytes=settings.media_bytes,
        )
        if source.kind == "file" and settings.local_files_root is not None:
            path = local_file(settings.local_files_root, source.path, settings.video_bytes)
            if path is not None:
                yield video_in(path)
                return

        def fetch(sink: Sink) -> None:
            if source.kind == "bytes":
                sink.write(source.content)
            else:
                take = partial(self._stream, sink)
                self._download(source, _Take(take, settings.video_timeout_s))

        # For each project by itself: what one may see is not another's.
        with self._videos.lent(f"{project_id} {address}", fetch) as lent:
            yield lent

    def _download(self, source: Source, take: _Take[T]) -> T:
        attempts = self._settings.media_retries + 1
        attempt = 1
        while True:
            try:
                return self._attempt(source, take)
            except _PassingError as trouble:
                if attempt >= attempts:
                    raise MediaUnreachable(
                        f"{shown(source.url)} could not be fetched: {trouble.why} "
                        f"({attempts} attempts).",
                        "Check that the worker can reach that host; MEDIA_TIMEOUT and "
                        "MEDIA_RETRIES give it more time.",
                    ) from trouble
                # Half to one and a half times, so that threads refused together do not
                # come back together.
                pause_s = FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
                pause_s = min(max(pause_s, trouble.pause_s or 0.0), LONGEST_PAUSE_S)
                log.debug(
                    "media_fetch_repeated", address=shown(source.url), why=trouble.why, n=attempt
                )
                self._pause(pause_s)
                attempt += 1

    def _attempt(self, source: Source, take: _Take[T]) -> T:
        """One attempt, and one more with a fresh token where the first token was refused."""
        deadline = time.monotonic() + take.timeout_s
        tokens = self._tokens if source.send_auth else None
        try:
            used = tokens.authorization() if tokens is not None else None
            with before(deadline):
                content = self._follow(source, take, used, deadline)
                if content is None and tokens is not None and used is not None:
                    fresh = tokens.renew(used)
                    if fresh != used:
                        content = self._follow(source, take, fresh, deadline)
        except LabelStudioUnreachable as error:
            raise _PassingError(error.what) from error
        except LabelStudioError as error:
            raise MediaForbidden(
                f"{shown(source.url)} needs a token: {error.what}", error.remedy
            ) from error
        if content is None:
            self._refused(401, source.url, source.send_auth)
        return content

    def _follow(
        self, source: Source, take: _Take[T], authorization: str | None, deadline: float
    ) -> T | None:
        """What is at the end of a chain of redirects; None where Label Studio answers 401."""
        url, trusted = source.url, source.send_auth
        for _ in range(MOST_REDIRECTS + 1):
            # Once the chain has left Label Studio it is not trusted again.
            trusted = trusted and origin_of(url) == self._label_studio
            answer = self._get(url, take, authorization if trusted else None, deadline, trusted)
            if not isinstance(answer, _Redirect):
                return answer
            url = answer.location
            if origin_of(url)[0] not in ("http", "https"):
                raise MediaForbidden(
                    f"{shown(source.url)} redirects to {shown(url)}.",
                    "Only http and https addresses are followed.",
                )
            if origin_of(url) == self._label_studio and "/user/login" in urlsplit(url).path:
                self._refused(401, source.url, True)
        raise MediaMissing(
            f"{shown(source.url)} redirects more than {MOST_REDIRECTS} times.",
            "Correct the address in the task's data.",
        )

    def _get(
        self,
        url: str,
        take: _Take[T],
        authorization: str | None,
        deadline: float,
        trusted: bool,
    ) -> T | _Redirect | None:
        try:
            with self._client() as client:
                request = self._request(client, url, authorization, deadline)
                response = client.send(request, stream=True)
                try:
                    return self._answer(response, take, url, trusted, authorization is not None)
                finally:
                    response.close()
        except httpx.InvalidURL as error:
            raise MediaMissing(
                f"{shown(url)} is not an address ({error}).",
                "Correct the address in the task's data.",
            ) from None
        except httpx.TimeoutException as error:
            raise _PassingError(f"no answer within {take.timeout_s:g} s") from error
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise MediaUnreachable(
                    f"{shown(url)} has a certificate that cannot be verified: {error}",
                    "Install its authority on the worker's system, or name it in SSL_CERT_FILE.",
                ) from error
            raise _PassingError(str(error) or type(error).__name__) from error

    @staticmethod
    def _request(
        client: httpx.Client, url: str, authorization: str | None, deadline: float
    ) -> httpx.Request:
        parsed = httpx.URL(url)
        headers = {}
        if authorization is not None:
            headers["Authorization"] = authorization
            parsed = parsed.copy_with(userinfo=b"")  # httpx would prefer it to the header
        left_s = max(0.001, deadline - time.monotonic())
        return client.build_request("GET", parsed, headers=headers, timeout=left_s)

    def _answer(
        self,
        response: httpx.Response,
        take: _Take[T],
        url: str,
        trusted: bool,
        authorized: bool,
    ) -> T | _Redirect | None:
        status = response.status_code
        if status in _REDIRECTS and "location" in response.headers:
            return _Redirect(str(httpx.URL(url).join(response.headers["location"])))
        if status in _PASSING_STATUS:
            raise _PassingError(f"HTTP {status}", _retry_after_s(response))
        if status == 401 and authorized:
            return None
        if status in (401, 403):
            self._refused(status, url, trusted)
        if status >= 500:
            raise MediaUnreachable(
                f"{shown(url)} answers HTTP {status}.", _server_error_remedy(url, trusted)
            )
        if status != 200:
            raise MediaMissing(
                f"{shown(url)} answers HTTP {status}: there is no picture.", _missing_remedy(url)
            )
        return take.read(response, url)

    def _picture(self, response: httpx.Response, url: str) -> bytes:
        chunks = body_of(response, url, self._settings.media_bytes, "MAX_MEDIA_BYTES")
        content = b"".join(chunks)
        if sniff(content) is None and "html" in response.headers.get("content-type", "").lower():
            raise MediaUnreadable(
                f"{shown(url)} is a web page, not a picture; often a page to sign in.",
                "Open the address without signing in: it must lead to the file itself.",
            )
        return content

    def _stream(self, sink: Sink, response: httpx.Response, url: str) -> int:
        """Writes the body; its length. What it is, is looked at where it is opened."""
        sink.restart()
        limit = self._settings.video_bytes
        return sum(sink.write(chunk) for chunk in body_of(response, url, limit, "MAX_VIDEO_BYTES"))

    def _refused(self, status: int, url: str, is_label_studio: bool) -> NoReturn:
        if not is_label_studio:
            remedy = "Make the file readable without signing in, or use a presigned address."
        elif self._tokens is None:
            remedy = "Set LABEL_STUDIO_API_KEY: Label Studio gives its files to users only."
        elif status == 401:
            remedy = "LABEL_STUDIO_API_KEY is not accepted; copy a fresh personal access token."
        elif "/data/local-files/" in url:
            remedy = _missing_remedy(url)  # with local files switched off Label Studio says 403
        else:
            remedy = (
                "The user of LABEL_STUDIO_API_KEY may not see this file, or it was deleted; "
                "add the user to the project's organisation."
            )
        raise MediaForbidden(f"{shown(url)} is refused with HTTP {status}.", remedy)


def _missing_remedy(url: str) -> str:
    if "/data/local-files/" in url:
        return (
            "Label Studio needs LOCAL_FILES_SERVING_ENABLED=true, LOCAL_FILES_DOCUMENT_ROOT and a "
            "local storage in the project that covers the folder; or set LOCAL_FILES_ROOT here."
        )
    if "fileuri=" in url:
        return "Check the cloud storage of the project in Label Studio."
    return "Check the address in the task's data."


def _server_error_remedy(url: str, is_label_studio: bool) -> str:
    if is_label_studio and "/data/upload/" in url:
        # Label Studio 1.23.2 fails instead of answering 404.
        return "Most likely Label Studio has no such upload any more: delete the task."
    return "Look into that server's log."


def _retry_after_s(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None
