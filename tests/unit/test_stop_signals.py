"""The number of stop requests in a burst of signals."""

from signal import SIGHUP, SIGINT, SIGTERM

import pytest

from queuectl.units import SECOND
from queuectl.worker.stop_signals import STOP_NOW, StopRequests

LATER = SECOND


@pytest.mark.parametrize(
    ("signals", "requests"),
    [
        ([], 0),
        ([(SIGTERM, 0)], 1),
        ([(SIGTERM, 0), (SIGTERM, 0), (SIGTERM, LATER - 1)], 1),
        ([(SIGHUP, 0), (SIGTERM, 5), (SIGHUP, 9)], 1),
        ([(SIGHUP, 0), (SIGHUP, LATER), (SIGHUP, 9 * LATER)], 1),
        ([(SIGTERM, 0), (SIGHUP, LATER)], 1),
        ([(SIGTERM, 0), (SIGTERM, LATER)], 2),
        ([(SIGHUP, 0), (SIGINT, LATER)], 2),
        ([(SIGINT, 0), (SIGINT, 10), (SIGINT, LATER), (SIGINT, 2 * LATER)], 2),
        ([(SIGTERM, 0), (STOP_NOW, 1)], 2),
        ([(STOP_NOW, 0)], 2),
    ],
)
def test_signals_that_come_together_are_one_request(signals: list[tuple[int, int]], requests: int) -> None:
    counted = StopRequests()
    for number, moment in signals:
        counted.add(number, 7 * SECOND + moment)
    assert counted.count == requests
