"""One real Label Studio and one backend a session, both on free loopback ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from backend.evaluation.backend_process import BackendProcess
from backend.evaluation.children import bare_environment
from backend.evaluation.drawn import write_pictures
from backend.evaluation.labelstudio_server import (
    REPOSITORY,
    LabelStudioServer,
    ensure_environment,
)
from backend.evaluation.labelstudio_user import LabelStudioUser
from tests.real.picture_server import PictureServer
from tests.real.screens import open_browser

DATA = REPOSITORY.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Pictures of the documentation are made by the tests that see what they show."""
    parser.addoption(
        "--docs-images", action="store_true", help="Write the screenshots to docs/images."
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the real thing."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def labelstudio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioServer]:
    server = LabelStudioServer(ensure_environment(), tmp_path_factory.mktemp("labelstudio"))
    with server:
        yield server


@pytest.fixture(scope="session")
def user(labelstudio: LabelStudioServer) -> Iterator[LabelStudioUser]:
    with LabelStudioUser(labelstudio.url, labelstudio.account) as person:
        yield person


@pytest.fixture(scope="session")
def backbone() -> dict[str, str]:
    """The larger network where the machine has its weights, else the one that comes with us."""
    trained = DATA / "weights" / "mobilenet_v2_imagenet_f16.safetensors"
    if trained.exists():
        return {"BACKBONE": "mobilenet_v2", "BACKBONE_WEIGHTS": str(trained)}
    return {"BACKBONE": "embedded"}


@pytest.fixture(scope="session")
def backend_env(
    labelstudio: LabelStudioServer, backbone: dict[str, str], pictures: PictureServer
) -> dict[str, str]:
    """The settings every backend of the session has; nothing else leaks in."""
    return bare_environment(
        LABEL_STUDIO_URL=labelstudio.url,
        LABEL_STUDIO_API_KEY=labelstudio.account.token,
        **backbone,
        DEVICE="cpu",
        ALLOWED_HOSTS=pictures.host,
    )


@pytest.fixture(scope="session")
def backend(
    backend_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendProcess]:
    """Two workers, and time enough to finish every call of these tests within it."""
    env = {
        **backend_env,
        "WORKERS": "2",
        "PREDICT_DEADLINE": "60",
        "PREDICT_INLINE_TASKS": "1000",
    }
    with BackendProcess(tmp_path_factory.mktemp("backend"), env=env) as process:
        yield process


@pytest.fixture(scope="session")
def pictures() -> Iterator[PictureServer]:
    """Any number of different pictures by HTTP, as slow as wanted."""
    with PictureServer() as server:
        yield server


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty photos, drawn ones where there are none."""
    found = sorted((DATA / "raccoon" / "images").glob("*.jpg"))[:20]
    return found or write_pictures(tmp_path_factory.mktemp("drawn"), 20)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running
