"""Training views: crops, mosaics, coverage by boxes."""

from __future__ import annotations

import pytest
import torch

from backend.errors import ShapeError
from backend.evaluation.distil import views
from backend.evaluation.distil.photos import PhotoPool, keep_every
from backend.evaluation.distil.views import ViewOptions, draw_views


def _pool(count: int = 3, boxes: bool = True) -> PhotoPool:
    rng = torch.Generator().manual_seed(1)
    rgb = torch.randint(0, 256, (count, 3, 64, 64), generator=rng, dtype=torch.uint8)
    box = torch.tensor([[0.25, 0.5, 0.75, 1.0]]).repeat(count, 1) if boxes else None
    return PhotoPool(rgb, torch.arange(count), box, torch.arange(count) if boxes else None)


@pytest.mark.parametrize("tiles", [1, 2, 3])
def test_a_batch_has_the_documented_shapes(tiles: int) -> None:
    chances = tuple(float(tiles == n) for n in (1, 2, 3))
    options = ViewOptions(sides_px=(96,), canvases=2, tiles=chances, sharp_share=0.0, blend=1.0)  # type: ignore[arg-type]
    drawn = draw_views(_pool(), None, options, torch.Generator().manual_seed(0), outputs=5)
    assert drawn.images.shape == (4, 3, 96, 96)
    assert torch.isfinite(drawn.images).all()
    assert drawn.coverage is not None
    assert drawn.coverage.shape == (4, 12, 12)
    assert 0 <= float(drawn.coverage.min()) <= float(drawn.coverage.max()) <= 1
    if tiles == 1:
        assert drawn.class_share is not None
        assert drawn.class_share.sum(1).tolist() == pytest.approx([1.0] * 4)
    else:
        assert drawn.class_share is None


def test_the_same_seed_gives_the_same_batch() -> None:
    first, second = (
        draw_views(
            _pool(), _pool(2, False), ViewOptions(canvases=2), torch.Generator().manual_seed(7)
        )
        for _ in range(2)
    )
    assert torch.equal(first.images, second.images)


def test_photos_without_boxes_give_no_coverage() -> None:
    options = ViewOptions(sides_px=(96,), canvases=2, sharp_share=1.0)
    drawn = draw_views(_pool(), _pool(2, False), options, torch.Generator().manual_seed(0))
    assert drawn.coverage is None
    assert drawn.class_space is None


WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
STRAIGHT, MIRRORED = torch.tensor([False]), torch.tensor([True])


def test_the_whole_photo_at_its_size_is_the_photo() -> None:
    photo = torch.arange(2 * 2 * 3, dtype=torch.uint8).view(1, 3, 2, 2)
    unit = photo.float() / 255
    assert torch.allclose(views._crop(photo, WHOLE, STRAIGHT, (2, 2)), unit, atol=1e-6)
    assert torch.allclose(views._crop(photo, WHOLE, MIRRORED, (2, 2)), unit.flip(3), atol=1e-6)


@pytest.mark.parametrize(
    ("box", "window", "mirrored", "expected"),
    [
        pytest.param([0, 0, 0.5, 1], [0, 0, 1, 1], STRAIGHT, [[1, 0], [1, 0]], id="left-half"),
        pytest.param([0, 0, 0.5, 1], [0, 0, 1, 1], MIRRORED, [[0, 1], [0, 1]], id="mirrored"),
        pytest.param(
            [0, 0, 0.25, 1], [0, 0, 1, 1], STRAIGHT, [[0.5, 0], [0.5, 0]], id="half-a-cell"
        ),
        pytest.param(
            [0, 0, 0.5, 0.5], [0.5, 0, 1, 1], STRAIGHT, [[0, 0], [0, 0]], id="cropped-out"
        ),
        pytest.param([0, 0, 0.5, 0.5], [0, 0, 0.5, 1], STRAIGHT, [[1, 1], [0, 0]], id="zoomed"),
    ],
)
def test_coverage_by_hand(
    box: list[float], window: list[float], mirrored: torch.Tensor, expected: list[list[float]]
) -> None:
    got = views._coverage(torch.tensor([box]), torch.tensor([window]), mirrored, (2, 2))
    assert torch.allclose(got[0], torch.tensor(expected).float())


def test_every_nth_and_the_rest() -> None:
    kept, rest = keep_every(_pool(5), 2)
    assert kept.class_index.tolist() == [0, 2, 4]
    assert rest.class_index.tolist() == [1, 3]


def test_a_pool_refuses_other_shapes() -> None:
    with pytest.raises(ShapeError):
        PhotoPool(torch.zeros(2, 3, 4, 4), torch.zeros(3, dtype=torch.int64), None, None)
