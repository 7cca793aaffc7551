"""The one door for the weights of a backbone: a file, our own, or what torchvision publishes."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from backend.errors import WeightsUnavailable
from backend.vision.architectures import ARCHITECTURES, Architecture
from backend.vision.published import published_tensors

WeightsSource = Literal["file", "embedded", "download", "memory"]

OWN_WEIGHTS = Path(__file__).with_name("weights")
"""Folder of the weights that come with the backend, each with its card (JSON)."""

_DIGEST_BYTES = 4
# Key under which training scripts commonly wrap the tensors.
_WRAPPERS = ("state_dict", "model", "model_state_dict")


@dataclass(frozen=True, slots=True)
class Weights:
    """tensors: float32 parameters by torchvision's names. digest: short hex naming them.

    source: where they come from, ``file``, ``embedded``, ``download`` or ``memory``.
    """

    tensors: Mapping[str, Tensor]
    digest: str
    source: WeightsSource


def load_weights(
    architecture: Architecture, path: Path | None, patience_s: float | None = None
) -> Weights:
    """The weights for this architecture, checked against it.

    path: a .safetensors file, or a .pth/.pt file that holds tensors alone; None: the file
        that comes with the backend, or else what torchvision publishes, from its cache or
        by download. patience_s: for a download, see ``published_tensors``.
    Raises: WeightsUnavailable, saying what is wrong with the file, or both ways to have one.
    """
    if path is not None:
        return _from_file(architecture, path, "file")
    if architecture.weights_file:
        return _from_file(architecture, OWN_WEIGHTS / architecture.weights_file, "embedded")
    tensors = published_tensors(architecture.name, patience_s)
    fitted = fit(architecture, tensors, "the download")
    return Weights(fitted, tensors_digest(tensors), "download")


def _from_file(architecture: Architecture, path: Path, source: WeightsSource) -> Weights:
    tensors = fit(architecture, read_tensors(path), str(path))
    return Weights(tensors, file_digest(path.read_bytes()), source)


def file_digest(content: bytes) -> str:
    """Short hex of a weights file."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a file: safetensors, or torch's own form without any code.

    Raises: WeightsUnavailable.
    """
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
