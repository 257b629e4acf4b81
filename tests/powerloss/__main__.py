"""`python -m tests.powerloss --states N --seed S`: prints the figures; exit 1 when a disk had a fault."""

import argparse
import sys
import time
from functools import partial

from tests.powerloss.campaign import run
from tests.powerloss.workload import record


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.powerloss")
    parser.add_argument("--states", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--durability", choices=("safe", "paranoid", "fast"), default="safe")
    chosen = parser.parse_args()
    started = time.monotonic()
    figures = run(chosen.states, chosen.seed, partial(record, durability=chosen.durability))
    print(figures)
    print(f"{time.monotonic() - started:.1f} s")
    return 1 if figures.faulty else 0


if __name__ == "__main__":
    sys.exit(main())
