"""How large batches were, as counters from which the server makes a histogram."""

from __future__ import annotations

BATCH_SIZES = "batch_pictures"
"""Counter of batches, labelled ``le``: the least of BATCH_EDGES that holds them."""

BATCH_EDGES = (1, 2, 4, 8, 16, 32, 64)

BEYOND = "+Inf"


def size_class(pictures: int) -> str:
    """The value of ``le`` for a batch of so many pictures."""
    return next((str(edge) for edge in BATCH_EDGES if pictures <= edge), BEYOND)
