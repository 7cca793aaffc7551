"""The name of what made a prediction: model_version.

Label Studio compares the version that /setup reports with the one it stored for a task
and asks again where they differ, so the name has to change when predictions would, and
at no other time.
"""

from __future__ import annotations

import hashlib
import json
import re

from backend.domain import BackboneIdentity
from backend.settings import Settings
from backend.store.heads import NO_HEAD, HeadRef
from backend.vision.choice import stands_for

ALGORITHM = 4
"""Revision of the way from picture to boxes. Raise it with every change of saliency, priors,
box rules, preparation or regions that gives other predictions for the same input."""

_HASH_CHARS = 8
_OF_VIDEOS = ("video_key_iou", "video_part_looks", "video_classifier", "video_weights")
_OURS = re.compile(r"[A-Za-z0-9_]+-[0-9]+-[0-9a-f]{8}")


def backbone_identity(settings: Settings, published: BackboneIdentity | None) -> BackboneIdentity:
    """What a worker loaded, or what the settings promise before the first worker came.

    A published identity of another backbone is left over from before a change of BACKBONE
    and does not count.
    """
    if published is not None and published.name in stands_for(settings.backbone):
        return published
    return BackboneIdentity(name=settings.backbone, digest="", size_px=0)


def head_for(identity: BackboneIdentity, pointed: HeadRef) -> HeadRef:
    """The head that predictions use: none where it was trained on another backbone.

    Before the first worker has told its weights, the head is trusted.
    """
    if identity.digest and pointed.backbone_digest != identity.digest:
        return NO_HEAD
    return pointed


def model_version(
    identity: BackboneIdentity, head: HeadRef, config_fingerprint: str, settings: Settings
) -> str:
    """``<backbone>-<head number>-<hash>``, never empty.

    The hash covers all that predictions depend on beside the task: weights digest, input
    side, the head's own digest, fingerprint of the labelling configuration, default
    options, ``ALGORITHM``.
    """
    parts: list[object] = [
        ALGORITHM,
        identity.digest,
        identity.size_px,
        config_fingerprint,
        settings.score_threshold,
        settings.max_boxes,
    ]
    if head.number:
        parts.append(head.digest)
    # Left out where nobody changed them: the version of pictures stays what it was.
    fields = Settings.model_fields
    videos = {name: getattr(settings, name) for name in _OF_VIDEOS}
    if changed := {name: str(of) for name, of in videos.items() if of != fields[name].default}:
        parts.append(changed)
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
    return f"{identity.name}-{head.number}-{digest[:_HASH_CHARS]}"


def is_ours(version: str) -> bool:
    """Whether the name is of this form, so that a version of this backend may bear it."""
    return _OURS.fullmatch(version) is not None
