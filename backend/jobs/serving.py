"""Whether a worker can serve what was asked, and by which labelling configuration."""

from __future__ import annotations

from functools import lru_cache

from backend.errors import BackboneMismatch, JobError
from backend.jobs.payload import Carrier
from backend.jobs.process import Process
from backend.labelstudio.labelspec import LabelSpec, parse_label_config


def spec_of(process: Process, carrier: Carrier) -> LabelSpec:
    """The configuration that a carrier names, for weights that this process has.

    Raises: BackboneMismatch, JobError where the store has forgotten the configuration.
    """
    identity = process.backbone.identity
    if carrier.backbone_digest and carrier.backbone_digest != identity.digest:
        raise BackboneMismatch(
            f"A job for weights {carrier.backbone_digest} reached a worker that has "
            f"{identity.name} {identity.digest}.",
            "Give all workers the same BACKBONE and BACKBONE_WEIGHTS, then ask again.",
        )
    xml = process.projects.get_config(carrier.config_fingerprint)
    if xml is None:
        raise JobError(
            f"The labelling configuration {carrier.config_fingerprint} is not in the store.",
            "Ask for the predictions again; Redis may have been emptied.",
        )
    return _parsed(xml)


@lru_cache(maxsize=64)
def _parsed(xml: str) -> LabelSpec:
    """Job after job names the same few configurations."""
    return parse_label_config(xml)
