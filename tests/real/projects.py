"""Labelling configurations of the tests and what they ask of a backend's processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import psutil

from backend.evaluation.backend_process import BackendProcess

ONE_LABEL = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image"><Label value="Figure"/></RectangleLabels>
</View>
"""


def family(pid: int) -> list[psutil.Process]:
    """A process and all it started, itself first."""
    first = psutil.Process(pid)
    return [first, *first.children(recursive=True)]


def worker_processes(backend: BackendProcess) -> list[psutil.Process]:
    """The workers of a backend that predict, one a slot."""
    return [
        process
        for process in family(backend.child.pid)[1:]
        if {"worker-slot", "predict"} <= set(process.cmdline())
    ]


def run_command(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A command of the backend, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "backend", *arguments],
        env={**env, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
