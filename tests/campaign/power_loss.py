"""Power loss: the real store on a disk that loses, tears and reorders unsynced data, and sometimes fails."""

from functools import partial
from unittest.mock import patch

from queuectl.store.sql.writer import Writer
from queuectl.store.sqlite.engine import SqliteEngine
from tests.campaign.plan import Attempt, Campaign, Control
from tests.kill.builds import append_apart
from tests.powerloss import workload
from tests.powerloss.campaign import STATES_OF_A_RECORDING, Live, run
from tests.powerloss.oracle import HALF, LOST, REFUSED
from tests.powerloss.workload import Recording, begin_unsynced, record

__all__ = ["CAMPAIGN"]


def attempt(seed: int, live: Live = record, kind: str = "", states: int = STATES_OF_A_RECORDING) -> Attempt:
    """One recording of a queue and 1,000 possible disks after a power cut; returns the faults of a kind."""
    figures = run(states, seed, live)
    faults = [fault for fault, number in figures.faults.items() if fault.startswith(kind) for _ in range(number)]
    counted = {
        "different disks": figures.disks,
        "acknowledged events looked for": figures.acknowledged,
        "writes and syncs that failed": figures.failed,
        "disks restored by `recover` after a failed sync": figures.recovered,
    }
    return Attempt(figures.states, faults, counted)


def fast(folder: str, seed: int) -> Recording:
    """A recording with durability `fast`."""
    return record(folder, seed, durability="fast")


def unsynced(folder: str, seed: int) -> Recording:
    """A recording with `synchronous=OFF`, which no setting of a queue can choose."""
    with patch.object(SqliteEngine, "begin", begin_unsynced):
        return record(folder, seed)


def careless(folder: str, seed: int) -> Recording:
    """A recording with a failing disk, in which failed syncs are ignored."""
    with patch.object(SqliteEngine, "_empty_wal", lambda engine: None), patch.object(workload, "TROUBLE", (0.06,)):
        return record(folder, seed)


def apart(folder: str, seed: int) -> Recording:
    """A recording in which the consequences of an event follow in a transaction of their own."""
    with patch.object(Writer, "append", append_apart):
        return record(folder, seed)


def control(what: str, live: Live, kind: str, seeds: int = 20) -> Control:
    """A control with a defective recording; a few disks are enough."""
    return Control(what, partial(attempt, live=live, kind=kind, states=60), seeds)


CAMPAIGN = Campaign(
    name="power-loss",
    unit="crash states",
    short=1_500,
    full=1_000_000,
    attempt=attempt,
    brief=partial(attempt, states=200),
    controls=(
        control("durability `fast` loses acknowledged events", fast, LOST),
        control("`synchronous=OFF` corrupts", unsynced, f"{REFUSED}: cannot use the queue …/queue.db: it is damaged"),
        control("consequences in a transaction of their own are lost", apart, HALF),
        control("writing after a failed sync loses acknowledged events", careless, LOST, seeds=40),
    ),
)
