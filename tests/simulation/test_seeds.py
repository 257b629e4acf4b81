"""The seeds of the campaign `simulation` cover every kind of fault and event."""

from tests.simulation.simulation import Simulation


def test_the_seeds_meet_every_kind_of_fault_and_event() -> None:
    """A campaign proves nothing about something that never happens in it."""
    met, hosts = set(), set()
    for seed in range(15):
        life = Simulation(seed)
        met |= {record.type for record in life.run_all()}
        hosts |= {process.row.boot_id for process in life.world.workers.values()}
    assert met >= {
        *("enqueued", "claimed", "completed", "retry_scheduled", "dead_lettered", "released", "cancelled", "requeued"),
        *("purged", "cancel_requested", "amended", "result_rejected", "queue_paused", "queue_resumed"),
        *("worker_started", "worker_stopped", "worker_lost", "batch_opened"),
    }
    assert {"node-1/boot-1", "node-1/boot-2", "node-2/boot-1", "node-2/boot-2"} <= hosts
