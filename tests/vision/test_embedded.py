"""The weights that come with the backend: they load by the one door and do their work."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from backend.settings import Settings
from backend.vision.architectures import ARCHITECTURES, EMBEDDED_STAGES
from backend.vision.backbones import Backbone, load_backbone
from backend.vision.choice import AUTO, EMBEDDED, PREFERRED, hint, stands_for
from backend.vision.weight_files import OWN_WEIGHTS, file_digest
from tests.vision.conftest import drawn_picture, random_images

WEIGHTS = OWN_WEIGHTS / "embedded.safetensors"
CARD = json.loads(WEIGHTS.with_suffix(".json").read_text("utf-8"))


@pytest.fixture(scope="module")
def embedded() -> Backbone:
    return load_backbone(EMBEDDED, None, "cpu")


def test_names_of_the_choice() -> None:
    assert Settings.model_fields["backbone"].default == AUTO
    assert stands_for(AUTO) == (PREFERRED, EMBEDDED)
    assert stands_for("vgg16") == ("vgg16",)
    assert AUTO not in ARCHITECTURES.names()
    assert PREFERRED in str(hint(EMBEDDED))
    assert hint(PREFERRED) is None


def test_the_card_belongs_to_the_weights(embedded: Backbone) -> None:
    content = WEIGHTS.read_bytes()
    assert len(content) <= 6_000_000
    assert CARD["digest"] == file_digest(content) == embedded.identity.digest
    assert CARD["bytes"] == len(content)
    stages = CARD["architecture"]["inverted_residual_setting"]
    assert stages == [list(row) for row in EMBEDDED_STAGES]
    assert CARD["architecture"]["side_px"] == embedded.size_px
    assert CARD["training"]["images"] > 0
    for part in ("made", "data", "licence", "limits"):
        assert CARD[part], part
    for pool in ("small", "sharp"):
        for share in ("agreement_top1", "agreement_top5", "true_top1", "true_top5"):
            assert 0 < CARD["measured"][pool][share] < 1


def test_scores_and_maps_are_of_the_usual_form(embedded: Backbone) -> None:
    features = embedded.features(random_images(2, 128))
    logits = embedded.logits(features)
    assert logits.shape == (2, 1000)
    assert embedded.stride == 32
    classes = torch.tensor([[3, 999], [0, 41]])
    maps = embedded.class_maps(features, classes)
    torch.testing.assert_close(
        maps.mean((2, 3)) + embedded.class_bias(features, classes),
        logits.gather(1, classes),
        atol=1e-4 * float(logits.abs().max()),
        rtol=0,
    )


def test_labels_find_their_classes(embedded: Backbone) -> None:
    (index,) = embedded.matcher.match(["Granny Smith"])
    assert embedded.classes[index].names[0].casefold() == "granny smith"
    assert embedded.matcher.match(["n02096294"]) == embedded.matcher.match(["Australian terrier"])


def test_it_was_trained(embedded: Backbone) -> None:
    # Random weights answer nearly alike to whatever they are shown; these do not.
    plain = np.full((1, 3, 256, 256), 127, np.uint8)
    disc = np.moveaxis(drawn_picture((256, 256), (60, 60, 200, 200)).rgb_u8, 2, 0)[None]
    pictures = torch.from_numpy(np.concatenate([plain, disc]))
    likely = embedded.logits(embedded.features(pictures)).softmax(1)
    assert float((likely[0] - likely[1]).abs().sum()) > 0.5
