"""torchvision can be imported, whatever torch it was compiled for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backend.vision.torchvision_door import load_torchvision


def test_models_are_within_reach_and_a_second_call_gives_the_same_module() -> None:
    module = load_torchvision()
    assert module.models.get_model("squeezenet1_1", weights=None) is not None
    assert load_torchvision() is module


@pytest.mark.slow
def test_the_vision_room_imports_without_loading_torchvision() -> None:
    # Importing must do no work: torchvision is loaded when a backbone is.
    code = (
        "import sys, backend.vision.detect, backend.vision.backbones\n"
        "sys.exit('torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
