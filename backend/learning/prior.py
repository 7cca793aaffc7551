"""What is known of objects before a project has accepted any: learned once, for a backbone.

A prior knows no label. It says where an object is likely and how well a box fits, from
boxes of many classes; `train-prior` makes one. A project's head starts from it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np
from safetensors.numpy import load, save

from backend.domain import FloatArray
from backend.learning.accept import Acceptance
from backend.learning.features import PictureFeatures
from backend.learning.linear import Ridge
from backend.learning.tensors import Tensors, metadata_of, pack, unpack
from backend.learning.trees import Trees
from backend.learning.whitening import Whitening

_PICTURES_CHECKED = 8
_LARGEST_ENERGY = 5.0


@dataclass(frozen=True, slots=True)
class Prior:
    """backbone: name it belongs to.

    weights (D + 1, 10) of the dense head; corners corrects boxes; trees tell how well a
    box fits (its IoU); known (M, 4) boxes in picture units stand for accepted ones.
    """

    backbone: str
    whitening: Whitening
    weights: FloatArray
    corners: Ridge
    trees: Trees
    known: FloatArray
    acceptance: Acceptance

    @property
    def digest(self) -> str:
        """Short hex that changes with anything that predictions depend on."""
        return hashlib.blake2b(self.to_bytes(), digest_size=4).hexdigest()

    def to_bytes(self) -> bytes:
        """As safetensors: the whitening in float16, the rest as it is."""
        arrays: Tensors = {}
        for i, (mean, projection) in enumerate(
            zip(self.whitening.means, self.whitening.projections, strict=True)
        ):
            arrays[f"whitening/mean/{i}"] = mean
            arrays[f"whitening/projection/{i}"] = projection.astype(np.float16)
        arrays |= {"weights": self.weights, "known": self.known}
        arrays |= pack("corners", self.corners) | pack("trees", self.trees)
        arrays |= pack("acceptance", self.acceptance)
        ordered = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
        return bytes(save(ordered, {"backbone": self.backbone}))

    @classmethod
    def from_bytes(cls, data: bytes, backbone: str) -> Prior:
        """Raises: KeyError, SafetensorError where the bytes are something else."""
        arrays = load(data)
        count = sum(name.startswith("whitening/mean/") for name in arrays)
        whitening = Whitening(
            tuple(arrays[f"whitening/mean/{i}"] for i in range(count)),
            tuple(arrays[f"whitening/projection/{i}"].astype(np.float32) for i in range(count)),
        )
        return cls(
            backbone,
            whitening,
            arrays["weights"],
            unpack(Ridge, "corners", arrays),
            unpack(Trees, "trees", arrays),
            arrays["known"],
            unpack(Acceptance, "acceptance", arrays),
        )


def prior_for(backbone: str, pictures: Sequence[PictureFeatures]) -> Prior | None:
    """The prior of a backbone if it was made for these weights, judged by their features.

    Whitened features of the right weights have a total variance of about one a tap; of
    other weights under the same name they have not. (A digest would not do: one network
    comes in many files.)
    """
    prior = _by_name().get(backbone)
    if prior is None or not pictures:
        return None
    for number, (mean, projection) in enumerate(
        zip(prior.whitening.means, prior.whitening.projections, strict=True)
    ):
        taps = [picture.views[-1][number] for picture in pictures[:_PICTURES_CHECKED]]
        if any(tap.shape[0] != len(mean) for tap in taps):
            return None
        cells = np.concatenate([tap.reshape(len(mean), -1).T for tap in taps]).astype(np.float32)
        energy = float(np.square((cells - mean) @ projection).sum(1).mean())
        if not 1 / _LARGEST_ENERGY <= energy <= _LARGEST_ENERGY:
            return None
    return prior


def prior_by_digest(digest: str) -> Prior | None:
    """The prior that a head was made from, None where this release does not have it."""
    return next((p for p in _by_name().values() if p.digest == digest), None)


@functools.lru_cache(maxsize=1)
def _by_name() -> Mapping[str, Prior]:
    priors: dict[str, Prior] = {}
    for file in _files():
        data = file.read_bytes()
        name = metadata_of(data)["backbone"]
        priors[name] = Prior.from_bytes(data, name)
    return priors


def _files() -> Sequence[Traversable]:
    folder = resources.files("backend.learning").joinpath("priors")
    if not folder.is_dir():
        return ()
    return sorted(
        (file for file in folder.iterdir() if file.name.endswith(".safetensors")),
        key=lambda file: file.name,
    )
