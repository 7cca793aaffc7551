"""The backbone by which a name of a project is explained."""

from __future__ import annotations

from backend.jobs.learner import HeadShelf, Learner
from backend.jobs.versions import head_for
from backend.store.heads import HeadRef
from backend.vision.backbones import Backbone


def backbone_for(
    backbone: Backbone,
    learner: Learner,
    heads: HeadShelf,
    project_id: str,
    pointed: HeadRef,
    name: str,
) -> Backbone:
    """The backbone with what the project's head knows as its classes, if it knows this name.

    name: of a label, or of a control of values. pointed: the head in use. The backbone as
    it is where nothing was learned, where that was with other weights, or of other names.
    Raises: ConfigError for a head of an earlier release, which cannot explain its labels.
    """
    head = head_for(backbone.identity, pointed)
    if not head.number:
        return backbone
    return learner.explaining(backbone, heads.get(project_id, head.number), name)
