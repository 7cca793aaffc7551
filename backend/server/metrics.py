"""Counts and times for Prometheus.

The server's own stand in a registry of the application, not in the process-wide one. What
workers counted is read from Redis when asked for, so that one address tells of all machines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from backend.server.overview import Overview

PREFIX = "lsb_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 50.0, 95.0)
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


class ServerMetrics:
    """What one application counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            f"{PREFIX}http_requests",
            "Requests answered, by route, method and status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            f"{PREFIX}http_request_seconds",
            "Seconds to answer, by route.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._webhooks = Counter(
            f"{PREFIX}webhooks",
            "Webhook calls by action; unknown ones are `other`.",
            ("action",),
            registry=self._registry,
        )

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request; route is the template, not the path."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_webhook(self, action: str) -> None:
        """Count one webhook call."""
        self._webhooks.labels(action).inc()

    def render(self, overview: Overview) -> bytes:
        """All metrics in Prometheus' text format."""
        seen = CollectorRegistry()
        seen.register(_Seen(overview))
        return generate_latest(self._registry) + generate_latest(seen)


class _Seen(Collector):
    """An overview as metrics."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def collect(self) -> Iterable[Metric]:
        overview = self._overview
        up = GaugeMetricFamily(f"{PREFIX}redis_up", "Whether Redis answers.")
        up.add_metric((), 0.0 if overview.refusal else 1.0)
        yield up
        waiting = GaugeMetricFamily(f"{PREFIX}queue_jobs", "Jobs waiting.", labels=("queue",))
        for name, length in overview.queues.items():
            waiting.add_metric((name,), length)
        yield waiting
        if overview.refusal is None:  # zero workers would be a guess otherwise
            alive = GaugeMetricFamily(f"{PREFIX}workers", "Living workers.", labels=("state",))
            for state, count in overview.states().items():
                alive.add_metric((state,), count)
            yield alive
        yield from _counted(overview)


def _counted(overview: Overview) -> Iterable[Metric]:
    # Samples of one name may differ in their labels, which a family does not express: each
    # takes the union, and what is absent is empty, as Prometheus itself has it.
    by_name: dict[str, list[tuple[dict[str, str], int]]] = {}
    for (name, labels), amount in overview.counters.items():
        by_name.setdefault(name, []).append((dict(labels), amount))
    for name, samples in sorted(by_name.items()):
        label_names = sorted({label for labels, _ in samples for label in labels})
        family = CounterMetricFamily(
            PREFIX + _NOT_IN_NAMES.sub("_", name),
            "Counted by workers.",
            labels=[_NOT_IN_NAMES.sub("_", label) for label in label_names],
        )
        for told, amount in samples:
            family.add_metric([told.get(label, "") for label in label_names], amount)
        yield family
