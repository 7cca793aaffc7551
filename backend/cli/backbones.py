"""The `backbones` command: the networks that BACKBONE may name."""

from __future__ import annotations

import json

import typer


def command(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """List the networks by name.

    Example: python -m backend backbones
    """
    # Imports torch, which the other commands' start shall not pay for.
    from backend.vision.backbones import names

    known = list(names())
    print(json.dumps(known) if as_json else "\n".join(known))
