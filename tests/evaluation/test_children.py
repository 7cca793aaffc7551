"""Child processes: started with what they may know, ended with all they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from backend.errors import ChildFailed
from backend.evaluation.children import Child, bare_environment, free_port

STUBBORN_FAMILY = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("started", flush=True)
    time.sleep(600)
"""


def python(tmp_path: Path, code: str, name: str = "child") -> Child:
    return Child(
        name,
        [sys.executable, "-c", textwrap.dedent(code)],
        env=bare_environment(),
        log_path=tmp_path / f"{name}.log",
    )


def wait_until_says(child: Child, word: str) -> None:
    limit = time.monotonic() + 20
    while word not in child.tail():
        assert time.monotonic() < limit, child.tail()
        time.sleep(0.02)


def test_a_variable_of_ours_does_not_reach_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "1")
    with python(tmp_path, "import os; print(sorted(os.environ))") as child:
        assert child.wait(20) == 0
    assert "PORT" not in child.tail()
    assert "PATH" in child.tail()


@pytest.mark.slow
def test_stop_ends_a_family_that_ignores_interrupts(tmp_path: Path) -> None:
    child = python(tmp_path, STUBBORN_FAMILY)
    child.start()
    wait_until_says(child, "started")
    family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    assert len(family) == 2
    child.stop(grace_s=0.2)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
@pytest.mark.slow
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
                import time
                from pathlib import Path
                from tests.evaluation.test_children import python
                child = python(Path({str(tmp_path)!r}), "import time; time.sleep(600)")
                child.start()
                print(child.pid, flush=True)
                time.sleep(600)
            """),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        grandchild = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
        assert grandchild.wait(10) is None  # not our child, so only its end is known


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('no such folder')", "ended with status 1 while starting:\nno such"),
        ("import time; print('busy', flush=True); time.sleep(60)", "did not get ready within 1 s"),
    ],
    ids=["ends", "never answers"],
)
@pytest.mark.slow
def test_a_child_that_does_not_get_ready_is_told_with_its_output(
    tmp_path: Path, code: str, said: str
) -> None:
    with python(tmp_path, code) as child, pytest.raises(ChildFailed) as caught:
        child.wait_for_http(f"http://127.0.0.1:{free_port()}/", 1.0)
    assert said in str(caught.value)
    assert str(tmp_path) in caught.value.remedy


@pytest.mark.slow
def test_waiting_sees_the_answer_and_the_last_line(tmp_path: Path) -> None:
    port = free_port()
    child = Child(
        "web server",
        [sys.executable, "-u", "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        env=bare_environment(),
        log_path=tmp_path / "log",
        cwd=tmp_path,
    )
    heard: list[str] = []
    with child:
        child.wait_for_http(f"http://127.0.0.1:{port}/", 20.0, say=heard.append)
        with pytest.raises(ChildFailed, match="did not get ready"):
            child.wait_for_http(
                f"http://127.0.0.1:{port}/", 0.5, accept=lambda _: False, say=heard.append
            )
    assert any("Serving HTTP" in line or "GET /" in line for line in heard)
