"""``durable check``: reads workflow code, and says what a replay would not do again."""

from __future__ import annotations

from collections.abc import Iterator

import click

from .._check.checking import Report, check
from .._check.rules import RULES, named_by_code
from .output import EXIT_FAILED, EXIT_USAGE, as_json, clean, output_option


@click.command()
@click.argument("given", metavar="MODULE|PATH...", nargs=-1)
@output_option
@click.option("--strict", is_flag=True, help="warnings count, too: exit code 1")
@click.option("--ignore", multiple=True, metavar="CODE", type=click.Choice([*RULES]),
              help="a rule that does not count here; may be given again")  # fmt: skip
@click.option("--rules", is_flag=True, help="print the rules, and the names that they know")
def check_command(
    given: tuple[str, ...], output: str, strict: bool, ignore: tuple[str, ...], rules: bool
) -> int:
    """Read workflows and what they call, and say where a replay would not do the same: clocks,
    chance, I/O, threads, the order of sets, globals, forgotten awaits, swallowed cancellations.

    Takes files, folders and modules (as in `durable check shop.orders` or `durable check .`);
    imports and runs nothing. The rules, and how to silence one line, are in docs/check.md.

    Exit codes: 0 nothing is wrong, 1 something is (with --strict: or is warned of), 2 something
    given is not there, is no Python, or holds no workflow.
    """
    if rules:
        click.echo(as_json([each._asdict() for each in RULES.values()]) if output == "json" else
                   "\n".join(_rules()))  # fmt: skip
        return 0
    if not given:
        raise click.UsageError("Give files, folders or modules, as in `durable check .`")
    report = check(given, ignore=ignore)
    troubles = [*report.troubles]
    if not report.workflows and not troubles:
        troubles.append(f"{' '.join(given)}: no function with @workflow in {_files(report)}.")
    if output == "json":
        click.echo(as_json([each.facts() for each in report.findings]))
    else:
        _print(report)
    for each in troubles:
        click.echo(clean(f"durable: {each}"), err=True)
    if troubles:
        return EXIT_USAGE
    counts = [each for each in report.findings if strict or each.level == "error"]
    return EXIT_FAILED if counts else 0


def _print(report: Report) -> None:
    for each in report.findings:
        for line in each.text.splitlines():
            click.echo(clean(line))
    count, workflows = len(report.findings), report.workflows
    found = "nothing found" if not count else f"{count} finding{'s' * (count != 1)}"
    if workflows:
        click.echo(f"{found} in {workflows} workflow{'s' * (workflows != 1)}, {_files(report)}")


def _rules() -> Iterator[str]:
    names = named_by_code()
    for each in RULES.values():
        yield f"{each.code} ({each.level}) {each.what}: {each.why}. {each.instead}."
        if each.code in names:
            yield from (f"    {line}" for line in names[each.code].split("; "))


def _files(report: Report) -> str:
    return "1 file" if report.files == 1 else f"{report.files} files"
