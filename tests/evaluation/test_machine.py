"""What a measurement ran on."""

from __future__ import annotations

import json

import torch

from backend.evaluation.machine import describe_machine


def test_a_processor_is_named() -> None:
    told = describe_machine(torch.device("cpu"))
    assert told["machine"]["device"] == "cpu"
    assert told["machine"]["processor"]
    assert told["machine"]["cores"] >= 1
    assert told["versions"]["torch"] == torch.__version__
    json.dumps(told)
