"""Pictures: from a task's address to an upright RGB array."""
