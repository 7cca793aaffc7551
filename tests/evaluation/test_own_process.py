"""A process of its own: with its own environment, and ours as it was."""

from __future__ import annotations

import os

import psutil
import pytest

from backend.evaluation.own_process import own_process


def test_it_has_its_environment_and_none_of_ours_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "1")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with own_process({"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "PASSIVE"}) as process:
        assert os.environ["OMP_NUM_THREADS"] == "7"
        assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"
        assert "OMP_WAIT_POLICY" not in os.environ
        assert process.submit(os.getenv, "OMP_NUM_THREADS").result() == "3"
        assert process.submit(os.getenv, "OMP_WAIT_POLICY").result() == "PASSIVE"
        assert process.submit(os.getenv, "THP_MEM_ALLOC_ENABLE").result() is None
        pid = process.submit(os.getpid).result()
        assert pid != os.getpid()
        assert process.submit(os.getpid).result() == pid
    assert not psutil.pid_exists(pid)
