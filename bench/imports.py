"""How long does ``import durable`` take?

``import_ms`` is what ``python -X importtime`` says of it and of all that it imports, in a fresh
process whose files are compiled, and in the system's cache; ``wall_ms`` is what a process takes
longer that does nothing else. ``longest`` names the modules that take most by themselves.
"""

from __future__ import annotations

import compileall
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

import durable
from bench import told
from bench.measured import medians, spread

LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|(\s*)(\S+)")


def wall(code: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - begun) * 1e3


def importtime() -> dict[str, tuple[int, int]]:
    """Microseconds of each module: by itself, and with what it imports."""
    command = [sys.executable, "-X", "importtime", "-c", "import durable"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return {each[4]: (int(each[1]), int(each[2])) for each in LINE.finditer(said)}


def measure(repeat: int) -> dict[str, Any]:
    compileall.compile_dir(Path(durable.__file__).parent, quiet=1)  # also where Python may not
    importtime()  # the files come into the system's cache
    rounds = []
    for _ in range(repeat):
        times = importtime()
        bare = wall("pass")
        longer = wall("import durable") - bare
        rounds.append({"import_ms": times["durable"][1] / 1e3, "wall_ms": longer})
    longest = sorted(times, key=lambda name: -times[name][0])[:8]
    return {
        "answers": "milliseconds that `import durable` takes",
        **medians(rounds),
        "modules": len(times),
        "longest": {name: round(times[name][0] / 1e3, 1) for name in longest},
        "spread": spread(rounds, "import_ms", "wall_ms"),
    }


@click.command(help=__doc__)
@click.option("--repeat", default=9, show_default=True)
@told.json_option
def main(repeat: int, as_json: bool) -> None:
    told.tell(measure(repeat), as_json)
