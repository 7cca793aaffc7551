"""The file in which a machine keeps what its self-tests at start found."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)

FILE = "runtime.json"
"""Its name under DATA_DIR."""

KEPT = 32
"""Circumstances that are kept, those measured last."""

_SCHEMA = 1

Circumstances = dict[str, str | int]
"""What a choice hangs on, by name; JSON values."""


class KeptChoices:
    """Choices by their circumstances, shared by the processes of a machine.

    path: a file, made when missing, with its folder; None keeps nothing. A file that
    cannot be read or written, or is none of ours, costs a warning and the measuring again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @classmethod
    def under(cls, data_dir: Path) -> KeptChoices:
        """Those kept in this folder."""
        return cls(data_dir / FILE)

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """Wait for other processes that look or measure now.

        So that workers that start together measure once, undisturbed, and run the same.
        """
        with contextlib.ExitStack() as stack:
            if self._path is not None:
                try:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    lock = stack.enter_context(self._path.with_suffix(".lock").open("w"))
                    fcntl.flock(lock, fcntl.LOCK_EX)
                except OSError as error:
                    log.warning("runtime_choice_not_shared", reason=str(error))
            yield

    def find(self, here: Circumstances) -> str:
        """What was chosen in these circumstances, "" if nothing was."""
        for entry in self._read():
            if entry["circumstances"] == here:
                return str(entry["chosen"])
        return ""

    def keep(self, here: Circumstances, chosen: str, images_s: Mapping[str, float]) -> None:
        """Keep a choice in place of an earlier one. images_s: the figures, for people."""
        if self._path is None:
            return
        others = [entry for entry in self._read() if entry["circumstances"] != here]
        entry = {"circumstances": here, "chosen": chosen, "images_s": dict(images_s)}
        content = {"schema": _SCHEMA, "choices": [*others, entry][-KEPT:]}
        partial = self._path.with_suffix(f".{os.getpid()}.part")
        try:
            partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
            partial.replace(self._path)
        except OSError as error:
            log.warning("runtime_choice_not_kept", path=str(self._path), reason=str(error))
            with contextlib.suppress(OSError):
                partial.unlink()

    def _read(self) -> list[dict[str, Any]]:
        if self._path is None:
            return []
        try:
            content = json.loads(self._path.read_text("utf-8"))
            if content["schema"] != _SCHEMA:
                raise ValueError(f"its schema is {content['schema']!r}, not {_SCHEMA}")
            choices = list(content["choices"])
            for entry in choices:
                entry["circumstances"], entry["chosen"]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning(
                "runtime_choices_ignored",
                path=str(self._path),
                reason=f"{type(error).__name__}: {error}",
                effect="measured again",
            )
            return []
        return choices
