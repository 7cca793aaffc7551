"""Fixtures of the security tests."""

from __future__ import annotations

from tests.server.conftest import _quiet as _quiet  # autouse: what a server logs goes nowhere
