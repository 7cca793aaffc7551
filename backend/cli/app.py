"""All commands by name, and the one place where their errors are told."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import typer

from backend.errors import BackendError, ConfigError
from backend.logs import configure_logs

PROGRAM = "python -m backend"


@dataclass(frozen=True, slots=True)
class Command:
    """module has a function ``command`` for typer. help: one line in the list of commands.

    group: the module has a table ``COMMANDS`` of further commands instead.
    """

    module: str
    help: str
    hidden: bool = False
    group: bool = False


COMMANDS = {
    "up": Command("backend.cli.up", "Start Redis, workers and server; Ctrl-C ends all."),
    "serve": Command("backend.cli.serve", "Start the server alone, against REDIS_URL."),
    "worker": Command("backend.cli.worker", "Start this machine's workers, against REDIS_URL."),
    "probe": Command("backend.cli.probe", "Tell a container engine whether all is well here."),
    "doctor": Command("backend.cli.doctor", "Check every hop and say what to do."),
    "preannotate": Command("backend.cli.preannotate", "Pre-annotate a whole project."),
    "sync": Command("backend.cli.sync", "Repair a project's ledger from Label Studio."),
    "train": Command("backend.cli.train", "Train a project's head now."),
    "heads": Command("backend.cli.heads", "List, use, export, import a project's heads."),
    "jobs": Command("backend.cli.jobs", "List failed jobs with their reasons, try them again."),
    "backup": Command("backend.cli.backup", "Keep projects, heads and ledgers in a file."),
    "restore": Command("backend.cli.restore", "Bring back what a backup kept."),
    "demo": Command("backend.cli.demo", "Show the whole loop with a real Label Studio."),
    "next": Command("backend.cli.next_tasks", "List the tasks to be done next."),
    "report": Command("backend.cli.report", "Tell what proposals saved a team."),
    "evaluate": Command("backend.cli.evaluate", "Measure the learning curve of a project."),
    "explain": Command("backend.cli.explain", "Draw where methods look for a label."),
    "bench": Command("backend.cli.bench", "Measure on labelled pictures.", group=True),
    "backbones": Command("backend.cli.backbones", "List the networks that BACKBONE may name."),
    "train-prior": Command(
        "backend.cli.train_prior", "Learn what a box of any class looks like.", hidden=True
    ),
    "settings": Command("backend.cli.settings", "List every setting with its default."),
    "train-backbone": Command(
        "backend.cli.train_backbone", "Train the backend's own small backbone."
    ),
    "export-backbone": Command(
        "backend.cli.export_backbone", "Write a trained backbone as weights.", hidden=True
    ),
    "collect-photos": Command(
        "backend.cli.collect_photos", "Pack photos for train-backbone.", hidden=True
    ),
    "worker-slot": Command("backend.cli.worker_slot", "One worker process.", hidden=True),
}


def main(arguments: Sequence[str]) -> NoReturn:
    """Run the command and leave the process: 0 when it went well, 2 when it was refused."""
    configure_logs("info", "text")  # to stderr; a command's result goes to stdout
    app = build_app(arguments)
    try:
        app(args=list(arguments), prog_name=PROGRAM)
    except BackendError as error:
        _refuse(error.what, error.remedy)
    except Exception as error:
        # Not imported for this alone: without it loaded the error is none of Redis's.
        store = sys.modules.get("redis")
        if store is None or not isinstance(error, store.RedisError):
            raise
        _refuse(f"Redis failed: {error}", "Check that it runs, then run this again.")
    sys.exit(0)


def _refuse(what: str, remedy: str) -> NoReturn:
    print(f"Error: {what}", file=sys.stderr)
    if remedy:
        print(remedy, file=sys.stderr)
    sys.exit(2)


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The application, with only those commands imported that the arguments name.

    Importing them all would make ``--help`` slow, and would let one that cannot be
    imported break the others.
    """
    app = typer.Typer(
        help="Pre-annotates in Label Studio with saliency maps and learns while a team works.\n\n"
        f"Example: {PROGRAM} up",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    _add(app, COMMANDS, arguments)
    return app


def _add(app: typer.Typer, commands: Mapping[str, Command], arguments: Sequence[str]) -> None:
    for name, entry in commands.items():
        if entry.group and name in arguments:
            group = typer.Typer(no_args_is_help=True)
            _add(group, importlib.import_module(entry.module).COMMANDS, arguments)
            app.add_typer(group, name=name, help=entry.help, hidden=entry.hidden)
            continue
        function = _imported(entry) if name in arguments else _unused
        app.command(name, short_help=entry.help, hidden=entry.hidden)(function)


def _imported(entry: Command) -> Callable[..., Any]:
    found: Callable[..., Any] = importlib.import_module(entry.module).command
    return found


def _unused() -> None:
    # Stands in the list of commands for one that was not asked for.
    raise ConfigError("This command was not loaded.", "Name it as the first argument.")
