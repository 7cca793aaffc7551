"""Notes on projects that cannot be served."""

from __future__ import annotations

from backend.errors import LabelConfigInvalid
from backend.server.state import ProjectProblems


def test_a_note_is_replaced_and_forgotten() -> None:
    problems = ProjectProblems()
    assert problems.as_list() == []
    problems.report("1", LabelConfigInvalid("First.", "Do this."))
    problems.report("1", LabelConfigInvalid("Second.", "Do that."))
    assert problems.as_list() == [
        {
            "project": "1",
            "error": "label_config_invalid",
            "what": "Second.",
            "remedy": "Do that.",
        }
    ]
    problems.solved("1")
    problems.solved("never reported")
    assert problems.as_list() == []


def test_the_oldest_of_many_go() -> None:
    problems = ProjectProblems()
    for number in range(101):
        problems.report(str(number), LabelConfigInvalid("x"))
    told = [problem["project"] for problem in problems.as_list()]
    assert told == [str(number) for number in range(1, 101)]
