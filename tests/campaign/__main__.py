"""`python -m tests.campaign NAME [--seeds N | --minutes N] [--seed S]`; exit 1 when there was a fault."""

import argparse
import signal
import sys

from tests.campaign.plan import NAMES, Campaign, campaign
from tests.campaign.reporting import altered, head, keep_failed, text, write_row
from tests.campaign.running import Limit, noticed, run


def main() -> int:
    asked = _arguments()
    chosen = [campaign(name) for name in (NAMES if asked.name == "all" else [asked.name])]
    return max(_run(each, asked) for each in chosen)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description="Run a reliability campaign.")
    parser.add_argument("name", choices=[*NAMES, "all"])
    until = parser.add_mutually_exclusive_group()
    until.add_argument("--seeds", type=int, help="how many seeds to try (default: until a release has enough)")
    until.add_argument("--minutes", type=float, help="how long to try")
    until.add_argument("--short", action="store_true", help="as many tries as CI makes")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=1, help="how many seeds at once")
    parser.add_argument("--dry", action="store_true", help="print the figures only: nothing is written")
    return parser.parse_args()


def _run(chosen: Campaign, asked: argparse.Namespace) -> int:
    commit = None if asked.dry else head()
    before = altered(commit) if commit else []
    figures = run(chosen, _limit(chosen, asked), asked.seed, asked.processes)
    blind, controls = _controls(chosen, asked.seed)
    print(text(chosen, figures, controls), flush=True)
    if commit:
        keep_failed(chosen, figures)
        if unlike := before or altered(commit):
            print(f"  no row is written: {unlike[0]} is not as in commit {commit}", file=sys.stderr)
        else:
            write_row(chosen, figures, controls, commit)
    return 1 if figures.faults or blind else 0


def _limit(chosen: Campaign, asked: argparse.Namespace) -> Limit:
    if asked.seeds is not None:
        return Limit(seeds=asked.seeds)
    if asked.minutes is not None:
        return Limit(seconds=60 * asked.minutes)
    return Limit(tries=chosen.short if asked.short else chosen.full)


def _controls(chosen: Campaign, seed: int) -> tuple[bool, list[str]]:
    """Whether a control was not noticed, and a line of text for each."""
    blind, said = False, []
    for control in chosen.controls:
        found = noticed(control, seed)
        blind = blind or found is None
        said.append(f"{control.what}: {f'noticed at seed {found[0]}' if found else 'NOT NOTICED'}")
    return blind, said


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the figures so far, and nobody left behind
    sys.exit(main())
