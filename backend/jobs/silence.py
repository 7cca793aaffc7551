"""Who has fallen silent: judged by signs of life that stop changing, and by nobody's clock.

When a sign came is told by Redis's clock, which may be set at any time, and then every
worker would look silent for hours, or a dead one alive. So only whether a sign is still the
same counts, and for how long is measured by the steady clock of the one who looks.
"""

from __future__ import annotations

from collections.abc import Mapping


class Silence:
    """Counts for how long each sign of life has been the same.

    most_step_s: a longer time between two looks counts as this much: while we could not look
    (Redis was away, this machine slept) nobody was silent for all that we know.
    """

    def __init__(self, most_step_s: float) -> None:
        self._most_step_s = most_step_s
        self._heard: dict[str, tuple[float, float]] = {}
        self._looked_s: float | None = None

    def look(self, signs: Mapping[str, float], now_s: float) -> dict[str, float]:
        """Seconds of silence by name.

        signs: the last one of each. now_s: seconds that only grow.
        """
        since_s = 0.0 if self._looked_s is None else now_s - self._looked_s
        step_s = min(since_s, self._most_step_s)
        self._looked_s = now_s
        heard = {}
        for name, sign in signs.items():
            before, silent_s = self._heard.get(name, (None, 0.0))
            heard[name] = (sign, silent_s + step_s if sign == before else 0.0)
        self._heard = heard
        return {name: silent_s for name, (_, silent_s) in heard.items()}
