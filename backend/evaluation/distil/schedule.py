"""How fast to learn, as a function of the images seen.

Warm-up, a long stable stretch, a short decay to zero. The stable stretch can be as long
as patience allows and be interrupted anywhere; the decay can be called for at any time
and is what turns the weights into their best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schedule:
    """All counts are images seen since the beginning of the run.

    peak: learning rate of the stable stretch. warmup: images until it is reached.
    decay_from, decay_to: beginning and end of the fall to zero; training ends at decay_to.
    """

    peak: float
    warmup: int
    decay_from: int
    decay_to: int

    def rate(self, seen: int) -> float:
        """Learning rate for the batch that begins after seen images."""
        rising = min(1.0, (seen + 1) / max(1, self.warmup))
        falling = (self.decay_to - seen) / max(1, self.decay_to - self.decay_from)
        return self.peak * min(rising, max(0.0, min(1.0, falling)))

    def finished(self, seen: int) -> bool:
        """Whether nothing is left to do."""
        return seen >= self.decay_to


def for_images(peak: float, warmup: int, total: int) -> Schedule:
    """A schedule of so many images; its last fifth is the decay."""
    return Schedule(peak, min(warmup, total // 10), round(total * 0.8), total)


def for_hours(peak: float, warmup: int, hours: float, images_per_s: float) -> Schedule:
    """A schedule that lasts so long at this speed."""
    return for_images(peak, warmup, max(1, round(hours * 3600 * images_per_s)))


def finish_within(schedule: Schedule, seen: int, minutes: float, images_per_s: float) -> Schedule:
    """The decay begins now and lasts so many minutes at this speed.

    A decay already under way keeps its height: the line to zero is drawn from there.
    """
    left = max(1, round(minutes * 60 * images_per_s))
    height = schedule.rate(seen) / schedule.peak if seen >= schedule.warmup else 1.0
    height = max(height, 1e-3)
    # rate(seen) = peak * left / (to - from) must equal peak * height.
    length = round(left / height)
    return replace(schedule, decay_from=seen + left - length, decay_to=seen + left)
