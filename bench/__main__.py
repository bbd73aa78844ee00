"""`python -m bench`: runs the scenarios on the servers, round by round, and reports."""

import argparse
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.load import LoadFailed
from bench.measurement import Run
from bench.net import TooSlow
from bench.report import print_report, problems, write_json
from bench.scenarios import SCENARIOS, Scenario
from bench.servers import SERVERS, Job, Server
from bench.surroundings import Surroundings

PRINTED_WIDTH = 180
"""Columns where the output is no terminal."""


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="scenarios to run; all if none is named")
    parser.add_argument("--servers", help="comma-separated: " + ",".join(SERVERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="roughly, of each timed run")
    parser.add_argument("--long", action="store_true", help="the long scenarios too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="for all data")
    parser.add_argument("--keep", action="store_true", help="keep the servers' directories")
    parser.add_argument("--list", action="store_true", help="list the scenarios and stop")
    parser.add_argument("--strict", action="store_true", help="fail when a server is missing")
    options = parser.parse_args(given)
    unknown = set(options.scenarios) - set(SCENARIOS)
    unknown |= set((options.servers or "").split(",")) - set(SERVERS) - {""}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def installed(names: Sequence[str], console: Console, strict: bool) -> list[type[Server]]:
    """The servers that this machine has; says which it has not."""
    kinds = []
    for name in names:
        missing = SERVERS[name].missing()
        if missing and strict:
            raise SystemExit(f"{name}: {missing}")
        if missing:
            console.print(f"[yellow]{name} is left out: {missing}[/]")
        else:
            kinds.append(SERVERS[name])
    return kinds


def print_settings(
    kinds: Sequence[type[Server]], surroundings: Surroundings, console: Console
) -> dict[str, str]:
    """Prints how each server is set up; the texts by server."""
    texts = {}
    for kind in kinds:
        with surroundings.home(kind.name) as home:
            texts[kind.name] = kind(Job(relay_port=2526), home).settings()
        console.print(f"[bold]{kind.name}[/]")
        console.print(texts[kind.name] + "\n", highlight=False, markup=False)
    return texts


def run_scenario(
    scenario: Scenario,
    kinds: Sequence[type[Server]],
    rounds: int,
    surroundings: Surroundings,
    console: Console,
) -> list[Run]:
    """All rounds of a scenario, the servers taking turns within each."""
    runs: list[Run] = []
    name = scenario.measure.name
    for number in range(1, min(rounds, scenario.most_rounds) + 1):
        for kind in kinds:
            try:
                run = scenario.measure.measure(kind, surroundings)
            except (TooSlow, LoadFailed, OSError) as error:
                run = Run(name, kind.name, error=f"{type(error).__name__}: {error}")
            runs.append(run)
            figures = ", ".join(f"{key} {value:.4g}" for key, value in run.metrics.items())
            lost = f", LOST {run.lost}" if run.lost else ""
            console.print(f"{name} round {number} {kind.name}: {figures or run.error}{lost}")
    return runs


def scenarios(long: bool) -> list[str]:
    """Names of those that run when none is named."""
    return [name for name, scenario in SCENARIOS.items() if long or not scenario.long]


def chosen_servers(options: argparse.Namespace, scenario: Scenario) -> list[str]:
    """Names of the servers for a scenario: those asked for, else those it is made for."""
    if options.servers:
        return [name for name in SERVERS if name in options.servers.split(",")]
    return list(scenario.servers)


def main(given: Sequence[str]) -> int:
    """Runs the benchmark; 1 if mail was lost, a server failed or a goal was missed."""
    options = arguments(given)
    console = Console() if sys.stdout.isatty() else Console(width=PRINTED_WIDTH)
    if options.list:
        for name, scenario in SCENARIOS.items():
            console.print(f"{name:12} {scenario.title} ({', '.join(scenario.servers)})")
        return 0
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    surroundings = Surroundings(options.directory, options.seconds, options.keep)
    wanted = options.servers.split(",") if options.servers else list(SERVERS)
    kinds = installed([name for name in SERVERS if name in wanted], console, options.strict)
    settings = print_settings(kinds, surroundings, console)
    runs: list[Run] = []
    for name in options.scenarios or scenarios(options.long):
        scenario = SCENARIOS[name]
        taking_part = chosen_servers(options, scenario)
        fit = [kind for kind in kinds if kind.name in taking_part and scenario.takes(kind)]
        console.rule(f"{name}: {scenario.title}")
        runs += run_scenario(scenario, fit, options.rounds, surroundings, console)
        if options.json:
            write_json(options.json, runs, settings)
    print_report(console, runs, [kind.name for kind in kinds])
    return 1 if problems(runs) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
