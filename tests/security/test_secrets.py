"""A whole backend with marked secrets: they are nowhere but where they are needed.

Started as `up` does it, over https, behind a password, with a Redis that asks for one, from a
read-only file system where the machine lets us have one.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from backend.evaluation.children import Child, free_port
from backend.store.embedded import find_executable
from tests.jobs.conftest import drawn_png
from tests.labelstudio_standin import LabelStudioStandin, personal_access_token, running
from tests.media.servers import by_path, reply, site
from tests.server.conftest import LABEL_CONFIG
from tests.server.test_tls import folder as folder
from tests.server.test_tls import trusting

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

# Letters alone: none of these is changed on its way by escaping of any kind.
USER, PASSWORD, REDIS_PASSWORD = "markuser", "markbasicpassword", "markredispassword"
PRESIGNED, USERINFO, SETUP_TOKEN = "marksignature", "markuserinfo", "marksetuptoken"
GUESS = "markguess"
API_KEY = personal_access_token()[:-8] + "markapik"
ACCESS = f"access-{API_KEY[-8:]}"  # what the stand-in sells for it

NOWHERE = {
    "password": PASSWORD,
    "Redis password": REDIS_PASSWORD,
    "API key": API_KEY,
    "its signature": API_KEY[-8:],
    "access token": ACCESS,
    "token of /setup": SETUP_TOKEN,
    "guessed password": GUESS,
    **{
        f"header of {user}": base64.b64encode(f"{user}:{word}".encode()).decode()
        for user, word in ((USER, PASSWORD), (USER, GUESS))
    },
}
"""Secrets that nothing may hold."""

IN_ADDRESSES = {"presigned query": PRESIGNED, "credentials in an address": USERINFO}
"""Parts of a task's data, without which no worker could fetch the picture."""


