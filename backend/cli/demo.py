"""The `demo` command: the whole loop with a real Label Studio."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import typer
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.errors import ChildFailed, RequestError, UnknownName
from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.drawn import write_pictures
from backend.evaluation.labelstudio_server import LabelStudioServer, ensure_environment
from backend.evaluation.labelstudio_user import LabelStudioUser
from backend.settings import load_settings

TEMPLATES = Path(__file__).resolve().parents[2] / "plugin_config" / "label_configs"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
LABEL_STUDIO_PORT = 8080
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

console = Console(highlight=False)


def command(
    images: Path | None = typer.Option(
        None, "--images", help="Folder of pictures, with its subfolders; drawn ones without it."
    ),
    template: str | None = typer.Option(
        None,
        "--template",
        help="Labelling configuration of plugin_config/label_configs; without it one_label, "
        "for drawn pictures tight_boxes.",
    ),
    limit: int = typer.Option(24, "--limit", min=1, help="Most pictures taken."),
) -> None:
    """Start a real Label Studio with pictures, the backend and its predictions. Ctrl-C ends all.

    Example: python -m backend demo --images ~/photos
    """
    settings = load_settings()
    # Drawn figures have a colour of their own, which photographed animals rarely have.
    label_config = template_text(template or ("tight_boxes" if images is None else "one_label"))
    folder = settings.data_dir.resolve() / "demo"
    # Checked before the old run is removed and minutes are spent.
    chosen = None if images is None else pictures_in(images, limit)
    shutil.rmtree(folder, ignore_errors=True)
    paths = chosen or write_pictures(folder / "pictures", limit)
    with _ended_by_signals(), ExitStack() as running:
        try:
            _show(running, folder, settings.port, label_config, paths)
        except KeyboardInterrupt:
            for number in ENDING:  # a second Ctrl-C would leave the stopping half done
                signal.signal(number, signal.SIG_IGN)
            console.print("Stopping Label Studio and the backend …")
    console.print("Stopped.")


def template_text(name: str) -> str:
    """The labelling configuration of that name. Raises: UnknownName."""
    known = {path.stem: path for path in TEMPLATES.glob("*.xml")}
    if name not in known:
        raise UnknownName("template", name, known)
    return known[name].read_text("utf-8")


def pictures_in(folder: Path, limit: int) -> list[Path]:
    """At most limit picture files of a folder in the order of their names.

    Raises: RequestError when there is none.
    """
    found = sorted(
        path
        for path in folder.expanduser().rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not found:
        raise RequestError(
            f"There is no picture in {folder}.",
            f"Name a folder with files ending in {', '.join(sorted(SUFFIXES))}.",
        )
    return found[:limit]


def _show(
    running: ExitStack, folder: Path, port: int, label_config: str, paths: list[Path]
) -> None:
    with _step("Label Studio's own environment") as say:
        executable = ensure_environment(say=say)
    label_studio = LabelStudioServer(
        executable, folder / "labelstudio", port=_port(LABEL_STUDIO_PORT)
    )
    running.callback(label_studio.stop)
    with _step("Label Studio") as say:
        label_studio.start(say)
    account = label_studio.account
    backend = BackendProcess(
        folder / "backend",
        # Settings of the caller reach the backend, but never a Redis that is in use.
        env={
            **{name: value for name, value in os.environ.items() if name != "REDIS_URL"},
            "LABEL_STUDIO_URL": label_studio.url,
            "LABEL_STUDIO_API_KEY": account.token,
        },
        port=_port(port),
    )
    running.callback(backend.stop)
    with _step("Redis, workers, server") as say:
        backend.start(say)
    with LabelStudioUser(label_studio.url, account) as user:
        project_id = user.create_project("Demo", label_config)
        _upload(user, project_id, paths)
        with _step("Connecting the backend"):
            user.connect_backend(project_id, backend.url)
        with _step(f"Retrieving predictions of {len(paths)} tasks"):
            user.retrieve_predictions(project_id)
            predictions = user.predictions(project_id)
    regions = sum(len(prediction["result"]) for prediction in predictions)
    project_url = f"{label_studio.url}/projects/{project_id}/data"
    lines = [
        f"Project      {project_url}",
        f"Sign in as   {account.email}",
        f"Password     {account.password}",
        f"Backend      {backend.url}/docs",
        f"Predictions  {len(predictions)} of {len(paths)} tasks, {regions} regions",
        "",
        "Open a task, correct the boxes, submit. Ctrl-C ends everything.",
    ]
    # Printed without wrapping, so that address and password can be copied whole.
    console.print(Panel.fit("\n".join(lines), title="The demo runs"), soft_wrap=True)
    while backend.child.returncode is None and label_studio.is_running():
        time.sleep(0.5)
    raise ChildFailed(
        "Label Studio or the backend ended by itself.", f"Their logs are in {folder}."
    )


def _upload(user: LabelStudioUser, project_id: int, paths: list[Path]) -> None:
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("Uploading pictures", total=len(paths))
        user.upload(project_id, paths, lambda done: progress.update(bar, completed=done))


def _port(wanted: int) -> int | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return None
    return wanted


@contextmanager
def _step(name: str) -> Iterator[Callable[[str], None]]:
    """A line with a turning sign, the latest news behind it, and the time at its end."""
    began = time.monotonic()
    with console.status(name) as status:

        def say(news: str) -> None:
            status.update(f"{name} · {time.monotonic() - began:.0f} s  [dim]{_short(news)}[/dim]")

        yield say
    console.print(f"  [green]✓[/green] {name} ({time.monotonic() - began:.1f} s)")


def _short(news: str) -> str:
    room = max(20, console.width - 50)
    return news.strip()[:room].replace("[", r"\[")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A closed terminal or a polite kill ends the demo as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
