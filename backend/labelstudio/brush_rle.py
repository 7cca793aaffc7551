"""The packed form in which Label Studio stores what was painted with a brush.

A mask is kept as RGBA pixels, row by row, whose four channels are all 0 or all 255, packed by
run lengths: 32 bits number of values, 5 bits word size less one, four times 4 bits run size
less one; then, until all values are there, one bit (1 a run, 0 values one by one), 2 bits
which run size, so many bits length less one, and one value or as many as the length says.
Source: rle-pack of thi.ng/umbrella, which Label Studio's editor uses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.domain import BoolArray, IntArray, U8Array

_CHANNELS, _ON, _ALPHA = 4, 255, 3
_WORD_BITS = 8
_SIZES = (3, 4, 8, 16)
_LONGEST_RUN = 1 << _SIZES[-1]
_HEADER_BITS = 32 + 5 + 4 * len(_SIZES)
_BITS_OF = tuple(f"{byte:08b}" for byte in range(256))


def encode_mask(mask_hw: BoolArray) -> list[int]:
    """Bytes as Label Studio's ``rle``. mask_hw: (H, W), true where painted."""
    pixels = mask_hw.reshape(-1)
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    starts = np.concatenate([[0], edges]) if len(pixels) else np.zeros(0, np.int64)
    lengths = np.diff(np.append(starts, len(pixels))) * _CHANNELS
    values = pixels[starts].astype(np.int64) * _ON
    lengths, values = _split(lengths, values)

    which = np.searchsorted([1 << size for size in _SIZES], lengths)
    sizes = np.array(_SIZES)[which]
    codes = (((4 + which) << sizes | lengths - 1) << _WORD_BITS) | values
    widths = 3 + sizes + _WORD_BITS
    bits = np.concatenate([_header(len(pixels) * _CHANNELS), _bits(codes, widths)])
    packed: list[int] = np.packbits(bits).tolist()
    return packed


def decode_mask(rle: Sequence[int], size_hw: tuple[int, int]) -> BoolArray:
    """(H, W) true where painted. size_hw: what the region says of its picture.

    Raises: ValueError where the bytes are no packed mask of that size.
    """
    height, width = size_hw
    data = np.array(rle)
    if data.ndim != 1 or data.dtype.kind not in "iu" or ((data < 0) | (data > 255)).any():
        raise ValueError("a packed mask is a list of bytes")
    bits = "".join(map(_BITS_OF.__getitem__, data.tolist()))
    count = height * width * _CHANNELS
    if len(bits) < _HEADER_BITS or int(bits[:32], 2) != count:
        raise ValueError(f"the packed mask is not of {height} x {width} pixels")
    word_bits = int(bits[32:37], 2) + 1
    sizes = [int(bits[at : at + 4], 2) + 1 for at in range(37, _HEADER_BITS, 4)]
    lengths, values = _runs(bits, word_bits, sizes, count)
    if not (lengths % _CHANNELS).any():  # as all that was painted: whole pixels
        return np.repeat(values, lengths // _CHANNELS).reshape(height, width)
    return np.repeat(values, lengths)[_ALPHA::_CHANNELS].reshape(height, width)


def _runs(
    bits: str, word_bits: int, sizes: Sequence[int], count: int
) -> tuple[IntArray, BoolArray]:
    """Lengths of runs that make up count values, and whether each is more than 0."""
    lengths: list[int] = []
    values: list[bool] = []
    nothing = "0" * word_bits
    done, at = 0, _HEADER_BITS
    while done < count:
        if at + 3 > len(bits):
            raise ValueError("the packed mask is cut short")
        size = sizes[int(bits[at + 1 : at + 3], 2)]
        start = at + 3 + size
        length = int(bits[at + 3 : start] or "0", 2) + 1
        words = 1 if bits[at] == "1" else length
        end = start + words * word_bits
        if end > len(bits) or done + length > count:
            raise ValueError("the packed mask is cut short or too long")
        lengths += [length] if words == 1 else [1] * words
        values += [
            bits[word : word + word_bits] != nothing for word in range(start, end, word_bits)
        ]
        done, at = done + length, end
    return np.array(lengths, np.int64), np.array(values, np.bool_)


def _split(lengths: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of which none is longer than can be written."""
    parts = -(-lengths // _LONGEST_RUN)
    cut = np.full(parts.sum(), _LONGEST_RUN, np.int64)
    cut[np.cumsum(parts) - 1] = lengths - (parts - 1) * _LONGEST_RUN
    return cut, np.repeat(values, parts)


def _header(count: int) -> U8Array:
    sizes = [size - 1 for size in _SIZES]
    codes, widths = [count, _WORD_BITS - 1, *sizes], [32, 5, *[4] * len(sizes)]
    return _bits(np.array(codes, np.int64), np.array(widths, np.int64))


def _bits(codes: np.ndarray, widths: np.ndarray) -> U8Array:
    """Each code in so many bits, highest first, one after the other."""
    ends = np.cumsum(widths)
    owner = np.repeat(np.arange(len(codes)), widths)
    shift = ends[owner] - 1 - np.arange(len(owner))
    return (codes[owner] >> shift & 1).astype(np.uint8)
