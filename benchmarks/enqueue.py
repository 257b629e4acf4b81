"""Adding one job as a whole process: the time that a person or a script waits."""

import sys
from functools import partial

from benchmarks import nothing, queue
from benchmarks.peers import installed
from benchmarks.plan import Plan, folder, in_turn
from benchmarks.process import timed
from benchmarks.result import Result, against, at_most


def measure(plan: Plan) -> list[Result]:
    """Our `enqueue true` compared with a typer program that does nothing, and with the other queues' commands."""
    with folder("enqueue") as home, installed(plan) as peers:
        argv = {
            "typer doing nothing": ([sys.executable, nothing.__file__, "true"], {}),
            "queuectl": (queue.command(f"{home}/queue.db", "enqueue", "true"), {}),
        } | {name: (list(peer.add), peer.env) for name, peer in peers.items()}
        sides = {name: partial(timed, words, env=env) for name, (words, env) in argv.items()}
        in_turn(sides, 2)  # compiles, creates the queue, starts the servers
        samples = in_turn(sides, plan.rounds(20), pause=0.02)
    milliseconds = {name: [1000 * seconds for seconds in times] for name, times in samples.items()}
    return against("whole process", "ms", milliseconds, {"typer doing nothing": at_most(1.25)})
