"""Two versions of the code of one workflow, worked on side by side by real processes: for
``test_rollouts.py``, and for the campaign ``python -m bench deploys``."""

from durable import Signal

go = Signal[int]("rollout/go")
