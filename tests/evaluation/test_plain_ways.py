"""The plain ways do the job that they are timed at."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.domain import Boxes, iou_matrix
from backend.evaluation import plain_ways, tuned_ways
from backend.evaluation.drawn import draw_picture
from backend.evaluation.subject import Subject

SUBJECT = Subject.of("embedded", None, "cpu", 1)


@pytest.fixture(scope="module")
def drawn() -> tuple[bytes, Boxes]:
    """One large figure as a JPEG file, with its box."""
    picture = draw_picture(3, (200, 240), 1, share=(0.6, 0.7), names=["ball"])
    encoded = cv2.imencode(".jpg", picture.rgb_u8[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return bytes(encoded.tobytes()), picture.boxes


@pytest.mark.slow
def test_eager_cells_are_those_of_the_backbone(drawn: tuple[bytes, Boxes]) -> None:
    ours = tuned_ways.forward(SUBJECT, [drawn[0]] * 3, 2)
    plain = plain_ways.eager(SUBJECT, [drawn[0]] * 3, 2)
    assert ours.seconds > 0
    assert plain.seconds > 0
    assert ours.cells_chw is not None
    assert plain.cells_chw is not None
    error = np.linalg.norm(ours.cells_chw - plain.cells_chw) / np.linalg.norm(plain.cells_chw)
    assert error < 0.03  # the runtime's own tolerance


@pytest.mark.parametrize("library", [plain_ways.GRAD_CAM, plain_ways.TORCH_CAM])
@pytest.mark.slow
def test_a_library_gives_the_map_whose_box_is_taken(
    drawn: tuple[bytes, Boxes], library: str
) -> None:
    if not plain_ways.installed(library):
        pytest.skip(f"{library} is not installed")
    alone = plain_ways.library_boxes(SUBJECT, [drawn[0]], 1, library)
    batch = plain_ways.library_boxes(SUBJECT, [drawn[0]] * 3, 2, library)
    assert len(batch.boxes_xyxy_px) == 3
    for box in batch.boxes_xyxy_px:
        np.testing.assert_allclose(box, alone.boxes_xyxy_px[0], atol=2)
        # Grad-CAM through a linear head is a class activation map; the figure is what is there.
        assert iou_matrix(box, drawn[1].xyxy_px).max() > 0.3


@pytest.mark.parametrize("side_px", [None, 100])
def test_gradients_and_grabcut_find_the_figure(
    drawn: tuple[bytes, Boxes], side_px: int | None
) -> None:
    found = plain_ways.gradient_boxes(SUBJECT, [drawn[0]], side_px)
    assert iou_matrix(found.boxes_xyxy_px[0], drawn[1].xyxy_px).max() > 0.5


def test_a_library_that_is_not_there_is_said_not_to_be() -> None:
    assert not plain_ways.installed("no_such_library_of_maps")


def test_the_network_is_left_as_it_was_loaded(drawn: tuple[bytes, Boxes]) -> None:
    before = plain_ways.eager(SUBJECT, [drawn[0]], 1).cells_chw
    plain_ways.gradient_boxes(SUBJECT, [drawn[0]], 100)
    after = plain_ways.eager(SUBJECT, [drawn[0]], 1).cells_chw
    assert before is not None
    np.testing.assert_array_equal(before, after)
