"""What BACKBONE may mean, known without loading any network.

``auto`` is the larger network where its weights can be had, else the one whose weights
come with this release. A network that is named is never replaced by another.
"""

from __future__ import annotations

AUTO = "auto"
PREFERRED = "mobilenet_v2"
EMBEDDED = "embedded"

BETTER = (
    "This small network comes with the backend; a larger one finds more. "
    "Let the workers reach torchvision's download once, or set BACKBONE_WEIGHTS to a file "
    f"with weights of {PREFERRED}, then restart all workers."
)
"""Told wherever the embedded network runs."""


def stands_for(setting: str) -> tuple[str, ...]:
    """Names of the networks that a value of BACKBONE accepts, the best first."""
    return (PREFERRED, EMBEDDED) if setting == AUTO else (setting,)


def hint(name: str) -> str | None:
    """How to get a better network than the one of this name, None where that is moot."""
    return BETTER if name == EMBEDDED else None
