"""Findings in what a workflow calls, modules away."""
