"""The group `bench`: its questions, and what it refuses before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.cli import bench
from backend.cli.app import build_app
from backend.cli.measuring import svg_path, whole_numbers
from backend.errors import ConfigError
from tests.cli.test_app import run
from tests.evaluation.sets import write_set


def test_help_lists_every_question() -> None:
    told = run("bench", "--help")
    assert told.returncode == 0, told.stderr
    for name, entry in bench.COMMANDS.items():
        assert f" {name} " in told.stdout
        assert entry.help[:40] in told.stdout


@pytest.mark.parametrize("name", sorted(bench.COMMANDS))
@pytest.mark.slow
def test_each_question_shows_an_example(name: str) -> None:
    told = run("bench", name, "--help")
    assert told.returncode == 0, told.stderr
    assert f"Example: python -m backend bench {name}" in told.stdout


def test_every_question_can_be_imported() -> None:
    for name in bench.COMMANDS:
        build_app(["bench", name])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--accepted", "3"], "Ask for 0 to 2", id="more than half"),
        pytest.param(["--accepted", "a"], "no list of whole numbers", id="no number"),
        pytest.param(["--plot", "x.png"], "ends in .svg", id="a png"),
        pytest.param(["--format", "coco"], "Known: voc", id="unknown format"),
        pytest.param(["--accepted", "0", "--backbone", "mobilnet"], "mobilenet_v2", id="backbone"),
    ],
)
@pytest.mark.slow
def test_what_is_refused(tmp_path: Path, arguments: list[str], says: str) -> None:
    folder = write_set(tmp_path / "set", 4, (40, 40))
    told = run("bench", "accuracy", "--data", str(folder), *arguments)
    assert told.returncode == 2
    assert told.stdout == ""
    assert says in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("text", "numbers"), [("0", (0,)), ("50,0, 10,10,", (0, 10, 50)), ("7", (7,))]
)
def test_lists_of_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert whole_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", ",", "-1", "1.5", "x"])
def test_lists_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        whole_numbers(text)


def test_plots_are_svg() -> None:
    assert svg_path(None) is None
    assert svg_path(Path("a.SVG")) == Path("a.SVG")
    with pytest.raises(ConfigError):
        svg_path(Path("a.png"))
