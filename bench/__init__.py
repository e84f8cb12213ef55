"""Benchmarks, one question per file: ``python -m bench steps --json``."""
