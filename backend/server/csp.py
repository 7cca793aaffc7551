"""What a page of ours may load: nothing but its own style, and what it names."""

from __future__ import annotations

import base64
import hashlib

NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of replies that are no pages."""


def page_policy(style: str, *, own_images: bool = False, own_forms: bool = False) -> str:
    """The Content-Security-Policy of a page without scripts.

    style: text of its one ``<style>``, let in by its hash. own_images, own_forms: whether
    pictures and forms of this same server belong to it.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    parts = {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "'self'" if own_images else "'none'",
        "form-action": "'self'" if own_forms else "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())
