"""Many power cuts of many recordings, and the figures."""

import io
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from tests.powerloss.disk import Acknowledged, Disk, Files
from tests.powerloss.oracle import DAMAGED, KINDS, REFUSED, Oracle, failure
from tests.powerloss.recording import booted
from tests.powerloss.workload import Recording, record

STATES_OF_A_RECORDING = 1000
AFTERWARDS = 8
CUTS_AFTERWARDS = 20
SECOND_LIVES = 0.01
"""So many disks are worked on with for a while, and cut again so many times: one state in six is of a second life."""
MEMORY = "/dev/shm"

Live = Callable[[str, int], Recording]
"""(an empty folder, a seed) -> what was recorded there."""


@dataclass(slots=True)
class Figures:
    """The numbers of states and faults; `examples` has a state for each kind of fault, to reproduce it."""

    recordings: int = 0
    steps: int = 0
    states: int = 0
    disks: int = 0
    acknowledged: int = 0
    failed: int = 0
    recovered: int = 0
    faulty: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def of_kind(self, kind: str) -> int:
        """The number of states with a fault of that kind."""
        return sum(number for fault, number in self.faults.items() if fault.startswith(kind))

    def __str__(self) -> str:
        lines = [
            f"{self.recordings} recordings of {self.steps} steps, {self.states} cuts, {self.disks} different disks,"
            f" {self.acknowledged} acknowledged events looked for, {self.failed} operations failed,"
            f" {self.recovered} disks recovered, {self.faulty} with a fault",
            ", ".join(f"{kind} {self.of_kind(kind)}" for kind in KINDS),
        ]
        lines += [f"{number:6} {fault} [{self.examples[fault]}]" for fault, number in self.faults.most_common()]
        return "\n".join(lines)


class Judged(NamedTuple):
    """A disk: its name, how many events were acknowledged, and its faults."""

    name: str
    acknowledged: int
    faults: list[str]
    recovered: bool = False
    new: bool = True


def run(states: int, seed: int, live: Live = record) -> Figures:
    """Check `states` states, with a new recording from the next seed for every 1,000."""
    figures = Figures()
    while figures.states < states:
        _run_recording(figures, seed, min(STATES_OF_A_RECORDING, states - figures.states), live)
        seed += 1
    return figures


def _run_recording(figures: Figures, seed: int, states: int, live: Live) -> None:
    with scratch() as folder:
        recording = live(folder, seed)
    figures.failed += recording.failed
    figures.recordings += 1
    figures.steps += len(recording.steps)
    for judged in _judged(recording, f"seed {seed}", states):
        figures.states += 1
        figures.disks += judged.new
        figures.acknowledged += judged.acknowledged
        figures.recovered += judged.recovered
        figures.faulty += bool(judged.faults)
        for fault in judged.faults:
            figures.faults[fault] += 1
            figures.examples.setdefault(fault, judged.name)


def _judged(recording: Recording, name: str, states: int, acknowledged: int = 0) -> Iterator[Judged]:
    """The verdicts on `states` disks, and on some more of recordings that continued after a cut.

    Half of the cuts leave the same bytes as an earlier one. Such a disk is not checked twice.
    """
    oracle, known = Oracle(recording.digests, recording.attempted), dict[Any, Judged]()
    for state, disk, rng in _cuts(recording, name, states, acknowledged):
        files = disk.after_a_cut(rng)
        left = (disk.acknowledged, disk.spoiled, *sorted(files.items()))
        if left in known:
            yield known[left]._replace(name=state, new=False)
        else:
            known[left] = _verdict(state, recording, disk, files, oracle)
            yield known[left]
        if states > CUTS_AFTERWARDS and not disk.spoiled and rng.random() < SECOND_LIVES:
            yield from _afterwards(recording, state, disk, rng)


def _verdict(state: str, recording: Recording, disk: Disk, files: Files, oracle: Oracle) -> Judged:
    """A power cut after a failed sync may leave damage; then `recover` must restore everything."""
    with _left(files, recording) as path, booted():
        found = oracle.faults(path, disk.acknowledged)
    if not disk.spoiled or not any(fault.startswith((DAMAGED, REFUSED)) for fault in found):
        return Judged(state, disk.acknowledged, found)
    with _left(files, recording) as path, booted():
        return Judged(state, disk.acknowledged, oracle.faults_once_recovered(path, disk.acknowledged), recovered=True)


def _cuts(recording: Recording, name: str, states: int, acknowledged: int) -> Iterator[tuple[str, Disk, Random]]:
    """The disk at random moments of a recording, every other one just at an acknowledgement."""
    rng = Random(f"cuts of {name}")
    steps, first = recording.steps, recording.begin
    acknowledging = [number for number, step in enumerate(steps, 1) if isinstance(step, Acknowledged)] or [len(steps)]
    moments = sorted(rng.choice(acknowledging) if n % 2 else rng.randint(first, len(steps)) for n in range(states))
    disk, at = Disk(acknowledged), 0
    for number, moment in enumerate(moments):
        while at < moment:
            disk.take(steps[at])
            at += 1
        state = f"{name}, state {number}, step {moment}"
        yield state, disk, Random(state)


def _afterwards(recording: Recording, name: str, disk: Disk, rng: Random) -> Iterator[Judged]:
    """Continue with a few operations on the disk after a cut, and then cut the power again."""
    try:
        with _left(disk.after_a_cut(rng), recording) as path, redirect_stderr(io.StringIO()):
            later = record(os.path.dirname(path), rng.randrange(1_000_000), operations=AFTERWARDS)
    except Exception as error:
        yield Judged(name, disk.acknowledged, [f"{failure(error)}: {error}"])
        return
    yield from _judged(later, f"{name}, afterwards", CUTS_AFTERWARDS, disk.acknowledged)


@contextmanager
def _left(files: Files, recording: Recording) -> Iterator[str]:
    """Create the files that a cut left, temporarily; yields the path of the database."""
    with scratch() as folder:
        _build(files, os.path.dirname(recording.path), folder)
        yield os.path.join(folder, os.path.basename(recording.path))


def _build(files: Files, old: str, folder: str) -> None:
    """Create the files in another folder than they were in."""
    for path, content in sorted(files.items()):
        place = os.path.join(folder, os.path.relpath(path, old))
        if content is None:
            os.mkdir(place)
        else:
            with open(place, "xb") as file:
                file.write(content)


@contextmanager
def scratch() -> Iterator[str]:
    """A temporary folder, in memory if possible."""
    folder = tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
