"""The backend as a label-studio-ml model, for those who run that package's own server.

``label_studio_ml.api.init_app(SaliencyBackend)`` answers through the same queue and workers
as the backend's own server. Nothing else imports this module: label-studio-ml 1.0.9 brings
an old Flask, torch, and another start method for multiprocessing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import label_studio_ml.model
from label_studio_ml.model import LabelStudioMLBase, ModelWrapper

from backend.domain import Task
from backend.errors import StoreUnavailable
from backend.jobs.enqueue import Dispatcher, PredictCall
from backend.labelstudio.interaction import asked_context, drawn_already
from backend.settings import Settings, load_settings
from backend.store.connection import connect
from backend.store.embedded import running_url


class SaliencyBackend(LabelStudioMLBase):
    """Pre-annotates through the workers that share our Redis.

    Settings come from the environment; without REDIS_URL the Redis of a backend that
    runs under DATA_DIR is used.
    """

    def __init__(
        self,
        label_config: str | None = None,
        train_output: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            label_config=label_config, train_output=train_output, **kwargs
        )
        # The package names every model INITIAL, or after a training webhook's time, and
        # makes a wrapper for that right after this constructor.
        label_studio_ml.model.ModelWrapper = _NamedByItsModel  # type: ignore[misc]
        self._project_id = ""

    @property
    def model_version(self) -> str:
        """The same name that every prediction carries, or Label Studio would ask for ever.

        Raises: LabelConfigInvalid, StoreUnavailable.
        """
        return self._dispatcher.model_version(self._project_id, self.label_config or "")

    def predict(self, tasks: Sequence[Mapping[str, Any]], **kwargs: Any) -> list[Any]:
        """One prediction a task, in order; ``[]`` where there is none yet.

        Raises: LabelConfigInvalid, StoreUnavailable.
        """
        self._project_id = str(tasks[0].get("project") or "") if tasks else self._project_id
        ticket = self._dispatcher.begin(
            PredictCall(
                project_id=self._project_id,
                label_config=self.label_config or "",
                tasks=tuple(Task(task.get("id"), task.get("data") or {}) for task in tasks),
                queue="interactive" if len(tasks) == 1 else "predict",
                context=_context(tasks[0], kwargs.get("context")) if len(tasks) == 1 else None,
            )
        )
        settings = self._settings
        self._dispatcher.wait_blocking(
            ticket,
            settings.predict_deadline_s
            if settings.can_push
            else settings.predict_deadline_without_key_s,
        )
        replies = self._dispatcher.finish(ticket)
        return [[] if reply is None else json.loads(reply) for reply in replies]

    def fit(self, tasks: Any, workdir: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """What the package keeps as the result of training: the version in use."""
        return {"model_version": self.model_version if self.label_config else ""}

    @cached_property
    def _settings(self) -> Settings:
        return load_settings()

    @cached_property
    def _dispatcher(self) -> Dispatcher:
        url = self._settings.redis_url or running_url(self._settings.data_dir)
        if not url:
            raise StoreUnavailable(
                "REDIS_URL is empty, and no backend runs under DATA_DIR.",
                "Set REDIS_URL to the Redis of the workers, or start `python -m backend up`.",
            )
        return Dispatcher(self._settings, connect(url))


def _context(task: Mapping[str, Any], given: Any) -> Mapping[str, Any] | None:
    """What a smart tool marked on the task, with what is drawn on it already."""
    asked = asked_context(given)
    earlier = drawn_already(task.get("drafts"), task.get("annotations"))
    return asked and {**asked, "earlier": earlier}


class _NamedByItsModel(ModelWrapper):
    """label-studio-ml's holder of a model, whose version is the model's own."""

    @property
    def model_version(self) -> Any:
        return self.model.model_version

    @model_version.setter
    def model_version(self, given: Any) -> None:
        """The name that the package makes up is not used."""
