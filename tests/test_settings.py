"""Settings: read once, all problems named, documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend.cli.settings import BEGIN, END, PAGES, filled, markdown, rows
from backend.errors import SettingsInvalid
from backend.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]


def test_defaults_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in rows():
        monkeypatch.delenv(row["variable"], raising=False)
    settings = load_settings()
    assert settings.port == 9090
    assert settings.predict_deadline_s == 20.0
    assert not settings.can_push


def test_environment_is_read_and_empty_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8123")
    monkeypatch.setenv("ALLOWED_HOSTS", "Minio:9000, 10.0.0.0/8,")
    monkeypatch.setenv("WORKERS", "")
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://ls.example/sub/")
    settings = load_settings()
    assert settings.port == 8123
    assert settings.allowed_hosts == ("minio:9000", "10.0.0.0/8")
    assert settings.workers == "auto"
    assert settings.label_studio_url == "http://ls.example/sub"


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "PORT": "70000",
        "WORKERS": "many",
        "DEVICE": "tpu",
        "LOG_LEVEL": "loud",
        "REDIS_URL": "http://redis",
        "BACKBONE_WEIGHTS": "/nowhere/weights.pth",
        "PREDICT_DEADLINE": "-1",
    }
    for variable, value in wrong.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid) as caught:
        load_settings()
    message = str(caught.value)
    for variable, value in wrong.items():
        assert message.count(f"{variable}=") == 1, message
        assert value in message
    assert "65535" in message
    assert "docs/settings.md" in message


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIC_AUTH_PASS", "hunter2-hunter2")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "0123456789abcdef")
    with pytest.raises(SettingsInvalid, match="set together") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("BASIC_AUTH_USER", "someone")
    shown = repr(load_settings())
    assert "hunter2" not in shown
    assert "0123456789abcdef" not in shown


def test_a_password_in_a_wrong_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://someone:hunter2@redis:6379/0")
    with pytest.raises(SettingsInvalid) as caught:
        load_settings()
    assert "REDIS_URL='http://***@redis:6379/0'" in str(caught.value)


@pytest.mark.parametrize(
    ("workers", "gpus", "cores", "expected"),
    [("auto", 0, 1, 1), ("auto", 0, 2, 2), ("auto", 0, 64, 4), ("auto", 8, 64, 8), (3, 8, 2, 3)],
)
def test_worker_count(workers: str | int, gpus: int, cores: int, expected: int) -> None:
    assert load_settings(workers=workers).worker_count(gpus, cores) == expected


def test_every_setting_is_described_and_the_pages_show_them() -> None:
    for row in rows():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]+", row["variable"])
        assert row["description"].endswith("."), row
    for page, only in PAGES.items():
        text = page.read_text("utf-8")
        assert filled(text, markdown(only)) == text, f"{page.name}: run `make docs`"


def test_tables_are_filled_between_their_marks() -> None:
    assert filled(f"head\n{BEGIN}\nold\n{END}\ntail", "new") == f"head\n{BEGIN}\nnew\n{END}\ntail"


HANDS_ON = {
    "backend/cli/children.py",
    "backend/evaluation/children.py",
    "backend/evaluation/own_process.py",
}
"""They give a child process the environment it was started from; they take no option from it."""


def test_nothing_else_reads_the_environment() -> None:
    readers = re.compile(r"os\.environ\[|os\.environ\.get|os\.getenv|environ\.get")
    guilty = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "backend").rglob("*.py"))
        if path.name != "settings.py" and readers.search(path.read_text("utf-8"))
    ]
    assert set(guilty) <= HANDS_ON


def test_aliases_are_unique() -> None:
    aliases = [info.alias for info in Settings.model_fields.values()]
    assert len(set(aliases)) == len(aliases)
