"""Ids ascend and are unique, also when the clock is set back."""

import os
import re
import threading
from itertools import pairwise

from queuectl import runtime
from queuectl.runtime import new_id

NOW = 1_795_490_400_000_000
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_ids_of_one_moment_ascend_and_are_unique():
    ids = [new_id(NOW) for _ in range(20_000)]
    assert ids == sorted(set(ids))
    assert all(map(UUID7.fullmatch, ids))


def test_ids_ascend_when_the_clock_is_set_back():
    ids = [new_id(now) for now in (NOW + 10_000_000, NOW + 10_000_000, NOW, NOW + 5_000_000, NOW + 10_001_000)]
    assert ids == sorted(set(ids))


def test_the_time_of_an_id_is_its_moment(monkeypatch):
    monkeypatch.setattr(runtime, "_numbers", runtime.AscendingNumbers())  # other tests made ids of later moments
    assert int(new_id(NOW).replace("-", "")[:12], 16) == NOW // 1000


def test_the_differences_between_ids_are_random():
    numbers = [int(new_id(NOW + 200_000_000).replace("-", ""), 16) for _ in range(100)]
    assert len({b - a for a, b in pairwise(numbers)}) > 90


def test_threads_never_share_an_id():
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append([new_id(NOW) for _ in range(2000)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for ids in found for each in ids}) == 16_000


def test_a_forked_child_does_not_continue_the_sequence_of_its_parent():
    moment = NOW + 300_000_000
    new_id(moment)
    new_id(moment)  # there are random numbers in store for the next ids
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, new_id(moment).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        other = pipe.read()
    assert UUID7.fullmatch(other)
    assert abs(int(other.replace("-", ""), 16) - int(new_id(moment).replace("-", ""), 16)) > 1 << 40