@dataclass
class Bed:
    """What runs, and all that it said."""

    client: httpx.Client
    store: redis.Redis
    studio: LabelStudioStandin
    pictures: str
    log: Path
    child: Child
    home: Path
    said: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One call; its whole answer is kept."""
        answer = self.client.request(method, path, **more)
        self.said.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return answer


@pytest.fixture(scope="module")
def redis_with_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    settings = f"port {port}\nbind 127.0.0.1\nsave ''\nrequirepass {REDIS_PASSWORD}\n"
    # Settings go in by stdin: a password among the arguments would be seen by every user.
    process = subprocess.Popen(
        [find_executable(), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=tmp_path_factory.mktemp("guarded"),
    )
    assert process.stdin is not None
    process.stdin.write(settings.encode())
    process.stdin.close()
    yield f"redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/0"
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def bed(
    folder: Path,
    redis_with_password: str,
    until: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bed]:
    place = tmp_path_factory.mktemp("bed")
    home, data, cache, port = place / "home", place / "data", place / "cache", free_port()
    for made in (home, data, cache):
        made.mkdir()
    with ExitStack() as stack:
        answers = by_path(good=reply(body=drawn_png(1)), forbidden=reply(403), broken=reply(500))
        pictures = stack.enter_context(site(answers))
        studio = stack.enter_context(running(api_key=API_KEY))
        studio.projects[1] = {"id": 1, "title": "p", "label_config": LABEL_CONFIG}
        studio.media["/data/upload/1/a.png"] = drawn_png(2)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(home),
            "TMPDIR": str(cache),
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "DATA_DIR": str(data),
            "REDIS_URL": redis_with_password,
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": API_KEY,
            "BASIC_AUTH_USER": USER,
            "BASIC_AUTH_PASS": PASSWORD,
            "TLS_CERT_FILE": str(folder / "cert.pem"),
            "TLS_KEY_FILE": str(folder / "key.pem"),
            "BACKBONE": "embedded",
            "DEVICE": "cpu",
            "WORKERS": "1",
            "ALLOWED_HOSTS": "127.0.0.1",
            "MEDIA_RETRIES": "1",
            "PREDICT_DEADLINE": "60",
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "json",
        }
        command = [*read_only(data, cache), sys.executable, "-m", "backend", "up"]
        log = place / "log"
        child = Child("up", command, env=environment, log_path=log, cwd=home)
        client = httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            verify=trusting(folder),
            auth=(USER, PASSWORD),
            timeout=90,
            trust_env=False,
        )
        stack.enter_context(client)
        store = stack.enter_context(redis.Redis.from_url(redis_with_password))
        stack.enter_context(child)
        made_bed = Bed(client, store, studio, pictures.url, log, child, home)
        with suppress(AssertionError):  # told below, with what the backend says
            until(lambda: child.returncode is not None or is_ready(made_bed), 120, 0.5)
        assert child.returncode is None, child.tail(30)
        assert is_ready(made_bed), child.tail(30)
        yield made_bed


def read_only(data: Path, cache: Path) -> list[str]:
    """Runs a command that can write to these two alone; nothing where this is not to be had."""
    script = (
        f'mount --bind "{data}" "{data}" && mount --bind "{cache}" "{cache}" '
        "&& mount -o remount,bind,ro / / "
        '&& ! touch "$HOME/a" 2>/dev/null && exec "$@"'
    )
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    can = shutil.which("unshare") and subprocess.run(
        [*namespace, "true"], capture_output=True, env={**os.environ, "HOME": str(data.parent)}
    )
    return namespace if can and can.returncode == 0 else []


def is_ready(bed: Bed) -> bool:
    try:
        health = bed.client.get("/health").json()
    except (httpx.HTTPError, ssl.SSLError):
        return False
    return bool(health["workers"]["states"]["ready"])


def provoke(bed: Bed, until: Callable[..., None]) -> None:
    """Successes and errors on every route, with secrets wherever a caller can put one."""
    signed = f"X-Amz-Signature={PRESIGNED}&X-Amz-Expires=60"
    credentials = bed.pictures.replace("://", f"://someone:{USERINFO}@")
    addresses = [
        f"{bed.pictures}/good/1.png?{signed}",
        "/data/upload/1/a.png",
        f"{credentials}/good/2.png",
        f"{bed.pictures}/missing.png?{signed}",
        f"{bed.pictures}/forbidden.png?{signed}",
        f"{bed.pictures}/broken.png?{signed}",
        f"http://someone:{USERINFO}@169.254.169.254/a.png?{signed}",
        f"http://someone:{USERINFO}@127.0.0.1:1/a.png?{signed}",
        f"ftp://someone:{USERINFO}@files.example/a.png?{signed}",
        f"/data/upload/../secret.png?{signed}",
    ]
    setup = {
        "project": "1.17", "schema": LABEL_CONFIG, "hostname": bed.studio.url,
        "access_token": SETUP_TOKEN, "extra_params": None,
    }  # fmt: skip
    assert bed.ask("POST", "/setup", json=setup).status_code == 200
    assert bed.ask("POST", "/setup", json={**setup, "project": "2", "schema": "<V"}).is_success
    tasks = [{"id": n, "data": {"image": a}} for n, a in enumerate(addresses, 1)]
    for number, address in enumerate(addresses, 1):
        bed.studio.tasks[number] = {"id": number, "project": 1, "data": {"image": address}}
    call = {"project": "1.17", "label_config": LABEL_CONFIG, "tasks": tasks}
    answer = bed.ask("POST", "/predict", json=call)
    predicted = [bool(entry) for entry in answer.json()["results"]]
    assert predicted == [True] * 3 + [False] * 7, bed.child.tail(30)
    for job in answer.headers["X-Job-Ids"].split(","):
        bed.ask("GET", f"/jobs/{job}")
    for task in tasks:
        event = {
            "action": "ANNOTATION_CREATED",
            "project": {"id": 1, "label_config": LABEL_CONFIG},
            "task": task,
            "annotation": {"id": task["id"], "task": task["id"], "result": []},
        }
        assert bed.ask("POST", "/webhook", json=event).status_code == 200
    start = {"action": "START_TRAINING", "project": {"id": 1}}
    training = bed.ask("POST", "/webhook", json=start).json()["job"]
    ended = ("done", "failed")
    until(lambda: bed.client.get(f"/jobs/{training}").json()["state"] in ended, timeout_s=120)
    bed.ask("GET", f"/jobs/{training}")
    for number in (1, 4, 7, 99):
        bed.ask("GET", f"/explain?project=1&task={number}")
    bed.studio.api_key = "another"  # from here on Label Studio refuses the key
    bed.ask("GET", "/explain?project=1&task=98")
    late = {"id": 50, "data": {"image": "/data/upload/1/b.png"}}
    bed.ask("POST", "/predict", json={**call, "tasks": [late]})
    for path in ("/", "/health", "/metrics", "/versions", "/docs", "/openapi.json", "/nowhere"):
        bed.ask("GET", path)
    bed.ask("GET", "/", headers={"Accept": "text/html"})
    bed.ask("GET", f"/nowhere?token={PRESIGNED}")
    bed.ask("POST", "/predict", content=b'{"tasks":')
    assert bed.ask("GET", "/health", auth=(USER, GUESS)).status_code == 401
    assert bed.ask("GET", f"/health?p={GUESS}", auth=("", "")).status_code == 401


@pytest.fixture(scope="module")
def provoked(bed: Bed, until: Callable[..., None]) -> Bed:
    provoke(bed, until)
    return bed


def test_answers_hold_no_secret(provoked: Bed) -> None:
    assert len(provoked.said) > 30
    assert found_in({"answers": "\n".join(provoked.said)}, NOWHERE | IN_ADDRESSES) == []


def test_log_lines_hold_no_secret(provoked: Bed) -> None:
    text = provoked.log.read_text()
    events = {json.loads(line)["event"] for line in text.splitlines() if line.startswith("{")}
    assert {"request", "worker_ready", "request_refused", "task_failed"} <= events
    assert found_in({"log": text}, NOWHERE | IN_ADDRESSES) == []


def test_process_arguments_hold_no_secret(provoked: Bed) -> None:
    process = psutil.Process(provoked.child.pid)
    lines = {str(p.pid): " ".join(p.cmdline()) for p in [process, *process.children(True)]}
    assert len(lines) >= 4  # itself, server, worker, trainer
    assert found_in(lines, NOWHERE | IN_ADDRESSES) == []


def test_redis_holds_no_secret_but_in_addresses(provoked: Bed) -> None:
    values = stored(provoked.store)
    assert any(name.startswith("rq:job:") for name in values)
    assert any(name.startswith("lsb:") for name in values)
    assert found_in(values, NOWHERE) == []
    # A job's description is shown to people; its arguments are what a worker needs.
    needed = [name for name, _ in found_in(values, IN_ADDRESSES)]
    assert needed  # or this test would look past them
    allowed = ("rq:job:", "lsb:1:ledger:")
    assert [name for name in needed if not name.startswith(allowed)] == []
    jobs = [name for name in needed if name.startswith("rq:job:")]
    assert {name.rsplit(" ", 1)[1] for name in jobs} <= {"data"}


def test_redis_holds_no_pickle(provoked: Bed) -> None:
    for name, value in stored(provoked.store).items():
        raw = value.encode("latin-1")
        # Protocols 2 to 5 begin so and end with a stop; older ones are text that ends in it.
        assert not (raw[:1] == b"\x80" and raw[-1:] == b"."), name
        assert not raw.startswith((b"(dp", b"(lp", b"c__builtin__", b"cos\n", b"cposix\n")), name


def test_nothing_is_written_outside_data_dir_and_the_temporary_folder(provoked: Bed) -> None:
    assert [str(path) for path in provoked.home.rglob("*")] == []


def found_in(texts: dict[str, str], secrets: dict[str, str]) -> list[tuple[str, str]]:
    """Where which secret stands, in sorted order, but never the secret itself."""
    return sorted(
        (where, name)
        for where, text in texts.items()
        for name, secret in secrets.items()
        if secret in text
    )


def stored(store: redis.Redis) -> dict[str, str]:
    """Every value in Redis by key, and field where it has some, unpacked where it was packed."""
    found: dict[str, bytes] = {}
    names: list[bytes] = list(store.scan_iter(count=1000))
    for name in names:
        shown = name.decode()
        kind = bytes(store.type(name))  # type: ignore[arg-type]
        reader = _READERS[kind]
        for place, value in reader(store, name):
            found[f"{shown} {place}"] = value
    return {name: _unpacked(value).decode("latin-1") for name, value in found.items()}


def _unpacked(value: bytes) -> bytes:
    try:
        return zlib.decompress(value)
    except zlib.error:
        return value


_READERS: dict[bytes, Callable[[Any, bytes], list[tuple[str, bytes]]]] = {
    b"string": lambda r, k: [("", r.get(k))],
    b"hash": lambda r, k: (
        [(f.decode(), v) for f, v in r.hgetall(k).items()]
        + [(f"field {n}", f) for n, f in enumerate(r.hkeys(k))]
    ),
    b"list": lambda r, k: [(str(n), v) for n, v in enumerate(r.lrange(k, 0, -1))],
    b"set": lambda r, k: [(str(n), v) for n, v in enumerate(r.smembers(k))],
    b"zset": lambda r, k: [(str(n), v) for n, v in enumerate(r.zrange(k, 0, -1))],
    b"stream": lambda r, k: [
        (f"{i.decode()} {f.decode()}", v) for i, row in r.xrange(k) for f, v in row.items()
    ],
}
