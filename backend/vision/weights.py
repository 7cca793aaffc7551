"""The weights of a backbone: from a file, or from torchvision's download."""

from __future__ import annotations

import hashlib
import pickle
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import structlog
import torch
from torch import Tensor

from backend.errors import WeightsUnavailable
from backend.vision.architectures import ARCHITECTURES, Architecture
from backend.vision.torchvision_door import load_torchvision

log = structlog.get_logger(__name__)

_DIGEST_BYTES = 4
_CONNECT_TIMEOUT_S = 30.0
# Key under which training scripts commonly wrap the tensors.
_WRAPPERS = ("state_dict", "model", "model_state_dict")


@dataclass(frozen=True, slots=True)
class Weights:
    """tensors: float32 parameters by torchvision's names. digest: short hex naming them."""

    tensors: Mapping[str, Tensor]
    digest: str


def load_weights(architecture: Architecture, path: Path | None) -> Weights:
    """The weights for this architecture, checked against it.

    path: a .safetensors file, or a .pth/.pt file that holds tensors alone; None: what
        torchvision publishes, from its cache or by download.
    Raises: WeightsUnavailable, saying what is wrong with the file, or both ways to have one.
    """
    if path is None:
        tensors = _published(architecture.name)
        digest = tensors_digest(tensors)
    else:
        tensors = _read(path)
        digest = hashlib.blake2b(path.read_bytes(), digest_size=_DIGEST_BYTES).hexdigest()
    return Weights(fit(architecture, tensors, str(path or "the download")), digest)


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Short hex of names and values, for weights that come without a file of ours."""
    state = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name in sorted(tensors):
        state.update(name.encode())
        state.update(tensors[name].contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()


def fit(
    architecture: Architecture, tensors: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """The tensors as float32, exactly those the architecture has.

    Raises: WeightsUnavailable with the differences, and the architecture that would fit.
    """
    wanted = _shapes(architecture)
    given = _given(architecture, tensors)
    wrong = _differences(wanted, given)
    if wrong:
        fitting = [
            name
            for name in ARCHITECTURES.names()
            if not _differences(
                _shapes(ARCHITECTURES.get(name)), _given(ARCHITECTURES.get(name), tensors)
            )
        ]
        remedy = (
            f"It fits BACKBONE={fitting[0]}."
            if fitting
            else "A file of torchvision's own parameter names and 1000 ImageNet classes is needed."
        )
        shown = "; ".join(wrong[:3]) + (f"; {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise WeightsUnavailable(
            f"The weights of {source} do not fit {architecture.name}: {shown}.", remedy
        )
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in given.items()
    }


def _given(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    given = {
        name: tensor
        for name, tensor in plain.items()
        if not name.startswith(architecture.unused_prefixes)
    }
    for name in _shapes(architecture):
        # Counts training steps only; exporters drop it.
        if name.endswith(".num_batches_tracked"):
            given.setdefault(name, torch.tensor(0))
    return given


def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in architecture.build().state_dict().items()}


def _differences(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, Tensor]) -> list[str]:
    missing = [f"{name} is missing" for name in wanted if name not in given]
    extra = [f"{name} is not part of it" for name in given if name not in wanted]
    shapes = [
        f"{name} has shape {tuple(given[name].shape)}, not {shape}"
        for name, shape in wanted.items()
        if name in given and tuple(given[name].shape) != shape
    ]
    return shapes + missing + extra


def _read(path: Path) -> dict[str, Tensor]:
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise WeightsUnavailable(
                f"{path} cannot be read as safetensors: {error}.",
                "Set BACKBONE_WEIGHTS to an undamaged file.",
            ) from error
    if suffix not in (".pth", ".pt"):
        raise WeightsUnavailable(
            f"{path} is of an unknown kind.", "Set BACKBONE_WEIGHTS to a .safetensors, .pth or .pt."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsUnavailable(
            f"{path} holds more than tensors and was refused, because reading it could run "
            "code hidden in it.",
            "Save its state_dict() alone, best as .safetensors.",
        ) from error
    except (OSError, EOFError, RuntimeError) as error:
        raise WeightsUnavailable(
            f"{path} cannot be read: {error}.", "Set BACKBONE_WEIGHTS to an undamaged file."
        ) from error
    return _tensors_of(content, path)


def _tensors_of(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for wrapper in _WRAPPERS:
            inner = content.get(wrapper)
            if isinstance(inner, Mapping):
                content = inner
                break
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items()}
    raise WeightsUnavailable(
        f"{path} holds no table of named tensors.", "Save the model's state_dict()."
    )


def _published(name: str) -> dict[str, Tensor]:
    # The first published weights of every network: later recipes raise the accuracy by
    # label smoothing and mixing of pictures, which blurs class activation maps.
    published = load_torchvision().models.get_model_weights(name).IMAGENET1K_V1
    try:
        with _connect_timeout(_CONNECT_TIMEOUT_S):
            tensors: dict[str, Tensor] = published.get_state_dict(
                progress=False, check_hash=True, map_location="cpu", weights_only=True
            )
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsUnavailable(
            f"There are no weights for {name}: {published.url} could not be had ({error}).",
            "Set BACKBONE_WEIGHTS to a .safetensors or .pth file with weights of this network, "
            "or let this machine reach that address once.",
        ) from error
    log.info("weights_published", backbone=name, url=published.url)
    return tensors


@contextmanager
def _connect_timeout(timeout_s: float) -> Iterator[None]:
    """torch.hub opens addresses without a timeout of its own and would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout_s)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
