"""The demo shows a connected project with predictions, then ends without a trace."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from backend.evaluation.children import Child, bare_environment, free_port
from backend.evaluation.labelstudio_server import Account
from backend.evaluation.labelstudio_user import LabelStudioUser
from tests.real.projects import family

SHOWN = re.compile(r"(Project|Sign in as|Password|Predictions) +(\S+(?: of \d+)?)")


def test_the_demo_shows_the_whole_loop(
    tmp_path: Path, photos: list[Path], backbone: dict[str, str], until: Callable[..., None]
) -> None:
    demo = Child(
        "The demo",
        [
            *(sys.executable, "-m", "backend", "demo"),
            *("--images", str(photos[0].parent), "--limit", "5"),
        ],
        env=bare_environment(
            DATA_DIR=str(tmp_path / "data"),
            **backbone,
            DEVICE="cpu",
            WORKERS="1",
            PORT=str(free_port()),
            COLUMNS="120",
        ),
        log_path=tmp_path / "demo.log",
    )
    with demo:
        until(
            lambda: "Ctrl-C ends everything" in demo.tail() or demo.returncode is not None,
            timeout_s=120,
        )
        shown = dict(SHOWN.findall(demo.tail(100)))
        account = Account.read(tmp_path / "data" / "demo" / "labelstudio")
        assert shown["Sign in as"] == account.email
        assert shown["Password"] == account.password
        assert shown["Predictions"] == "5 of 5"
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/projects/(\d+)/data", shown["Project"])
        assert found is not None
        with LabelStudioUser(found[1], account) as user:
            (backend,) = user.backends(int(found[2]))
            predictions = user.predictions(int(found[2]))
        assert backend["state"] == "CO"
        assert len(predictions) == len({p["task"] for p in predictions}) == 5
        assert any(prediction["result"] for prediction in predictions)
        processes = family(demo.pid)
        assert len(processes) >= 5  # itself, Label Studio, up, Redis, a worker
        demo.signal(signal.SIGINT)
        assert demo.wait(40) == 0
        _, alive = psutil.wait_procs(processes[1:], timeout=10)
        assert [process.cmdline() for process in alive] == []
        assert demo.tail(1).endswith("Stopped.")


def test_a_folder_without_pictures_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see", "utf-8")
    demo = Child(
        "The demo",
        [sys.executable, "-m", "backend", "demo", "--images", str(tmp_path)],
        env=bare_environment(DATA_DIR=str(tmp_path / "data"), COLUMNS="200"),
        log_path=tmp_path / "demo.log",
    )
    with demo:
        assert demo.wait(30) != 0
    assert "There is no picture in" in demo.tail()
    assert "Traceback" not in demo.tail(100)
    assert not (tmp_path / "data" / "demo").exists()
