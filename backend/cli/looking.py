"""What the ways of `explain` share: pictures, and a network that knows the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.cli.preannotate import find_redis
from backend.domain import Picture
from backend.errors import ConfigError, MediaError
from backend.jobs.learner import HeadShelf, own_learner
from backend.jobs.project_classes import backbone_for
from backend.learning.versions import HeadVersions
from backend.media.decode import decode_picture
from backend.settings import Settings
from backend.store.connection import connect
from backend.store.heads import HeadStore
from backend.store.projects import ProjectStore
from backend.vision.backbones import Backbone, load_backbone
from backend.vision.kept_choices import KeptChoices
from backend.vision.questions import LabelQuery


@dataclass(frozen=True, slots=True)
class Knowing:
    """A backbone, and the label as it calls it. by: what knows the label, for people."""

    backbone: Backbone
    label: LabelQuery | None
    by: str

    def require_class(self) -> int:
        """The first class that the label means. Raises: ConfigError where it means none."""
        found = self.backbone.matcher.match(self.label.names) if self.label else ()
        if not found:
            name = self.label.value if self.label else ""
            raise ConfigError(
                f"{name!r} matches no class of {self.by}.",
                "Give its name in --predicted-values, or --project with a head that knows it.",
            )
        return found[0]


@dataclass(frozen=True, slots=True)
class Network:
    """Which network to load; what is None is as the settings say."""

    name: str | None
    weights: Path | None
    device: str | None

    def load(self, settings: Settings) -> Backbone:
        """Raises: as load_backbone."""
        # The weights of the settings are those of the settings' backbone.
        own = settings.backbone_weights if self.name in (None, settings.backbone) else None
        name, device = self.name or settings.backbone, self.device or settings.device
        choices = KeptChoices.under(settings.data_dir)
        return load_backbone(name, self.weights or own, device, settings.runtime, choices)


def knowing(
    settings: Settings, network: Network, project: int | None, label: str, called: Sequence[str]
) -> Knowing:
    """The network, or a project's head upon it where the head knows the label.

    called: what the network calls the label; nothing: the same.
    Raises: ConfigError for an unknown project, StoreUnavailable.
    """
    loaded = network.load(settings)
    backbone = loaded if project is None else _of_project(settings, project, loaded, label)
    if backbone is not loaded:
        return Knowing(backbone, LabelQuery(label, (label,)), f"the head of project {project}")
    query = LabelQuery(label, tuple(called) or (label,)) if label else None
    return Knowing(backbone, query, backbone.identity.name)


def read_picture(path: Path, max_pixels: int) -> Picture:
    """A picture file. Raises: ConfigError."""
    try:
        return decode_picture(path.read_bytes(), max_pixels=max_pixels)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}.", "Name a picture.") from None
    except MediaError as error:
        raise ConfigError(f"{path}: {error.what}", error.remedy) from None


def _of_project(settings: Settings, project: int, backbone: Backbone, label: str) -> Backbone:
    learner = own_learner(settings)
    with connect(find_redis(settings)) as connection:
        found = ProjectStore(connection).require(str(project))
        versions = HeadVersions(HeadStore(connection, most=settings.heads_kept))
        heads = HeadShelf(versions, learner.read_head)
        return backbone_for(backbone, learner, heads, found.project_id, found.head, label)
