"""Deleting predictions of versions that are no longer in use."""

from __future__ import annotations

from backend.jobs.versions import is_ours
from backend.labelstudio.client import LabelStudioClient


def prune_versions(client: LabelStudioClient, project_id: int, current: str) -> dict[str, int]:
    """Delete from Label Studio what older versions of ours predicted; how many of each.

    The current version and the one that the project shows stay.
    Raises: LabelStudioError.
    """
    shown = client.project(project_id).model_version
    old = [
        version
        for version in client.model_versions(project_id)
        if is_ours(version) and version not in (current, shown)
    ]
    deleted: dict[str, int] = {}
    for version in old:
        deleted[version] = client.delete_model_version(project_id, version)
        # Label Studio forgets on the way which backend predicts live.
        if client.project(project_id).model_version != shown:
            client.patch_project(project_id, {"model_version": shown})
    return deleted
