"""From encoded bytes to an upright RGB picture."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import cv2
import numpy as np

from backend.domain import Picture, U8Array
from backend.errors import MediaTooLarge, MediaUnreadable
from backend.media.header import Header, broken, read_header
from backend.media.png_data import refuse_surplus

LONGEST_SIDE = 1_000_000
"""libpng refuses longer sides, OpenCV those beyond 2**20; told here in words."""

_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_WHITE = 255


def content_hash(encoded: bytes) -> str:
    """Name of a picture in every cache: 32 hex digits of BLAKE2b over its encoded bytes."""
    return blake2b(encoded, digest_size=16).hexdigest()


def decode_picture(
    encoded: bytes, *, max_pixels: int, wanted_side_px: int | None = None
) -> Picture:
    """The picture as a browser shows it: upright, first frame, 8 bits, on white.

    max_pixels: refused above, by the header, before anything is unpacked.
    wanted_side_px: the side it will be resized to; a JPEG whose shorter side is at least
        2, 4 or 8 times as long is decoded at that fraction. size_hw stays the original's.
    A picture cut short or otherwise undecodable is refused, not guessed.
    Raises: MediaUnreadable, MediaTooLarge.
    """
    header = read_header(encoded)
    _check_size(header, max_pixels)
    if header.format == "PNG":
        refuse_surplus(encoded)
    divisor = _divisor(header, wanted_side_px)
    if header.format in ("JPEG", "BMP"):
        # The fourth byte of a BMP pixel is padding far more often than it is alpha.
        flags = _REDUCED.get(divisor, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    else:
        flags = cv2.IMREAD_UNCHANGED  # keeps alpha and 16 bits, and ignores orientation
    stored = _decode(encoded, flags, header, max_pixels)
    expected_hw = tuple(-(-side // divisor) for side in header.size_hw)
    if stored.shape[:2] != expected_hw:
        raise broken(header.format, "it holds another size than its header announces")
    rgb_u8 = _upright(_to_rgb_u8(stored, header), header.orientation)
    return Picture(np.ascontiguousarray(rgb_u8), header.upright_hw, content_hash(encoded))


def _check_size(header: Header, max_pixels: int) -> None:
    height, width = header.size_hw
    if height * width > max_pixels:
        raise MediaTooLarge(
            f"The {header.format} picture has {width}x{height} = {height * width} pixels, "
            f"more than {max_pixels}.",
            "Scale it down, or raise MAX_MEDIA_PIXELS.",
        )
    if max(height, width) > LONGEST_SIDE:
        raise MediaTooLarge(
            f"The {header.format} picture of {width}x{height} pixels has a side longer than "
            f"{LONGEST_SIDE}.",
            "Cut it into tiles.",
        )


def _divisor(header: Header, wanted_side_px: int | None) -> int:
    if header.format != "JPEG" or wanted_side_px is None:
        return 1
    shorter = min(header.size_hw)
    return next((d for d in (8, 4, 2) if shorter >= d * wanted_side_px), 1)


def _decode(encoded: bytes, flags: int, header: Header, max_pixels: int) -> Any:
    # Every failure becomes an error with words; OpenCV's own lines on stderr add nothing.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        stored = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error):
            raise MediaTooLarge(
                f"OpenCV's own limit refuses the {header.format} picture, although it is "
                f"within MAX_MEDIA_PIXELS={max_pixels}.",
                "Unset OPENCV_IO_MAX_IMAGE_PIXELS, _WIDTH and _HEIGHT.",
            ) from None
        raise broken(header.format, "it cannot be decoded") from None
    except MemoryError:
        raise MediaTooLarge(
            f"There is not enough memory for the {header.format} picture.",
            "Lower MAX_MEDIA_PIXELS or FETCH_THREADS, or give the worker more memory.",
        ) from None
    if stored is None:
        raise broken(header.format, "it ends early or cannot be decoded")
    return stored


def _to_rgb_u8(stored: Any, header: Header) -> U8Array:
    """(H, W) or (H, W, 1|3|4) BGR(A) of 8 or 16 bits to (H, W, 3) RGB uint8."""
    if stored.dtype == np.uint16:
        stored = np.right_shift(stored, 8).astype(np.uint8)  # the upper byte, as browsers do
    if stored.dtype != np.uint8:
        raise MediaUnreadable(
            f"The {header.format} picture holds {stored.dtype} samples.",
            "Convert it to 8 or 16 bits a channel.",
        )
    channels = 1 if stored.ndim == 2 else stored.shape[2]
    if channels == 4:
        return _on_white(stored)
    code = cv2.COLOR_GRAY2RGB if channels == 1 else cv2.COLOR_BGR2RGB
    converted: U8Array = cv2.cvtColor(stored, code)
    return converted


def _on_white(bgra_u8: U8Array) -> U8Array:
    """Transparent parts on white, the page behind Label Studio's pictures."""
    rgb: Any = cv2.cvtColor(bgra_u8, cv2.COLOR_BGRA2RGB)
    alpha = bgra_u8[..., 3:]
    if int(alpha.min()) == 255:
        return np.asarray(rgb, np.uint8)
    # Whole numbers, rounded: (c * a + 255 * (255 - a) + 127) / 255 fits 16 bits.
    weighted = rgb.astype(np.uint16) * alpha + (255 - alpha).astype(np.uint16) * _WHITE
    return np.asarray((weighted + 127) // 255, np.uint8)


def _upright(stored: U8Array, orientation: int) -> U8Array:
    """Exif orientation applied: where row 0 and column 0 of the stored picture belong."""
    if orientation >= 5:
        stored = stored.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    return stored
