"""The training run: batches in, a better student out, resumable at any time."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import structlog
import torch
from torch import Tensor, nn

from backend.evaluation.distil import checkpoint
from backend.evaluation.distil.losses import BoxReaders, LossWeights, MapScale, total_loss
from backend.evaluation.distil.measure import measure
from backend.evaluation.distil.photos import PhotoPool
from backend.evaluation.distil.prune import start_from_teacher
from backend.evaluation.distil.schedule import (
    Schedule,
    finish_within,
    for_hours,
    for_images,
)
from backend.evaluation.distil.student import (
    build_student,
    folded_copy,
    forward_with_taps,
    placed,
)
from backend.evaluation.distil.views import ViewOptions, Views, draw_views

log = structlog.get_logger(__name__)

RATE_STEPS = 20
"""Batches over which the speed is measured before a schedule is laid out."""


@dataclass(frozen=True)
class RunOptions:
    """Settings of one session of a run.

    folder: holds ``last.pt``, ``curve.jsonl``. total_images, hours: length of a new run;
    hours count where no images are given. finish_within_min: decay now and end.
    start: ``teacher`` (pruned from it) or ``random``. peak: highest learning rate.
    """

    folder: Path
    total_images: int | None = None
    hours: float = 6.0
    finish_within_min: float | None = None
    start: str = "teacher"
    peak: float = 3e-4
    warmup: int = 10_000
    seed: int = 0
    average_decay: float = 0.9995
    checkpoint_every_s: float = 300.0
    measure_every_images: int = 25_000
    log_every: int = 20
    prune_batches: int = 16
    views: ViewOptions = field(default_factory=ViewOptions)
    weights: LossWeights = field(default_factory=LossWeights)


class Trainer:
    """One run on one device.

    teacher: float32, evaluation mode, on the device. boxed, sharp: training pools on the
    device. held_out: pools by name to measure on. teacher_dtype: precision of the frozen
    forward; student_dtype: bfloat16 turns autocast on.
    """

    def __init__(
        self,
        options: RunOptions,
        teacher: nn.Module,
        boxed: PhotoPool,
        sharp: PhotoPool | None,
        held_out: dict[str, PhotoPool],
        teacher_dtype: torch.dtype = torch.bfloat16,
        student_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.options = options
        self.boxed, self.sharp, self.held_out = boxed, sharp, held_out
        self.device = boxed.rgb_u8.device
        self.teacher_dtype, self.student_dtype = teacher_dtype, student_dtype
        self.rng = torch.Generator().manual_seed(options.seed)
        torch.manual_seed(options.seed)
        self.student = placed(build_student(), self.device)
        self.teacher = placed(folded_copy(teacher, teacher_dtype), self.device)
        channels = self._tap_channels()
        self.scale = MapScale(channels).to(self.device)
        self.readers = BoxReaders(channels).to(self.device)
        self.steps, self.images, self.elapsed_s = 0, 0, 0.0
        self.schedule: Schedule | None = None
        self.notes: dict[str, Any] = {"start": options.start}
        if self.path.exists():
            self._resume()
        else:
            self._begin(teacher)

    @property
    def path(self) -> Path:
        """Where the state of the run is kept."""
        return self.options.folder / "last.pt"

    def run(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Trains until the schedule ends or stop() is true, and saves; measures at the end."""
        began = saved = time.monotonic()
        measured = self.images
        before_s, session_images = self.elapsed_s, 0
        planned = self.schedule is not None and self.options.finish_within_min is None
        deadline_s: float | None = None
        sums: dict[str, list[float]] = {}
        while not stop():
            if self.schedule is not None and planned and self.schedule.finished(self.images):
                break
            size, terms = self._step()
            session_images += size
            for name, value in terms.items():
                sums.setdefault(name, []).append(value)
            now = time.monotonic()
            self.elapsed_s = before_s + now - began
            speed = session_images / max(1e-6, now - began)
            session_steps = self.steps - self._first_step
            if not planned and session_steps >= RATE_STEPS:
                deadline_s = self._plan(speed, now)
                planned = True
            if self.steps % self.options.log_every == 0:
                if deadline_s is not None and self.schedule is not None:
                    minutes_left = max(0.0, deadline_s - now) / 60
                    self.schedule = finish_within(self.schedule, self.images, minutes_left, speed)
                self._log_curve(sums, speed)
                sums = {}
            if now - saved > self.options.checkpoint_every_s:
                self.save()
                saved = now
            if self.images - measured >= self.options.measure_every_images:
                self.measure()
                measured = self.images
        self.save()
        if self.schedule is not None and self.schedule.finished(self.images):
            self.measure()

    def measure(self) -> dict[str, dict[str, float]]:
        """Accuracy of the running average on the held-out pools, also written to the curve."""
        results = {
            name: measure(self.average, self.teacher, pool).as_dict()
            for name, pool in self.held_out.items()
        }
        self._write({"measured": results})
        log.info("backbone_measured", images=self.images, **results)
        return results

    def save(self) -> None:
        """Writes the state of the run."""
        checkpoint.save(
            self.path,
            checkpoint.RunState(
                model=self.student.state_dict(),
                average=self.average.state_dict(),
                extra={"scale": self.scale.state_dict(), "readers": self.readers.state_dict()},
                optimizer=self.optimizer.state_dict(),
                rng=self.rng.get_state(),
                schedule=self.schedule or Schedule(self.options.peak, self.options.warmup, 1, 1),
                steps=self.steps,
                images=self.images,
                elapsed_s=self.elapsed_s,
                notes=self.notes | {"planned": self.schedule is not None},
            ),
        )

    def _begin(self, teacher: nn.Module) -> None:
        if self.options.total_images is not None:
            self.schedule = for_images(
                self.options.peak, self.options.warmup, self.options.total_images
            )
        views = [self._draw() for _ in range(self.options.prune_batches)]
        if self.options.start == "teacher":
            start_from_teacher(self.student, teacher, [v.images for v in views], self.rng)
        with torch.no_grad():
            biggest = max(views, key=lambda v: v.images.shape[-1])
            self.scale.fit(forward_with_taps(teacher, biggest.images)[0])
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self._make_optimizer()
        self._first_step = 0
        log.info("backbone_training_begins", start=self.options.start, folder=str(self.path.parent))
        self.measure()
        self.save()

    def _resume(self) -> None:
        state = checkpoint.load(self.path)
        self.student.load_state_dict(state.model)
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self.average.load_state_dict(state.average)
        self.scale.load_state_dict(state.extra["scale"])
        self.readers.load_state_dict(state.extra["readers"])
        self._make_optimizer()
        self.optimizer.load_state_dict(state.optimizer)
        self.rng.set_state(state.rng)
        self.notes = state.notes
        planned = state.notes.get("planned")
        self.schedule = replace(state.schedule, peak=self.options.peak) if planned else None
        self.steps, self.images, self.elapsed_s = state.steps, state.images, state.elapsed_s
        self._first_step = self.steps
        log.info("backbone_training_resumes", images=self.images, hours=self.elapsed_s / 3600)

    def _make_optimizer(self) -> None:
        parameters = [*self.student.parameters(), *self.readers.parameters()]
        matrices = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": 0.01},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=self.options.peak,
        )

    def _plan(self, images_per_s: float, now: float) -> float | None:
        """Lays out the schedule once the speed is known; returns when a forced end is due."""
        minutes = self.options.finish_within_min
        if self.schedule is None:
            self.schedule = for_hours(
                self.options.peak, self.options.warmup, self.options.hours, images_per_s
            )
        if minutes is None:
            return None
        self.schedule = finish_within(self.schedule, self.images, minutes, images_per_s)
        return now + minutes * 60

    def _draw(self) -> Views:
        return draw_views(self.boxed, self.sharp, self.options.views, self.rng)

    def _step(self) -> tuple[int, dict[str, float]]:
        views = self._draw()
        images = views.images.contiguous(memory_format=torch.channels_last)
        seen = self.images
        rate = (
            self.schedule.rate(seen)
            if self.schedule is not None
            else self.options.peak * min(1.0, (seen + 1) / max(1, self.options.warmup))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.no_grad():
            teacher = forward_with_taps(self.teacher, images.to(self.teacher_dtype))
        autocast = self.student_dtype != torch.float32
        with torch.autocast(self.device.type, self.student_dtype, enabled=autocast):
            student = forward_with_taps(self.student, images)
        loss, terms = total_loss(
            views, student, teacher, self.scale, self.readers, self.options.weights
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimizer.step()
        self.steps += 1
        self.images += len(images)
        self._average()
        values = {name: float(value) for name, value in terms.items()}
        return len(images), values | {"total": float(loss.detach())}

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.options.average_decay, (1 + self.steps) / (10 + self.steps))
        own = cast(list[Tensor], list(self.student.parameters()))
        torch._foreach_lerp_(list(self.average.parameters()), own, 1 - decay)

    def _tap_channels(self) -> dict[int, int]:
        with torch.no_grad():
            probe = torch.zeros(1, 3, 32, 32, device=self.device)
            maps, _ = forward_with_taps(self.student, probe)
        return {tap: values.shape[1] for tap, values in maps.items()}

    def _log_curve(self, terms: dict[str, list[float]], speed: float) -> None:
        means = {name: round(sum(values) / len(values), 4) for name, values in terms.items()}
        rate = self.optimizer.param_groups[0]["lr"]
        self._write({"rate": rate, "images_per_s": round(speed, 1), "loss": means})

    def _write(self, values: dict[str, Any]) -> None:
        line = {
            "step": self.steps,
            "images": self.images,
            "hours": round(self.elapsed_s / 3600, 4),
            **values,
        }
        curve = self.options.folder / "curve.jsonl"
        curve.parent.mkdir(parents=True, exist_ok=True)
        with curve.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
