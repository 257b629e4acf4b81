"""Jobs of a schedule that are added by hand."""

from pathlib import Path

from queuectl.application.queue import Queue
from queuectl.application.schedules import Put, Schedules
from queuectl.domain.events import ScheduleSet
from tests.support.builders import ACTOR, HOUR, a_spec
from tests.support.queues import opened


def test_any_number_of_jobs_may_have_the_same_time(tmp_path: Path) -> None:
    with opened(tmp_path / "queue.db") as store:
        schedules = Schedules(Queue(store, ACTOR))
        schedules.add(Put("s", ScheduleSet(job=a_spec(), every=HOUR, start=0)))
        added = schedules.backfill("s", [0] * 1001)
    assert len(set(added)) == 1001
    assert (added[0], added[-1]) == ("s.19700101T000000Z", "s.19700101T000000Z-1001")
