"""Which pictures a task asks for."""

from __future__ import annotations

import pytest

from backend.errors import MediaTooLarge
from backend.jobs.addresses import MOST_PICTURES, looks_of
from backend.labelstudio.labelspec import parse_label_config

LIST = """<View><Image name="image" valueList="$images"/>
<RectangleLabels name="label" toName="image"><Label value="Thing"/></RectangleLabels></View>"""


def test_a_task_with_too_many_pictures_is_refused() -> None:
    spec = parse_label_config(LIST)
    addresses = [f"/data/upload/1/{number}.png" for number in range(MOST_PICTURES + 1)]
    assert len(looks_of(spec, {"images": addresses[:-1]})) == MOST_PICTURES
    with pytest.raises(MediaTooLarge, match="has 1001 pictures under 'images'"):
        looks_of(spec, {"images": addresses})
