"""What the lives that the campaign `simulation` makes from seeds have in them."""

from tests.simulation.simulation import Simulation


def test_the_seeds_meet_everything_there_is() -> None:
    """A campaign in which something never happens proves nothing about it."""
    met, hosts = set(), set()
    for seed in range(15):
        life = Simulation(seed)
        met |= {record.type for record in life.run_all()}
        hosts |= {process.row.boot_id for process in life.world.workers.values()}
    assert met >= {
        *("enqueued", "claimed", "completed", "retry_scheduled", "dead_lettered", "released", "cancelled", "requeued"),
        *("purged", "cancel_requested", "result_rejected", "queue_paused", "queue_resumed"),
        *("worker_started", "worker_stopped", "worker_lost"),
    }
    assert {"node-1/boot-1", "node-1/boot-2", "node-2/boot-1", "node-2/boot-2"} <= hosts
