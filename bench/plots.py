"""The plots of ``docs/performance.md``, drawn from the reports; nothing if matplotlib is not here.

As SVG with texts as texts, and without dates or random names, so that a plot changes only where its
figures do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Reports = Mapping[str, Mapping[str, Any]]

INK, QUIET = "#333333", "#999999"
COLOURS = {"trivial": "#1b6ca8", "yielding": "#3fa34d", "io": "#e07b39"}
WORDS = {
    "trivial": "trivial",
    "yielding": "await asyncio.sleep(0)",
    "io": "1 ms of I/O",
}


def draw(reports: Reports, directory: Path) -> list[Path]:
    """Those plots whose figures are there."""
    try:
        import matplotlib as mpl  # an extra
    except ImportError:
        return []
    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({
        "svg.hashsalt": "durable", "svg.fonttype": "none", "font.size": 10,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": QUIET,
        "axes.grid": True, "grid.color": "#e5e5e5", "axes.axisbelow": True,
        "legend.frameon": False, "text.color": INK, "axes.labelcolor": INK,
    })  # fmt: skip
    drawn = []
    for name, plot in PLOTS.items():
        figure, axes = plt.subplots(figsize=(7.0, 3.8), layout="constrained")
        try:
            plot(axes, reports)
        except KeyError:  # not measured
            continue
        else:
            path = directory / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None, "Creator": None})
            drawn.append(path)
        finally:
            plt.close(figure)
    return drawn


def steps(axes: Any, reports: Reports) -> None:
    told = reports["steps"]
    for kind, colour in COLOURS.items():
        cells = [each for each in told["grid"] if each["kind"] == kind]
        runs = [each["runs"] for each in cells]
        axes.plot(runs, [each["steps_per_s"] for each in cells], "o-", color=colour,
                  label=WORDS[kind])  # fmt: skip
        lows, highs = ([by(each["spread"]) for each in cells] for by in (min, max))
        axes.fill_between(runs, lows, highs, color=colour, alpha=0.15, linewidth=0)
    for key, word in {
        "single_commit_per_s": "single-row commits, 50 connections",
        "raw_rows_per_s": "raw inserts, 500 rows each",
    }.items():
        axes.axhline(told[key], color=QUIET, linestyle="--", linewidth=1)
        axes.annotate(word, (1, told[key]), color=QUIET, fontsize=8, va="bottom")
    axes.set(xscale="log", yscale="log", xlabel="runs at once", ylabel="steps a second",
             title="Steps a second of one worker process")  # fmt: skip
    axes.legend(loc="lower right")


def cost(axes: Any, reports: Reports) -> None:
    told = reports["steps"]
    cells = [each for each in told["grid"] if each["runs"] > 1]
    names = [f"{each['runs']:,}\n{WORDS[each['kind']]}".replace("await ", "") for each in cells]
    python = [each["python_us_per_step"] for each in cells]
    postgres = [each["postgres_us_per_step"] for each in cells]
    axes.bar(names, python, color="#1b6ca8", label="Python")
    axes.bar(names, postgres, bottom=python, color="#c9a227", label="Postgres")
    axes.tick_params(axis="x", labelsize=6)
    axes.set(ylabel="µs of processor time", title="What a step costs, by runs at once")
    axes.legend()


def latency(axes: Any, reports: Reports) -> None:
    told, sent = reports["latency"], reports["signals"]
    bars = {
        "a commit of one row": told["commit_ms"],
        "one of many steps in order": told["step_ms"],
        "a one-step run, p50": told["start_p50_ms"],
        "… p99": told["start_p99_ms"],
        "… of another process, p50": told["other_start_p50_ms"],
        "signal to result, p50": sent["signal_p50_ms"],
        "… in another process, p50": sent["other_signal_p50_ms"],
    }
    names = [*bars][::-1]
    colours = [QUIET if name == "a commit of one row" else "#1b6ca8" for name in names]
    drawn = axes.barh(range(len(names)), [bars[name] for name in names], color=colours)
    axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="milliseconds", title="What a lone caller waits for")


def growth(axes: Any, reports: Reports) -> None:
    sizes = reports["growth"]["sizes"]
    finished = [f"{each['finished']:,}" for each in sizes]
    first = sizes[0]
    for key, word, colour in (
        ("steps_per_s", "steps a second", "#1b6ca8"),
        ("runs_per_s", "one-step runs a second", "#3fa34d"),
        ("single_commit_per_s", "single-row commits a second", QUIET),
    ):
        shares = [each[key] / first[key] for each in sizes]
        axes.plot(finished, shares, "o-", color=colour, label=word)
    axes.set(ylim=(0, 1.4), xlabel="finished runs in the database", ylabel="of the rate with none",
             title="The same load beside finished runs")  # fmt: skip
    axes.legend(loc="lower left")


def workers(axes: Any, reports: Reports) -> None:
    told = reports["workers"]
    counts = [n for n in range(1, 65) if f"workers_{n}_steps_per_s" in told]
    if not counts:
        raise KeyError("workers")
    rates = [told[f"workers_{n}_steps_per_s"] for n in counts]
    drawn = axes.bar([str(n) for n in counts], rates, color="#1b6ca8", width=0.5)
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set(xlabel="worker processes", ylabel="steps a second",
             title="Several processes on one Postgres")  # fmt: skip


def story(axes: Any, reports: Reports) -> None:
    told = [each for each in reports["story"]["commits"] if not each["options"]]
    names = [each["commit"] for each in told]
    thousands = [each["instructions_per_step"] / 1e3 for each in told]
    drawn = axes.bar(names, thousands, color="#1b6ca8", width=0.6)
    axes.bar_label(drawn, fmt="%.0f", padding=3, fontsize=8)
    axes.tick_params(axis="x", labelsize=7, rotation=45)
    axes.set(ylabel="thousand instructions", title="Python's instructions per step, by commit")


PLOTS: Mapping[str, Callable[[Any, Reports], None]] = {
    "steps": steps, "cost": cost, "latency": latency, "growth": growth, "workers": workers,
    "story": story,
}  # fmt: skip
