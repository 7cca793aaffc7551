"""The questions that `bench` answers, a command each."""

from __future__ import annotations

from backend.cli.app import Command

COMMANDS = {
    "accuracy": Command(
        "backend.cli.bench_accuracy", "How good proposals are after n accepted pictures."
    ),
    "next": Command(
        "backend.cli.bench_next", "Whether choosing the next pictures saves annotations."
    ),
}
