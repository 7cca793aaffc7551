"""Images a second of the whole backend and of its parts, beside the limit and other ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from backend.domain import FloatArray, iou_matrix
from backend.evaluation import plain_ways, tuned_ways
from backend.evaluation.figures import Figures
from backend.evaluation.own_process import own_process
from backend.evaluation.picture_server import PictureServer
from backend.evaluation.samples import Samples, quotient
from backend.evaluation.served_backend import LABEL, ServedBackend, label_config
from backend.evaluation.speed_pictures import marked
from backend.evaluation.subject import Subject, Taken
from backend.jobs.slots import Slot, slot_environment
from backend.settings import Settings
from backend.vision.boxes.quantile_grabcut import GrabCutOptions

BATCHES = (1, 8, 32)
"""Numbers of pictures in a forward pass among which the best one counts."""

NAIVE_PICTURES = 16
"""Of a round, for what is done one picture at a time."""

_BARE = ("eager", "forward")
_LIBRARIES = {"gradcam": plain_ways.GRAD_CAM, "torchcam": plain_ways.TORCH_CAM}
_GRADIENT = "gradient"
_GRABCUT_PX = GrabCutOptions().side_px
_SAME_IOU = 0.9
T = TypeVar("T")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """tasks: of one call. pictures: of a round for all that runs in process. rounds: counted.

    method: a saliency method. gradient: whether its pipeline is measured as well.
    """

    tasks: int = 400
    pictures: int = 32
    rounds: int = 5
    method: str = "cam"
    gradient: bool = True

    @property
    def steps(self) -> int:
        """Of a bar, at most."""
        return (self.rounds + 1) * (len(BATCHES) + 5 + self.gradient)


def measure_throughput(
    subject: Subject, files: Sequence[bytes], plan: Plan, settings: Settings, say: Say
) -> Figures:
    """All figures, each way once a round, so that what disturbs the machine disturbs all.

    files: JPEG pictures. settings: of the backend that is started, with a folder and a port
    of its own. say: told what is measured next.
    Raises: ChildFailed where the backend leaves a task without a prediction.
    """
    slot = Slot(0, subject.device, subject.threads)
    with ExitStack() as stack:
        pictures = stack.enter_context(PictureServer(files))
        plain = stack.enter_context(own_process({"OMP_NUM_THREADS": str(subject.threads)}))
        tuned = stack.enter_context(own_process(slot_environment(slot)))
        settings = settings.model_copy(update={"allowed_hosts": (pictures.host,)})
        backend = stack.enter_context(ServedBackend(settings, [slot]))
        bench = _Bench(
            subject,
            plan,
            files,
            pictures,
            _Side(subject, plain),
            _Side(subject, tuned),
            backend,
            settings.batch_pictures,
            settings.data_dir / "in-process",
            say,
        )
        for number in range(plan.rounds + 1):
            bench.round(number)
        return bench.result()


@dataclass(frozen=True, slots=True)
class _Side:
    """A process that runs one side of the comparison."""

    subject: Subject
    process: Executor

    def run(self, way: Callable[..., T], *arguments: Any) -> T:
        """What a way gives for the subject."""
        return self.process.submit(way, self.subject, *arguments).result()

    def has(self, library: str) -> bool:
        """Whether a library of others is installed."""
        return self.process.submit(plain_ways.installed, library).result()


@dataclass
class _Bench:
    """The rounds of one measurement; the first one warms everything up and does not count.

    batch: pictures that a worker looks at together. folder: of features, in process.
    """

    subject: Subject
    plan: Plan
    files: Sequence[bytes]
    pictures: PictureServer
    plain: _Side
    tuned: _Side
    backend: ServedBackend
    batch: int
    folder: Path
    say: Say
    samples: Samples = field(default_factory=Samples)
    forward_error: float = 0.0
    same_boxes: float = 1.0

    def round(self, number: int) -> None:
        """Every way once."""
        taken = Samples() if number == 0 else self.samples
        files = tuple(
            marked(self.files[at % len(self.files)], f"{number}/{at}")
            for at in range(self.plan.pictures)
        )
        self._bare(files, taken)
        boxes = self._in_process(files, taken)
        results = self._whole(number, taken)
        self.same_boxes = min(self.same_boxes, agreement(results, boxes))
        self._naive(number, taken)
        if self.plan.gradient:
            self._gradients(files, taken)

    def result(self) -> Figures:
        """The medians, their quotients, and what they were taken on."""
        median, best = self.samples.median, self.samples.best
        eager, forward = (best([f"{way}_{batch}" for batch in BATCHES]) for way in _BARE)
        eager_s, forward_s, whole_s = median(eager), median(forward), median("whole")
        naive_s, inprocess_ms = median("naive"), median("inprocess")
        figures = {
            "eager_images_s": eager_s,
            "forward_images_s": forward_s,
            "forward_over_eager": quotient(forward_s, eager_s),
            "whole_images_s": whole_s,
            "whole_over_forward": quotient(whole_s, forward_s),
            "naive_images_s": naive_s,
            "whole_over_naive": quotient(whole_s, naive_s),
            "inprocess_ms": inprocess_ms,
            "gradcam_ms": median("gradcam"),
            "torchcam_ms": median("torchcam"),
            "gradcam_over_inprocess": quotient(median("gradcam"), inprocess_ms),
            "torchcam_over_inprocess": quotient(median("torchcam"), inprocess_ms),
        }
        if self.plan.gradient:
            figures |= {
                "gradient_images_s": median("gradient"),
                "plain_gradient_images_s": median("plain_gradient"),
                "gradient_over_plain": quotient(median("gradient"), median("plain_gradient")),
                "gradient_over_plain_bounded": quotient(
                    median("gradient"), median("plain_gradient_bounded")
                ),
            }
        about = {
            "backbone": self.subject.backbone,
            "method": self.plan.method,
            "threads": self.subject.threads,
            "rounds": self.plan.rounds,
            "tasks": self.plan.tasks,
            "pictures": self.plan.pictures,
            "picture_kib": round(np.mean([len(one) for one in self.files]) / 1024, 1),
            "batch": self.batch,
            "eager_batch": int(eager.rpartition("_")[2]),
            "forward_batch": int(forward.rpartition("_")[2]),
            "forward_error": round(self.forward_error, 5),
            "same_boxes": round(self.same_boxes, 3),
            **self.tuned.run(tuned_ways.describe),
        }
        heading = (
            f"{self.subject.backbone} at {about['side_px']} px, {about['runtime']}, "
            f"{self.subject.threads} threads, {self.plan.method}, medians of {self.plan.rounds}"
        )
        return Figures(figures, about, heading)

    def _bare(self, files: tuple[bytes, ...], taken: Samples) -> None:
        for batch in BATCHES:
            self.say(f"forward pass of {batch}")
            eager = self.plain.run(plain_ways.eager, files, batch)
            forward = self.tuned.run(tuned_ways.forward, files, batch)
            taken.add(f"eager_{batch}", len(files) / eager.seconds)
            taken.add(f"forward_{batch}", len(files) / forward.seconds)
            self.forward_error = max(self.forward_error, _difference(forward, eager))

    def _in_process(self, files: tuple[bytes, ...], taken: Samples) -> list[FloatArray]:
        self.say("maps and boxes in process")
        ours = self.tuned.run(
            tuned_ways.find_boxes, files, self.batch, self.plan.method, LABEL, self.folder
        )
        taken.add("inprocess", ours.seconds / len(files) * 1000)
        for name, library in _LIBRARIES.items():
            if self.plain.has(library):
                self.say(f"maps and boxes by {name}")
                theirs = self.plain.run(plain_ways.library_boxes, files, self.batch, library)
                taken.add(name, theirs.seconds / len(files) * 1000)
        return list(ours.boxes_xyxy_px)

    def _whole(self, number: int, taken: Samples) -> list[Any]:
        self.say(f"{self.plan.tasks} tasks by the whole backend")
        addresses = self.pictures.addresses(f"whole-{number}", self.plan.tasks)
        tasks = [{"id": at, "data": {"image": one}} for at, one in enumerate(addresses, 1)]
        answered = self.backend.predict(tasks, label_config(self.plan.method))
        taken.add("whole", len(tasks) / answered.seconds)
        return answered.results

    def _naive(self, number: int, taken: Samples) -> None:
        if not self.plain.has(plain_ways.GRAD_CAM):
            return
        self.say("the naive way")
        addresses = self.pictures.addresses(f"naive-{number}", NAIVE_PICTURES)
        naive = self.plain.run(plain_ways.naive, addresses)
        taken.add("naive", len(addresses) / naive.seconds)

    def _gradients(self, files: tuple[bytes, ...], taken: Samples) -> None:
        self.say("gradients and GrabCut")
        ours = self.tuned.run(
            tuned_ways.find_boxes, files, self.batch, _GRADIENT, LABEL, self.folder
        )
        taken.add("gradient", len(files) / ours.seconds)
        few = files[:NAIVE_PICTURES]
        for name, side_px in (
            ("plain_gradient", None),
            ("plain_gradient_bounded", _GRABCUT_PX),
        ):
            plain = self.plain.run(plain_ways.gradient_boxes, few, side_px)
            taken.add(name, len(few) / plain.seconds)


def agreement(results: Sequence[Any], boxes_xyxy_px: Sequence[FloatArray]) -> float:
    """Share of pictures whose served boxes are those found in process, each at IoU 0.9.

    results: entries of a reply; the first ones are compared, as many as both have.
    """
    pairs = list(zip(results, boxes_xyxy_px, strict=False))
    same = 0
    for entry, expected in pairs:
        served = np.array([_box_px(region) for region in entry["result"]], np.float32)
        if len(served) == len(expected):
            overlap = iou_matrix(served.reshape(-1, 4), expected)
            same += bool((overlap.max(1, initial=0) >= _SAME_IOU).all())
    return same / len(pairs)


def _box_px(region: dict[str, Any]) -> tuple[float, float, float, float]:
    value = region["value"]
    wide, high = region["original_width"] / 100, region["original_height"] / 100
    x0, y0 = value["x"] * wide, value["y"] * high
    return x0, y0, x0 + value["width"] * wide, y0 + value["height"] * high


def _difference(one: Taken, other: Taken) -> float:
    """Relative difference of cells (Frobenius norm)."""
    if one.cells_chw is None or other.cells_chw is None:
        return 0.0
    apart = np.linalg.norm(one.cells_chw - other.cells_chw)
    return float(apart / max(float(np.linalg.norm(other.cells_chw)), 1e-12))
