"""``python -m backend``."""

from __future__ import annotations

import sys

from backend.cli.app import main

if __name__ == "__main__":
    main(sys.argv[1:])
