"""Packed masks: vectors that Label Studio's SDK made, and its own decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backend.labelstudio.brush_rle import decode_mask, encode_mask

CHECKERS = np.indices((3, 4)).sum(0) % 2 == 1
HALF = np.repeat([False, True, True, True], 20).reshape(4, 20)

# Made by label_studio_sdk.converter.brush.mask2rle of label-studio-sdk 2.1.2, which may end
# with one byte more than is needed.
VECTORS: dict[str, tuple[Any, list[int]]] = {
    "nothing": (np.zeros((2, 3), bool), [0, 0, 0, 24, 57, 27, 254, 23, 0, 0]),
    "everything": (np.ones((2, 3), bool), [0, 0, 0, 24, 57, 27, 254, 23, 255, 0]),
    "one pixel": (np.ones((1, 1), bool), [0, 0, 0, 4, 57, 27, 252, 127, 224]),
    "a column": (
        np.array([[1, 0, 0], [1, 0, 0]], bool),
        [0, 0, 0, 24, 57, 27, 252, 127, 243, 128, 71, 255, 56, 0],
    ),
    "checkers": (
        CHECKERS,
        list(bytes.fromhex("00000030391bfc6011ffc6013ffc6011ffce011ffc6011ff80")),
    ),
    "long runs": (HALF, [0, 0, 1, 64, 57, 27, 254, 79, 0, 221, 255, 224]),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_of_the_sdk(name: str) -> None:
    mask, packed = VECTORS[name]
    assert decode_mask(packed, mask.shape).tolist() == mask.tolist()
    ours = encode_mask(mask)
    assert packed[: len(ours)] == ours
    assert packed[len(ours) :] in ([], [0])


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 40))))
def test_what_is_packed_is_unpacked(mask: np.ndarray) -> None:
    assert (decode_mask(encode_mask(mask), mask.shape) == mask).all()


def test_runs_longer_than_can_be_written() -> None:
    mask = np.zeros((300, 300), bool)
    mask[5:290] = True
    packed = encode_mask(mask)
    assert len(packed) < 60
    assert (decode_mask(packed, (300, 300)) == mask).all()


def test_values_one_by_one_and_runs_that_cut_pixels() -> None:
    # Two pixels: a run of 3 values and 5 literal ones, 0 0 0 | 7 0 0 0 9. A pixel is painted
    # where its fourth value is more than 0.
    bits = f"{8:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    bits += "1" + "00" + "010" + f"{0:08b}"
    bits += "0" + "00" + "100" + "".join(f"{value:08b}" for value in (7, 0, 0, 0, 9))
    packed = np.packbits(np.array(list(map(int, bits)))).tolist()
    assert decode_mask(packed, (1, 2)).tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("rle", "size_hw"),
    [
        pytest.param([], (1, 1), id="empty"),
        pytest.param([0, 0, 0, 4], (1, 1), id="no more than its size"),
        pytest.param(VECTORS["everything"][1][:8], (2, 3), id="cut short"),
        pytest.param(VECTORS["everything"][1], (2, 2), id="of another size"),
        pytest.param(["a", "b"], (1, 1), id="texts"),
        pytest.param([1.5] * 20, (1, 1), id="fractions"),
        pytest.param([256] * 20, (1, 1), id="more than a byte"),
        pytest.param([-1] * 20, (1, 1), id="less than nothing"),
        pytest.param([[1, 2], [3, 4]], (1, 1), id="lists"),
        pytest.param([0, 0, 0, 4, 57, 27, 252, 255, 255, 255, 255], (1, 1), id="too long a run"),
    ],
)
def test_what_is_no_mask_is_refused(rle: Any, size_hw: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="packed mask"):
        decode_mask(rle, size_hw)


@given(st.lists(st.integers(0, 255), max_size=60), st.integers(1, 8), st.integers(1, 8))
def test_any_bytes_are_a_mask_or_refused(tail: list[int], height: int, width: int) -> None:
    head = list((4 * height * width).to_bytes(4, "big"))
    try:
        mask = decode_mask(head + tail, (height, width))
    except ValueError:
        return
    assert mask.shape == (height, width)


DECODE = """
from label_studio_sdk.converter.brush import decode_rle
answer = [decode_rle(rle).reshape(h, w, 4)[..., 3].tolist() for rle, (h, w) in data]
"""
ENCODE = """
import numpy
from label_studio_sdk.converter.brush import mask2rle
answer = [mask2rle(numpy.array(mask, dtype=numpy.uint8) * 255) for mask in data]
"""


@pytest.mark.real
def test_the_sdk_reads_ours_and_we_read_the_sdk(ask_sdk: Callable[[str, Any], Any]) -> None:
    random = np.random.default_rng(0)
    disc = np.hypot(*(np.indices((90, 120)) - 45)) < 30
    masks = [mask for mask, _ in VECTORS.values()]
    masks += [disc, random.random((31, 17)) < 0.5, random.random((64, 64)) < 0.02]
    theirs = ask_sdk(DECODE, [[encode_mask(mask), mask.shape] for mask in masks])
    for mask, decoded in zip(masks, theirs, strict=True):
        assert (np.array(decoded) == 255 * mask).all()
    packed = ask_sdk(ENCODE, [mask.astype(int).tolist() for mask in masks])
    for mask, rle in zip(masks, packed, strict=True):
        assert (decode_mask(rle, mask.shape) == mask).all()
