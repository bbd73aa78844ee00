"""The results as a table for people and as JSON for programs."""

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table

from bench.goals import GOALS, OURS, POSTFIX, Goal, Medians
from bench.measurement import UNITS, Run, medians
from bench.scenarios import SCENARIOS, Scenario

STOCK, MOX = "twisted", "mox"
VERDICTS = {True: "[green]pass[/]", False: "[red]FAIL[/]", None: ""}


def problems(runs: Sequence[Run]) -> list[str]:
    """What makes the whole run worthless or wrong: errors, mail lost, goals missed."""
    found = medians(runs)
    lines = [f"{run.scenario} {run.server}: {_brief(run.error)}" for run in runs if run.error]
    for run in runs:
        if run.lost:
            what = "lost" if run.lost > 0 else "arrived twice"
            lines.append(
                f"{run.scenario} {run.server}: {abs(run.lost)} of {run.sent} messages {what}"
            )
    missed = [goal for goal in GOALS if goal.is_met(found) is False]
    lines += [f"{goal.scenario}: {UNITS[goal.metric]} not {goal.text()}" for goal in missed]
    return lines


def _brief(error: str) -> str:
    """The first line and the last, which ends the output of the server."""
    lines = [line for line in error.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1].strip()}"


def print_report(console: Console, runs: Sequence[Run], servers: Sequence[str]) -> None:
    """Prints the medians, the ratios and the verdicts."""
    found = medians(runs)
    shown = [name for name in servers if any(server == name for _scenario, server in found)]
    table = Table(title="Medians; CPU and memory are of all processes of a server")
    table.add_column("scenario")
    table.add_column("")
    for name in shown:
        table.add_column(name, justify="right")
    for title in (*(f"{OURS}/{other}" for other in _compared(shown)), "goal", ""):
        table.add_column(title, justify="right")
    for name, scenario in SCENARIOS.items():
        if any(measured == name for measured, _server in found):
            _add_scenario(table, scenario, found, shown)
    console.print(table)
    sent = sum(run.sent for run in runs)
    console.print(f"{sent:,} messages sent in {len(runs)} runs.")
    for line in problems(runs) or ["Nothing lost, nothing twice, no goal missed."]:
        console.print(line, highlight=False)


def _add_scenario(table: Table, scenario: Scenario, found: Medians, servers: list[str]) -> None:
    name = scenario.measure.name
    for position, metric in enumerate(scenario.shown):
        values = {server: found.get((name, server), {}).get(metric) for server in servers}
        goal = _goal(name, metric)
        table.add_row(
            name if position == 0 else "",
            UNITS[metric],
            *(_number(value) for value in values.values()),
            *(_ratio(values.get(OURS), values.get(other)) for other in _compared(servers)),
            goal.text() if goal else "",
            _verdict(goal, found),
            end_section=position == len(scenario.shown) - 1,
        )


def _compared(servers: Sequence[str]) -> Sequence[str]:
    """The servers that ours is set against in columns of their own."""
    return [POSTFIX, STOCK, *([MOX] if MOX in servers else [])]


def _goal(scenario: str, metric: str) -> Goal | None:
    wanted = (scenario, metric)
    return next((goal for goal in GOALS if (goal.scenario, goal.metric) == wanted), None)


def _verdict(goal: Goal | None, found: Medians) -> str:
    if goal is None:
        return ""
    value, verdict = goal.value(found), VERDICTS[goal.is_met(found)]
    return verdict if value is None or goal.absolute else f"{value:.2f} {verdict}"


def _ratio(ours: float | None, other: float | None) -> str:
    return f"{ours / other:.2f}" if ours is not None and other else ""


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def write_json(path: Path, runs: Sequence[Run], settings: dict[str, str]) -> None:
    """Writes every run, the medians, the goals and the settings."""
    found = medians(runs)
    document = {
        "machine": {
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "settings": settings,
        "runs": [attrs.asdict(run) for run in runs],
        "medians": [
            {"scenario": scenario, "server": server, "metrics": metrics}
            for (scenario, server), metrics in found.items()
        ],
        "goals": [
            {**attrs.asdict(goal), "value": goal.value(found), "met": goal.is_met(found)}
            for goal in GOALS
        ],
        "problems": problems(runs),
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
