"""Counts and times for Prometheus.

The server's own stand in a registry of the application, not in the process-wide one. What
workers counted is read from Redis when asked for, so that one address tells of all machines.
Every label has few values: routes are templates, methods, actions and codes are known words;
neither projects nor tasks nor jobs are labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from backend import __version__
from backend.jobs.batch_sizes import BATCH_EDGES, BATCH_SIZES, BEYOND
from backend.server.overview import Overview, Tallies, states_of
from backend.store.counters import PACED, CounterKey

PREFIX = "lsb_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

COUNTED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "answers": ("Entries of replies to /predict, by outcome.", ("outcome",)),
    "batches": ("Forward passes.", ()),
    "cache_lookups": ("Tasks of /predict looked up among finished predictions.", ("result",)),
    "framerates_differ": ("Videos whose rate is not that of the configuration.", ()),
    "interactive": ("Answers to smart tools.", ()),
    "jobs_failed": ("Jobs that ended with an error.", ("queue", "code")),
    "pictures": ("Pictures seen by the network.", ()),
    "predictions_dropped": ("Predictions that Label Studio did not want.", ("reason",)),
    "predictions_pushed": ("Predictions written into Label Studio.", ()),
    "stage_ms": ("Seconds that workers spent, by stage.", ("stage",)),
    "tasks_failed": ("Tasks that could not be predicted, by reason.", ("code",)),
    "tasks_predicted": ("Tasks predicted.", ()),
    "training_ms": ("Seconds that trainings took.", ()),
    "trainings": ("Trainings that ended, by outcome.", ("outcome",)),
}
"""What server and workers count in Redis: what it means, its labels."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 50.0, 95.0)
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


class ServerMetrics:
    """What one application counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        build = Gauge(
            f"{PREFIX}build_info", "The running version.", ("version",), registry=self._registry
        )
        build.labels(__version__).set(1)
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
        yield _gauge("redis_up", "Whether Redis answers.", [((), 0 if overview.refusal else 1)])
        if overview.refusal is not None:
            return  # zero workers would be a guess
        waiting = {(name,): length for name, length in overview.queues.items()}
        yield _gauge("queue_jobs", "Jobs waiting.", waiting.items(), ("queue",))
        workers = {
            (kind, state): count
            for kind, alive in (("predict", overview.workers), ("train", overview.training))
            for state, count in states_of(alive).items()
        }
        yield _gauge("workers", "Living workers.", workers.items(), ("kind", "state"))
        if overview.tallies is not None:
            yield from _tallied(overview.tallies)


def _tallied(tallies: Tallies) -> Iterable[Metric]:
    failed = {(name,): count for name, count in tallies.failed.items()}
    yield _gauge("failed_jobs", "Failed jobs kept to be tried again.", failed.items(), ("queue",))
    told = "Predictions that Label Studio has not taken yet."
    yield _gauge("predictions_to_push", told, [((), tallies.to_push)])
    one = tallies.acceptance
    pictures = {("untouched",): one.untouched, ("edited",): one.pictures - one.untouched}
    told = "Predicted pictures that people reviewed, all projects."
    yield _gauge("reviewed_pictures", told, pictures.items(), ("outcome",))
    boxes = {(name,): getattr(one, name) for name in ("kept", "changed", "rejected", "missed")}
    told = "Boxes that people reviewed, all projects; missed ones were not proposed."
    yield _gauge("reviewed_boxes", told, boxes.items(), ("outcome",))
    yield _batch_sizes(tallies.counters)
    yield from _counted(tallies.counters)


def _gauge(
    name: str,
    told: str,
    samples: Iterable[tuple[Sequence[str], float]],
    labels: tuple[str, ...] = (),
) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, told, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _batch_sizes(counters: Mapping[CounterKey, int]) -> Metric:
    buckets, total = [], 0
    for edge in (*map(str, BATCH_EDGES), BEYOND):
        total += counters.get((BATCH_SIZES, (("le", edge),)), 0)
        buckets.append((edge, float(total)))
    family = HistogramMetricFamily(PREFIX + BATCH_SIZES, "Pictures in a forward pass.")
    family.add_metric((), buckets, sum_value=float(counters.get((PACED, ()), 0)))
    return family


def _counted(counters: Mapping[CounterKey, int]) -> Iterable[Metric]:
    # Samples of one name may differ in their labels, which a family does not express: each
    # takes the union, and what is absent is empty, as Prometheus itself has it.
    by_name: dict[str, list[tuple[dict[str, str], int]]] = {name: [] for name in COUNTED}
    for (name, labels), amount in counters.items():
        if name != BATCH_SIZES:
            by_name.setdefault(name, []).append((dict(labels), amount))
    for name, samples in sorted(by_name.items()):
        told, usual = COUNTED.get(name, ("Counted by workers of another release.", ()))
        label_names = sorted({*usual, *(label for labels, _ in samples for label in labels)})
        milliseconds = name.endswith("_ms")
        shown = f"{name.removesuffix('_ms')}_seconds" if milliseconds else name
        family = CounterMetricFamily(
            PREFIX + _NOT_IN_NAMES.sub("_", shown),
            told,
            labels=[_NOT_IN_NAMES.sub("_", label) for label in label_names],
        )
        if not samples and not label_names:
            samples = [({}, 0)]
        for of_sample, amount in samples:
            number = amount / 1000 if milliseconds else amount
            family.add_metric([of_sample.get(label, "") for label in label_names], number)
        yield family
