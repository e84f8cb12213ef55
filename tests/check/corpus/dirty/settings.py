"""A module that others import their globals from."""

from types import SimpleNamespace

settings = SimpleNamespace(stage="test")
limits = {"calls": 1}
