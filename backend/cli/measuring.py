"""What the measuring commands share: their options, their bar, their results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.errors import ConfigError

DATA = typer.Option(..., "--data", help="Folder of pictures with their true boxes.")
FORMAT = typer.Option("voc", "--format", help="How the boxes are written.")
SEEDS = typer.Option(3, "--seeds", min=1, help="Random draws to take the mean of.")
BACKBONE = typer.Option("mobilenet_v2", "--backbone", help="`backbones` lists the names.")
WEIGHTS = typer.Option(None, "--weights", exists=True, dir_okay=False, help="Its weights file.")
DEVICE = typer.Option("auto", "--device", help="auto, cpu, cuda or cuda:N.")
CACHE = typer.Option(None, "--cache", file_okay=False, help="Folder to keep features in.")
PICTURES = typer.Option(
    None, "--data", exists=True, file_okay=False, help="Folder of JPEG files; else drawn ones."
)
THREADS = typer.Option(1, "--threads", min=1, help="Threads of the arithmetic, on both sides.")
TASKS = typer.Option(400, "--tasks", min=1, max=1600, help="Tasks of the large call.")
METHOD = typer.Option(
    "cam", "--method", help="Saliency method; objects is what the product does unless told."
)
ROUNDS = typer.Option(5, "--rounds", min=1, help="Rounds of which the median counts.")
AS_JSON = typer.Option(False, "--json", help="Print one JSON object.")
PLOT = typer.Option(None, "--plot", dir_okay=False, help="Write the curves as SVG.")

DISTINCT = 32
"""Files of which the pictures of a measurement of speed are made."""


class Result(Protocol):
    """What a measurement gives."""

    def as_dict(self) -> dict[str, Any]: ...
    def told(self) -> str: ...


class Plotted(Result, Protocol):
    """The same where there are curves."""

    def plot(self) -> str: ...


class Steps:
    """A bar on stderr.

    fetched: a picture was fetched. forward: pictures went through the network. step: what
    comes next.
    """

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._bar = progress.add_task("", total=total, pictures=0)
        self._pictures = 0
        self._begun = False

    def expect(self, total: int) -> None:
        self._progress.update(self._bar, total=total)

    def fetched(self) -> None:
        self._progress.update(self._bar, description="fetching pictures", advance=1)

    def forward(self, count: int) -> None:
        self._pictures += count
        self._progress.update(self._bar, pictures=self._pictures)

    def step(self, told: str) -> None:
        self._progress.update(self._bar, description=told, advance=int(self._begun))
        self._begun = True


@contextmanager
def steps(total: int) -> Iterator[Steps]:
    """The bar, shown where stderr is a terminal."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pictures]} pictures looked at"),
        TextColumn("{task.description}"),
    )
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        yield Steps(progress, total)


def show(result: Plotted, machine: dict[str, Any], as_json: bool, plot: Path | None) -> None:
    """Print the result and write its plot. machine: told in JSON beside the figures."""
    if plot is not None:
        write_text(plot, result.plot())
    tell(result, machine, as_json)


def tell(result: Result, machine: dict[str, Any], as_json: bool) -> None:
    """Print the result. machine: as for ``show``."""
    print(json.dumps({**result.as_dict(), **machine}) if as_json else result.told())


def write_text(path: Path, text: str) -> None:
    """Write a file. Raises: ConfigError where that is not possible."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same of bytes."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}.", "Name another place.") from None


def svg_path(plot: Path | None) -> Path | None:
    """The path as it is. Raises: ConfigError before any work where it is no .svg."""
    if plot is not None and plot.suffix.lower() != ".svg":
        raise ConfigError(f"{plot} is no SVG.", "Name a file that ends in .svg.")
    return plot


def whole_numbers(text: str) -> tuple[int, ...]:
    """ "0,10,50" as sorted numbers, each once. Raises: ConfigError."""
    try:
        numbers = sorted({int(part) for part in text.split(",") if part.strip()})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 0:
        raise ConfigError(f"{text!r} is no list of whole numbers.", "Write 0,10,50.")
    return tuple(numbers)
