"""How the events of a job are told in `history` and `explain`."""

import pytest

from queuectl.domain import events as e
from queuectl.render.narrative import tell
from tests.support.builders import START
from tests.support.events import buried, completed, retried

ENDS = {
    "done": completed(left_behind=2),
    "retried": retried(left_behind=2),
    "dead": buried(left_behind=2),
    "put back": e.Released(run=1, reason="the worker was stopped", left_behind=2),
    "cancelled": e.Cancelled(run=1, left_behind=2),
}


@pytest.mark.parametrize("event", ENDS.values(), ids=ENDS)
def test_each_end_of_a_run_tells_what_the_run_left(event: e.Event) -> None:
    assert "killed 2 background processes that it left" in tell(e.RecordedEvent(3, "a", 3, START, "w1", event), None)
