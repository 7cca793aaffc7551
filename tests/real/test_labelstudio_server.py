"""The launcher: a template once, quick copies, nothing left running."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import psutil

from backend.evaluation.labelstudio_server import (
    ACCOUNT_FILE,
    LABEL_STUDIO_VERSION,
    TEMPLATE,
    Account,
    LabelStudioServer,
    ensure_environment,
    ensure_template,
)


def test_it_is_the_version_we_speak_to(labelstudio: LabelStudioServer) -> None:
    assert httpx.get(f"{labelstudio.url}/api/version").json()["release"] == LABEL_STUDIO_VERSION


def test_a_copy_of_the_template_starts_empty_and_ends_whole(tmp_path: Path) -> None:
    server = LabelStudioServer(ensure_environment(), tmp_path / "copy")
    assert not server.is_running()
    took_s = server.start()
    try:
        assert server.is_running()
        assert server.pid is not None
        process = psutil.Process(server.pid)
        headers = {"Authorization": f"Token {server.account.token}"}
        projects = httpx.get(f"{server.url}/api/projects/", headers=headers)
        assert projects.json()["count"] == 0
    finally:
        server.stop()
    assert not server.is_running()
    assert not process.is_running()
    assert took_s < 30  # a first start on the same machine takes longer than this
    server.stop()  # a second time does nothing


def test_the_account_is_kept_to_its_owner_and_its_secrets_out_of_prints() -> None:
    template = ensure_template(ensure_environment())
    assert template == TEMPLATE
    assert stat.S_IMODE((template / ACCOUNT_FILE).stat().st_mode) == 0o600
    account = Account.read(template)
    assert account.token not in repr(account)
    assert account.password not in repr(account)
    assert len(account.token) == 40
