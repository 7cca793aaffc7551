"""As much of a Label Studio as pre-annotating takes: a project, its tasks, imports.

It keeps one byte a task, so that a million of them weigh nothing beside what is measured.
"""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

from backend.evaluation.loopback_server import LoopbackServer, QuietHandler

KEY = "0" * 40
"""The key it wants."""

_PAGE_MOST = 1000


class ListedProject(LoopbackServer):
    """Project 1 on a loopback port; a context manager.

    addresses: of the pictures, one a task. label_config: of the project.
    """

    def __init__(self, addresses: list[str], label_config: str) -> None:
        self._addresses = addresses
        self._label_config = label_config
        self._stored = bytearray(len(addresses))
        self._lock = threading.Lock()
        self.twice = 0
        """Predictions that were stored of a task that had one."""
        listed = self

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:  # noqa: N802 - named by http.server
                parts = urlsplit(self.path)
                if parts.path.rstrip("/") == "/api/tasks":
                    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                    self._reply(listed._page(query))
                else:
                    self._reply(listed._project())

            def do_POST(self) -> None:  # noqa: N802 - named by http.server
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._reply(listed._import(json.loads(body)))

            def _reply(self, value: dict[str, Any]) -> None:
                self.reply(json.dumps(value).encode(), "application/json")

        super().__init__(Handler)

    @property
    def stored(self) -> int:
        """Tasks that have a prediction."""
        return sum(self._stored)

    def _project(self) -> dict[str, Any]:
        return {
            "id": 1,
            "title": "listed",
            "label_config": self._label_config,
            "model_version": "",
            "created_at": "2026-01-01T00:00:00Z",
        }

    def _page(self, query: dict[str, str]) -> dict[str, Any]:
        """The first tasks without a prediction behind the one that the filters name."""
        items = json.loads(query["query"])["filters"]["items"]
        behind = next((item["value"] for item in items if item["operator"] == "greater"), 0)
        size = min(int(query["page_size"]), _PAGE_MOST)
        with self._lock:
            total = self._stored.count(0, behind)
            ids: list[int] = []
            at = self._stored.find(0, behind)
            while at >= 0 and len(ids) < size:
                ids.append(at + 1)
                at = self._stored.find(0, at + 1)
        tasks = [
            {"id": number, "project": 1, "data": {"image": self._addresses[number - 1]}}
            for number in ids
        ]
        return {"total": total, "tasks": tasks}

    def _import(self, predictions: list[dict[str, Any]]) -> dict[str, Any]:
        with self._lock:
            for prediction in predictions:
                at = prediction["task"] - 1
                self.twice += self._stored[at]
                self._stored[at] = 1
        return {"created": len(predictions)}
