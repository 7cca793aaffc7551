"""The questions that `bench` answers, a command each."""

from __future__ import annotations

from backend.cli.app import Command

COMMANDS = {
    "accuracy": Command(
        "backend.cli.bench_accuracy", "How good proposals are after n accepted pictures."
    ),
    "film": Command("backend.cli.bench_film", "How much memory and time a long video takes."),
    "latency": Command(
        "backend.cli.bench_latency", "How long annotators wait who open tasks at once."
    ),
    "masks": Command("backend.cli.bench_masks", "How well masks of things in boxes fit."),
    "next": Command(
        "backend.cli.bench_next", "Whether choosing the next pictures saves annotations."
    ),
    "overhead": Command(
        "backend.cli.bench_overhead", "What a task costs beside the work on its picture."
    ),
    "points": Command("backend.cli.bench_points", "How near key points are told."),
    "saliency": Command(
        "backend.cli.bench_saliency", "Which saliency methods point right, show why, are fast."
    ),
    "scale": Command(
        "backend.cli.bench_scale", "Whether many tasks and workers go through in flat memory."
    ),
    "soak": Command(
        "backend.cli.bench_soak", "Whether nothing is lost under load while parts of it fail."
    ),
    "throughput": Command(
        "backend.cli.bench_throughput", "How fast the whole is beside its forward pass."
    ),
    "train": Command(
        "backend.cli.bench_train", "How long fitting a head takes, and how much memory."
    ),
    "video": Command("backend.cli.bench_video", "How well a thing is followed through a clip."),
}
