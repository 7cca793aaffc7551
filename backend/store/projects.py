"""What Label Studio told about each project, for calls that do not tell it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from backend.errors import ConfigError
from backend.store import keys
from backend.store.heads import NO_HEAD, HeadRef, read_ref

_CONFIG_TTL_S = 30 * 24 * 3600


@dataclass(frozen=True)
class ProjectState:
    """A project as /setup described it.

    extra_params: the backend's parameters from Label Studio's model settings.
    hostname: Label Studio's own idea of its address. head: the one in use.
    """

    project_id: str
    label_config: str
    extra_params: Mapping[str, Any]
    hostname: str
    head: HeadRef = NO_HEAD


class ProjectStore:
    """Projects by id; ids are accepted with and without Label Studio's creation time."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    def remember_setup(
        self,
        project_id: str,
        *,
        label_config: str,
        extra_params: Mapping[str, Any],
        hostname: str,
    ) -> str:
        """Keep what a /setup call said, in place of what an earlier one said.

        Returns the labelling configuration that stood there before, "" where none did; of
        several calls at once exactly one is told of each change.
        """
        with self._redis.pipeline() as pipe:
            pipe.hget(keys.project(project_id), "label_config")
            pipe.hset(
                keys.project(project_id),
                mapping={
                    "label_config": label_config,
                    "extra_params": json.dumps(dict(extra_params)),
                    "hostname": hostname,
                },
            )
            pipe.sadd(keys.projects(), keys.project_id_of(project_id))
            former, *_ = pipe.execute()
        return "" if former is None else bytes(former).decode()

    def require(self, project_id: str) -> ProjectState:
        """The project. Raises: ConfigError where Label Studio never set it up here."""
        found = self.get(project_id)
        if found is None:
            known = ", ".join(self.all_ids()) or "none yet"
            raise ConfigError(
                f"Project {project_id} is not known here.",
                f"Connect the backend in its settings, Model. Known: {known}.",
            )
        return found

    def get(self, project_id: str) -> ProjectState | None:
        """The project, None when it was never set up; one round trip."""
        with self._redis.pipeline() as pipe:
            pipe.hgetall(keys.project(project_id))
            pipe.get(keys.head_pointer(project_id))
            fields, pointer = pipe.execute()
        if not fields:
            return None
        return ProjectState(
            project_id=keys.project_id_of(project_id),
            label_config=fields[b"label_config"].decode(),
            extra_params=json.loads(fields[b"extra_params"]),
            hostname=fields[b"hostname"].decode(),
            head=read_ref(pointer),
        )

    def put_config(self, fingerprint: str, xml: str) -> None:
        """Keep a labelling configuration for the jobs that name it, for a month from now."""
        self._redis.set(keys.config(fingerprint), xml, ex=_CONFIG_TTL_S)

    def get_config(self, fingerprint: str) -> str | None:
        """The labelling configuration, None when it is unknown or forgotten."""
        found: Any = self._redis.get(keys.config(fingerprint))
        return None if found is None else bytes(found).decode()

    def head(self, project_id: str) -> HeadRef:
        """The head in use, ``NO_HEAD`` where nothing was learned."""
        return read_ref(self._redis.get(keys.head_pointer(project_id)))

    def all_ids(self) -> list[str]:
        """Ids of all projects that were set up, numbers in order before names."""
        found: Any = self._redis.smembers(keys.projects())
        ids = [item.decode() for item in found]
        return sorted(ids, key=lambda item: (not item.isdigit(), len(item), item))
