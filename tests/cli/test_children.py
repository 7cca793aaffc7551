"""A child process reads the very settings of its parent."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.cli.children import ROOT, child_environment
from backend.settings import load_settings


def test_settings_travel_through_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "w.pth"
    weights.touch()
    own = load_settings(
        port=9191,
        workers=3,
        device="cuda:1",
        redis_url="unix:///tmp/a.sock",
        data_dir=tmp_path,
        backbone_weights=weights,
        label_studio_api_key="hunter2",
        allowed_hosts="a.example,10.0.0.0/8",
        predict_deadline_s=2.5,
    )
    environment = child_environment(own)
    assert environment["PYTHONPATH"].split(":")[0] == str(ROOT)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == own


def test_defaults_travel_too(monkeypatch: pytest.MonkeyPatch) -> None:
    own = load_settings(data_dir=Path("/d"))
    for name, value in child_environment(own).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == own
