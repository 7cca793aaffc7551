"""What the doctor asks about Label Studio: its API, a project, the way to one picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from backend.cli.check import Check
from backend.cli.check_video import check_video
from backend.domain import Task
from backend.jobs.versions import is_ours
from backend.labelstudio.api_values import MlBackend, Project, Webhook
from backend.labelstudio.client import LabelStudioClient
from backend.labelstudio.labelspec import LabelSpec
from backend.media.address import shown
from backend.media.decode import decode_picture
from backend.media.fetch import MediaFetcher
from backend.settings import Settings
from backend.vision.classes import ClassMatcher, ClassName

MADE_FOR = "1.23"

_GUARDS = (
    "A fresh Label Studio refuses private addresses: start it with ML_BLOCK_LOCAL_IP=false and "
    "SSRF_PROTECTION_ENABLED=false"
)
_STATES = {"CO": "connected", "DI": "disconnected", "ER": "in error", "TR": "training"}


def check_release(client: LabelStudioClient) -> Check:
    """Whether Label Studio answers, and is of the release the backend is made for."""
    release = client.version()
    if release == MADE_FOR or release.startswith(f"{MADE_FOR}."):
        return Check("Label Studio", "ok", f"Label Studio {release}.")
    return Check(
        "Label Studio",
        "warning",
        f"Label Studio {release or 'of an unknown release'}.",
        f"The backend is tested with {MADE_FOR}; others may behave differently.",
    )


def check_key(client: LabelStudioClient) -> Check:
    """Whether LABEL_STUDIO_API_KEY is there, of a usable kind and accepted."""
    kind = client.tokens.kind
    if kind == "none":
        return Check(
            "API key",
            "warning",
            "LABEL_STUDIO_API_KEY is empty: no uploads fetched, no late predictions pushed.",
            "Copy a personal access token from Label Studio's Account & Settings.",
        )
    user = client.whoami()
    words = {"personal": "personal access token", "legacy": "legacy token"}
    return Check("API key", "ok", f"{words.get(kind, kind)} of {user.email}, accepted.")


def check_backend(backends: Sequence[MlBackend], settings: Settings) -> Check:
    """Whether the project asks a backend, and this one: Label Studio asks the first alone."""
    name = "connection"
    if not backends:
        return Check(
            name,
            "problem",
            "No model is connected to the project.",
            f"Project settings, Model, Connect Model: http://<address of this backend>:"
            f"{settings.port}. {_GUARDS}, or connecting answers 403.",
        )
    first = backends[0]
    where = shown(first.url)
    if first.state not in ("CO", "TR"):
        return Check(
            name,
            "problem",
            f"{where} is {_STATES.get(first.state, first.state)}.",
            f"Label Studio must reach {where.rstrip('/')}/health within a second, with its "
            f"credentials. {_GUARDS}; after an upgrade a connected model is lost without a word.",
        )
    if _port(first.url) != settings.port:
        return Check(
            name,
            "warning",
            f"The project asks {where}, this backend listens on port {settings.port}.",
            "Fine behind a proxy or a port mapping; else disconnect the other model, "
            "as only the first one is ever asked.",
        )
    if len(backends) > 1:
        return Check(
            name,
            "warning",
            f"{where} is asked; {len(backends) - 1} more model(s) never are.",
            "Disconnect the others.",
        )
    return Check(name, "ok", f"{where} is connected as {first.title!r}.")


def check_webhook(
    webhooks: Sequence[Webhook], backends: Sequence[MlBackend], settings: Settings
) -> Check:
    """Whether submitted annotations are told to the backend."""
    name = "webhook"
    if not backends:
        return Check(name, "warning", "Is registered when a model is connected.", "Connect first.")
    backend = urlsplit(backends[0].url)
    host = backend.hostname or ""
    wanted = (host, _port(backends[0].url), backend.path.rstrip("/") + "/webhook")
    found = [hook for hook in webhooks if _target(hook.url) == wanted]
    if not found and not _may_be_webhook_host(host):
        return Check(
            name,
            "problem",
            f"None is registered: Label Studio accepts no webhook to {host!r}, a name without a "
            "dot.",
            "Connect the model under an IP address, a full host name or a network alias with a "
            "dot (backend.internal).",
        )
    if not found:
        return Check(
            name,
            "problem",
            f"None is registered for {shown(backends[0].url)}.",
            f"{_GUARDS}, then disconnect and connect the model again.",
        )
    hook = found[0]
    if not hook.is_active:
        return Check(name, "problem", "It is switched off.", "Project settings, Webhooks: on.")
    if settings.basic_auth_user and urlsplit(hook.url).username is None:
        return Check(
            name,
            "warning",
            "BASIC_AUTH_USER is set, the webhook's address holds no credentials.",
            "Label Studio does not send the model's basic authentication to webhooks: connect "
            "the model as http://user:password@host:port, or give the webhook an "
            "Authorization header.",
        )
    if not hook.all_actions and "ANNOTATION_CREATED" not in hook.actions:
        return Check(
            name,
            "warning",
            "It is not sent when an annotation is submitted.",
            "Project settings, Webhooks: send for all actions.",
        )
    return Check(name, "ok", f"{shown(hook.url)} is told what annotators do.")


def check_version(project: Project, backends: Sequence[MlBackend], expected: str) -> Check:
    """Whether Label Studio knows the version that would predict now."""
    name = "model version"
    if not backends:
        return Check(name, "ok", f"{expected} would predict.")
    known = backends[0].model_version
    if known != expected:
        return Check(
            name,
            "warning",
            f"Label Studio knows {known or 'none'}, {expected} would predict.",
            "It learns the new one when the project's Model page or a task is opened next.",
        )
    if is_ours(project.model_version) and project.model_version != expected:
        return Check(
            name,
            "warning",
            f"The project shows predictions of {project.model_version!r}, {expected} would "
            "predict.",
            "Wait where a refresh is under way; else `python -m backend heads use --project "
            f"{project.id} --number {expected.split('-')[1]}` has the predictions made anew and "
            "shown.",
        )
    if project.model_version not in (expected, backends[0].title):
        return Check(
            name,
            "warning",
            f"The project shows predictions of {project.model_version or 'no model'!r}.",
            f"Project settings, Annotation, Live predictions: choose {backends[0].title!r}.",
        )
    return Check(name, "ok", f"{expected}, known to Label Studio.")


def check_picture(task: Task, spec: LabelSpec, fetcher: MediaFetcher, settings: Settings) -> Check:
    """The way of one task's first picture, or of its video. Raises: MediaError."""
    if spec.films:
        return check_video(task, spec.films[0], fetcher, settings)
    name = "picture"
    for key in spec.data_keys:
        value = task.data.get(key)
        address = value[0] if isinstance(value, list) and value else value
        if not isinstance(address, str):
            continue
        start = time.perf_counter()
        encoded = fetcher.read(address, task.id)
        fetched = time.perf_counter()
        picture = decode_picture(encoded, max_pixels=settings.media_pixels)
        decoded = time.perf_counter()
        height, width = picture.size_hw
        return Check(
            name,
            "ok",
            f"Task {task.id}, {shown(address)}: {width}x{height}, {len(encoded)} bytes; "
            f"fetched in {1000 * (fetched - start):.0f} ms, decoded in "
            f"{1000 * (decoded - fetched):.0f} ms.",
        )
    return Check(
        name,
        "problem",
        f"Task {task.id} has no picture under {', '.join(spec.data_keys)}; its data has "
        f"{', '.join(task.data) or 'nothing'}.",
        'Let value="$…" of the <Image> name a key of the task\'s data.',
    )


