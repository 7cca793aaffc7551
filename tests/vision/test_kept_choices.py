"""What a machine's self-tests found is kept, and a damaged file harms nobody."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import structlog.testing

from backend.vision.kept_choices import KEPT, Circumstances, KeptChoices

HERE: Circumstances = {"processor": "one", "threads": 1}
FORM = "openvino float32"


def events(logged: list[structlog.typing.EventDict]) -> list[str]:
    return [str(line["event"]) for line in logged]


def test_what_is_kept_is_found_in_the_same_circumstances_alone(tmp_path: Path) -> None:
    choices = KeptChoices.under(tmp_path)
    assert choices.find(HERE) == ""
    choices.keep(HERE, FORM, {FORM: 98.0})
    other = {**HERE, "threads": 2}
    choices.keep(other, "torch", {})
    again = KeptChoices.under(tmp_path)
    assert (again.find(HERE), again.find(other)) == (FORM, "torch")
    assert again.find({**HERE, "threads": 3}) == ""
    choices.keep(HERE, "torch", {})
    assert again.find(HERE) == "torch"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["runtime.json"]  # nothing partial


def test_few_are_kept_those_measured_last(tmp_path: Path) -> None:
    choices = KeptChoices.under(tmp_path)
    for number in range(KEPT + 1):
        choices.keep({"threads": number}, FORM, {})
    assert choices.find({"threads": 0}) == ""
    assert choices.find({"threads": 1}) == choices.find({"threads": KEPT}) == FORM


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\x00",
        b"[]",
        b"null",
        b'{"schema": 0, "choices": []}',
        b'{"schema": 1}',
        b'{"schema": 1, "choices": 3}',
        b'{"schema": 1, "choices": [null]}',
        b'{"schema": 1, "choices": [{"chosen": "torch"}]}',
    ],
)
def test_a_damaged_or_foreign_file_is_ignored_with_a_word(tmp_path: Path, content: bytes) -> None:
    choices = KeptChoices.under(tmp_path)
    (tmp_path / "runtime.json").write_bytes(content)
    with structlog.testing.capture_logs() as logged:
        assert choices.find(HERE) == ""
    assert events(logged) == ["runtime_choices_ignored"]
    choices.keep(HERE, FORM, {})  # and written anew
    with structlog.testing.capture_logs() as logged:
        assert choices.find(HERE) == FORM
    assert logged == []


def test_a_folder_that_cannot_be_written_costs_a_word(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    choices = KeptChoices.under(tmp_path / "file")
    with structlog.testing.capture_logs() as logged:
        with choices.in_turn():
            choices.keep(HERE, FORM, {})
        assert choices.find(HERE) == ""
    assert "runtime_choice_not_kept" in events(logged)


def test_without_a_file_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choices = KeptChoices(None)
    monkeypatch.chdir(tmp_path)
    with choices.in_turn():
        choices.keep(HERE, FORM, {})
    assert choices.find(HERE) == ""
    assert list(tmp_path.iterdir()) == []


def test_those_who_come_together_take_turns(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def one(number: int) -> None:
        with KeptChoices.under(tmp_path / "made").in_turn():
            inside.append(number)
            most.append(len(inside))
            KeptChoices.under(tmp_path / "made").keep({"threads": number}, FORM, {})
            inside.remove(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 8
    kept = json.loads((tmp_path / "made" / "runtime.json").read_text("utf-8"))
    assert len(kept["choices"]) == 8  # in turn, nobody's is lost
