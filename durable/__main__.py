"""``python -m durable`` is the ``durable`` command."""

from .cli import main

main()
