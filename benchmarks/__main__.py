"""`python -m benchmarks`: runs the benchmarks, prints a table of each, and writes the files that were asked for."""

import argparse
import os
import sys
import time
import traceback
from types import ModuleType

from benchmarks import (
    bulk,
    bulk_peers,
    checking,
    claim,
    dependencies,
    enqueue,
    feeds,
    last_smoke,
    latency,
    machine,
    memory,
    postgres,
    report,
    slots,
)
from benchmarks.plan import Plan, folder
from benchmarks.process import BenchmarkError
from benchmarks.result import Result

BENCHMARKS: dict[str, ModuleType] = {
    "enqueue": enqueue,
    "bulk": bulk,
    "bulk_peers": bulk_peers,
    "slots": slots,
    "claim": claim,
    "dependencies": dependencies,
    "latency": latency,
    "memory": memory,
    "checking": checking,
    "feeds": feeds,
    "postgres": postgres,
}


def main() -> int:
    """0 when every benchmark ran, whether or not it met its target.

    1 when one could not run, or when a smoke run is ten times slower than the last recorded one.
    """
    options = _options()
    pages = {"json": _absolute(options.json), "markdown": _absolute(options.markdown)}
    plan = Plan(options.smoke, options.rounds, _absolute(options.keep))
    os.makedirs(plan.keep or ".", exist_ok=True)
    os.chdir(options.dir or os.environ.get("TMPDIR", "/tmp"))
    with folder("benchmarks") as place:
        os.chdir(place)
        facts = machine.facts()
        found, failures = _run(options.only or list(BENCHMARKS), plan)
        os.chdir(os.pardir)
    if plan.smoke:
        failures += last_smoke.absurd(found)
    notes = failures + [f"skipped: {name} is not installed (`{how}`)" for name, how in plan.skipped.items()]
    for line in notes:
        print(line, file=sys.stderr)
    about = {name: _about(module) for name, module in BENCHMARKS.items()}
    _write(pages["json"], report.as_json(facts, found, notes))
    _write(pages["markdown"], report.as_markdown(facts, found, about, notes))
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, help="how often each side runs (default: by benchmark)")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one round: shows only that all of it runs")
    parser.add_argument("--json", metavar="FILE", help="write every sample as JSON")
    parser.add_argument("--markdown", metavar="FILE", help="write the results page")
    parser.add_argument("--dir", help="the disk to measure on (default: TMPDIR, or /tmp)")
    parser.add_argument("--keep", metavar="DIR", help="keep the large queues of `claim` there for the next run")
    return parser.parse_args()


def _absolute(path: str | None) -> str | None:
    return os.path.abspath(path) if path else None


def _run(names: list[str], plan: Plan) -> tuple[dict[str, list[Result]], list[str]]:
    """Runs one benchmark after the other; one that fails does not stop the rest."""
    found: dict[str, list[Result]] = {}
    failures: list[str] = []
    for name in names:
        started = time.monotonic()
        try:
            found[name] = BENCHMARKS[name].measure(plan)
        except Exception as error:
            if not isinstance(error, BenchmarkError):
                traceback.print_exc()
            failures.append(f"failed: {name}: {error}")
            continue
        print(f"{name}: {_about(BENCHMARKS[name])} ({time.monotonic() - started:.0f} s)\n")
        print(report.table(found[name]), "\n", flush=True)
    return found, failures


def _about(module: ModuleType) -> str:
    return (module.__doc__ or "").splitlines()[0]


def _write(path: str | None, text: str) -> None:
    if path:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(main())
