"""The weights that torchvision publishes: from its cache, or downloaded into it."""

from __future__ import annotations

import http.client
import pickle
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from torch import Tensor

from backend.errors import WeightsUnavailable
from backend.vision.torchvision_door import load_torchvision

log = structlog.get_logger(__name__)

_SILENCE_S = 30.0
_FAILURES = (
    OSError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    http.client.HTTPException,
)


def published_tensors(name: str, patience_s: float | None = None) -> dict[str, Tensor]:
    """The first published weights of a network of torchvision, by its names.

    patience_s: how long a download may take before it counts as impossible; it goes on
        behind the scenes and serves the next start. None: as long as bytes come.
    Raises: WeightsUnavailable, with both ways to have them.
    """
    # The first ones, because later recipes raise the accuracy by label smoothing and by
    # mixing pictures, which blurs class activation maps.
    published = load_torchvision().models.get_model_weights(name).IMAGENET1K_V1

    def get() -> dict[str, Tensor]:
        tensors: Mapping[str, Tensor] = published.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
        return dict(tensors)

    try:
        if patience_s is None:
            with _silence_limited():
                tensors = get()
        else:
            tensors = _within(patience_s, get)
    except _FAILURES as error:
        raise WeightsUnavailable(
            f"There are no weights for {name}: {published.url} could not be had ({error}).",
            "Set BACKBONE_WEIGHTS to a .safetensors or .pth file with weights of this network, "
            "or let this machine reach that address once.",
        ) from error
    log.info("weights_published", backbone=name, url=published.url)
    return tensors


def _within(patience_s: float, get: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What get returns or raises, or TimeoutError. Not even a name that never resolves hangs."""
    answers: queue.SimpleQueue[dict[str, Tensor] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(get())
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            answers.put(error)

    threading.Thread(target=run, name="weights", daemon=True).start()
    try:
        answer = answers.get(timeout=patience_s)
    except queue.Empty:
        raise TimeoutError(f"nothing within {patience_s:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextmanager
def _silence_limited() -> Iterator[None]:
    """torch.hub opens addresses without a timeout of its own and would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