def check_labels(spec: LabelSpec, task: Task | None, classes: Sequence[ClassName]) -> list[Check]:
    """Which classes of the model each label means; one check a control."""
    matcher = ClassMatcher(classes)
    checks = []
    for control in spec.active:
        labels = spec.labels_for(control, task.data if task is not None else {})
        shown_map, unmatched = [], []
        for label in labels:
            names = [classes[index].name for index in matcher.match(label.names)]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            shown_map.append(f"{label.value} = {', '.join(names[:3]) + more if names else '-'}")
            if not names:
                unmatched.append(label.value)
        name, detail = f"labels of {control.name}", "; ".join(shown_map) + "."
        if control.values is not None:
            told = "Answered from accepted values; nothing before they were learned."
            checks.append(Check(f"values of {control.name}", "ok", told))
        elif not labels:
            checks.append(
                Check(name, "problem", "There is no label.", "Add labels to the configuration.")
            )
        elif unmatched and (control.kind == "choices" or len(labels) > 1):
            without = "are never chosen" if control.kind == "choices" else "leave boxes unnamed"
            checks.append(
                Check(
                    name,
                    "warning",
                    f"{detail} Labels without a class {without} until something was learned.",
                    f'Give {unmatched[0]!r} predicted_values="name of a class,another".',
                )
            )
        else:
            only = " It means no class; as the only label, every box gets it." if unmatched else ""
            checks.append(Check(name, "ok", detail + only))
    return checks


def check_unserved(spec: LabelSpec) -> list[Check]:
    """Controls that are left to people, if there are any."""
    if not spec.unserved:
        return []
    return [
        Check(
            "configuration",
            "warning",
            f"Not predicted: {', '.join(spec.unserved)}.",
            "Nothing to do: people fill these in.",
        )
    ]


def _port(url: str) -> int:
    parts = urlsplit(url)
    try:
        return parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return 0


def _target(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    return parts.hostname or "", _port(url), parts.path.rstrip("/")


def _may_be_webhook_host(host: str) -> bool:
    if host == "localhost" or "." in host:
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
