"""``python -m bench NAME [--json] [...]``: run one benchmark."""

from __future__ import annotations

import importlib
import sys

NAMES = (
    "steps", "limits", "starts", "latency", "fanout", "payloads", "replay", "signals", "growth",
    "workers", "imports", "sleepers", "hostloop", "recovery", "bounds", "children", "chaos",
    "deploys", "counts", "story", "against", "all",
)  # fmt: skip


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        sys.exit(f"usage: python -m bench {{{','.join(NAMES)}}} [--json] [--help]")
    name = sys.argv.pop(1)
    importlib.import_module(f"bench.{name}").main()


if __name__ == "__main__":
    main()
