"""Reading training photos: the packed folder, archives, the zip of sharp photos."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from backend.errors import MediaMissing, MediaUnreadable
from backend.evaluation.distil.collect import collect_archive
from backend.evaluation.distil.photos import load_boxed_photos, load_sharp_photos

CLASSES = [{"label": 0, "wnid": "n1", "imagenet_index": 7}]


def _jpeg(value: int, side: int = 8) -> bytes:
    return cv2.imencode(".jpg", np.full((side, side, 3), value, np.uint8))[1].tobytes()


def _folder(root: Path, rows: int) -> Path:
    """A tiny-imagenet-200 of one class; photo i is the grey i."""
    images = root / "tiny" / "train" / "n1" / "images"
    images.mkdir(parents=True)
    lines = []
    for i in range(rows):
        (images / f"n1_{i}.JPEG").write_bytes(_jpeg(i))
        lines.append(f"n1_{i}.JPEG\t{i % 4}\t1\t6\t7")
    (images.parent / "n1_boxes.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "classes.json").write_text(json.dumps(CLASSES), encoding="utf-8")
    return root / "tiny"


def test_rows_61_to_120_of_a_class_stay_out(tmp_path: Path) -> None:
    source, out = _folder(tmp_path, 125), tmp_path / "out.npz"
    assert collect_archive(source, tmp_path / "classes.json", out) == 65
    pool = load_boxed_photos([out], split=0)
    greys = pool.rgb_u8.float().mean((1, 2, 3)).round().int().tolist()
    assert greys == [*range(60), *range(120, 125)]
    assert pool.class_index.tolist() == [7] * 65
    assert pool.box_unit is not None
    # Corner 6, 7 is the last pixel inside: the box ends behind it.
    assert pool.box_unit[1].tolist() == pytest.approx([1 / 8, 1 / 8, 7 / 8, 1.0])


def test_photos_that_are_measured_on_stay_out(tmp_path: Path) -> None:
    source, measured = _folder(tmp_path, 3), _jpeg(1)
    archive = tmp_path / "measured.npz"
    np.savez(
        archive,
        data=np.frombuffer(_jpeg(0) + measured, np.uint8),
        offsets=np.array([0, len(_jpeg(0)), len(_jpeg(0)) + len(measured)]),
        split=np.array([0, 1], np.uint8),
    )
    out = tmp_path / "out.npz"
    assert collect_archive(source, tmp_path / "classes.json", out, [archive]) == 2


def test_a_folder_without_the_class_is_refused(tmp_path: Path) -> None:
    _folder(tmp_path, 1)
    with pytest.raises(MediaMissing, match=r"n1_boxes\.txt"):
        collect_archive(tmp_path / "elsewhere", tmp_path / "classes.json", tmp_path / "out.npz")


def test_an_archive_without_the_split_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    collect_archive(_folder(tmp_path, 1), tmp_path / "classes.json", out)
    with pytest.raises(MediaUnreadable):
        load_boxed_photos([out], split=1)


def test_sharp_photos_take_their_class_from_the_name(tmp_path: Path) -> None:
    archive = tmp_path / "sharp.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("0012_n9_bird.jpg", _jpeg(200, 20))
        zipped.writestr("0003_n8_fish.jpg", _jpeg(10, 30))
        zipped.writestr("readme.txt", "no photo")
    pool = load_sharp_photos(archive, side_px=16)
    assert pool.rgb_u8.shape == (2, 3, 16, 16)
    assert pool.class_index.tolist() == [3, 12]
    assert torch.equal(pool.rgb_u8[1], torch.full((3, 16, 16), 200, dtype=torch.uint8))
    assert pool.box_unit is None


def test_a_damaged_photo_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "sharp.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("0012_bird.jpg", b"no jpeg")
    with pytest.raises(MediaUnreadable, match="0012_bird"):
        load_sharp_photos(archive, side_px=16)
