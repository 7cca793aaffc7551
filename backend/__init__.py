"""A Label Studio machine-learning backend that learns while a team works."""

__version__ = "0.1.0"
