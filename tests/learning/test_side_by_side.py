"""Two pieces of work at once."""

import threading

import pytest

from backend.learning.side_by_side import side_by_side


def test_both_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=10)  # neither passes alone

    def doubled(value: int) -> int:
        meeting.wait()
        return 2 * value

    assert side_by_side(doubled, 1, 2) == (2, 4)


@pytest.mark.parametrize("wrong", [1, 2])
def test_an_error_of_either_comes_through(wrong: int) -> None:
    def checked(value: int) -> int:
        if value == wrong:
            raise ValueError(value)
        return value

    with pytest.raises(ValueError, match=str(wrong)):
        side_by_side(checked, 1, 2)
