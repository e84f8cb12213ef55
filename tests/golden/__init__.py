"""Journals that a release has recorded, kept for ever: every later one replays them.

A folder per release holds them as lines of JSON. ``python -m tests.golden record`` writes those of
this version anew; the folders of versions that are out are never touched. Workflows of ``flows.py``
stay as they are: a new kind of event gets a new workflow.
"""
