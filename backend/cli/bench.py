"""The questions that `bench` answers, a command each."""

from __future__ import annotations

from backend.cli.app import Command

COMMANDS = {
    "accuracy": Command(
        "backend.cli.bench_accuracy", "How good proposals are after n accepted pictures."
    ),
    "fit": Command("backend.cli.bench_fit", "How long fitting a head takes, and how much memory."),
    "next": Command(
        "backend.cli.bench_next", "Whether choosing the next pictures saves annotations."
    ),
    "saliency": Command(
        "backend.cli.bench_saliency", "Which saliency methods point right, show why, are fast."
    ),
}
