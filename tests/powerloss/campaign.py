"""Many cuts of many recordings, and the figures."""

import io
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from random import Random

from tests.powerloss.disk import Disk, Files, Told
from tests.powerloss.oracle import KINDS, failure, faults
from tests.powerloss.recording import booted
from tests.powerloss.workload import Recording, record

STATES_OF_A_RECORDING = 250
AFTERWARDS = 8
MEMORY = "/dev/shm"

Live = Callable[[str, int], Recording]
"""(an empty folder, a seed) -> what was recorded there."""


@dataclass(slots=True)
class Figures:
    """What was tried and what came of it; `examples` has a state for each kind of fault, to look at it again."""

    recordings: int = 0
    steps: int = 0
    states: int = 0
    told: int = 0
    faulty: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def of_kind(self, kind: str) -> int:
        """How many states had a fault of that kind."""
        return sum(number for fault, number in self.faults.items() if fault.startswith(kind))

    def __str__(self) -> str:
        lines = [
            f"{self.recordings} recordings of {self.steps} steps, {self.states} disks after a cut,"
            f" {self.told} told events looked for, {self.faulty} disks with a fault",
            ", ".join(f"{kind} {self.of_kind(kind)}" for kind in KINDS),
        ]
        lines += [f"{number:6} {fault} [{self.examples[fault]}]" for fault, number in self.faults.most_common()]
        return "\n".join(lines)


def run(states: int, seed: int, live: Live = record) -> Figures:
    """So many states, with a new recording from the next seed for every 250."""
    figures = Figures()
    while figures.states < states:
        _run_recording(figures, seed, min(STATES_OF_A_RECORDING, states - figures.states), live)
        seed += 1
    return figures


def _run_recording(figures: Figures, seed: int, states: int, live: Live) -> None:
    with scratch() as folder:
        recording = live(folder, seed)
    figures.recordings += 1
    figures.steps += len(recording.steps)
    for name, disk, rng in _cuts(recording, seed, states):
        found = _faults(recording, disk, rng)
        figures.states += 1
        figures.told += disk.told
        figures.faulty += bool(found)
        for fault in found:
            figures.faults[fault] += 1
            figures.examples.setdefault(fault, name)


def _cuts(recording: Recording, seed: int, states: int) -> Iterator[tuple[str, Disk, Random]]:
    """The disk at moments of a recording, every other one just when someone was told something."""
    rng = Random(f"cuts of {seed}")
    steps = recording.steps
    telling = [number for number, step in enumerate(steps, 1) if isinstance(step, Told)]
    moments = sorted(rng.choice(telling) if n % 2 else rng.randint(0, len(steps)) for n in range(states))
    disk, at = Disk(), 0
    for number, moment in enumerate(moments):
        while at < moment:
            disk.take(steps[at])
            at += 1
        name = f"seed {seed}, state {number} of {states}, step {moment}"
        yield name, disk, Random(f"{seed}:{number}")


def _faults(recording: Recording, disk: Disk, rng: Random) -> list[str]:
    """What is wrong after a cut; one time in five after another one, a few operations later."""
    try:
        if rng.random() < 0.2:
            recording, disk = _another_cut(recording, disk, rng)
    except Exception as error:
        return [f"{failure(error)}: {error}"]
    with _left(recording, disk, rng) as path, booted():
        return faults(path, disk.told, recording.digests)


def _another_cut(recording: Recording, disk: Disk, rng: Random) -> tuple[Recording, Disk]:
    with _left(recording, disk, rng) as path, redirect_stderr(io.StringIO()):
        later = record(os.path.dirname(path), rng.randrange(1_000_000), operations=AFTERWARDS)
    again = Disk(disk.told)
    for step in later.steps[: rng.randint(later.begin, len(later.steps))]:
        again.take(step)
    return later, again


@contextmanager
def _left(recording: Recording, disk: Disk, rng: Random) -> Iterator[str]:
    """One of the disks that the cut leaves, for a moment; where the database is."""
    with scratch() as folder:
        _build(disk.after_a_cut(rng), os.path.dirname(recording.path), folder)
        yield os.path.join(folder, os.path.basename(recording.path))


def _build(files: Files, old: str, folder: str) -> None:
    """Make the files, in another folder than they were in."""
    for path, content in sorted(files.items()):
        place = os.path.join(folder, os.path.relpath(path, old))
        if content is None:
            os.mkdir(place)
        else:
            with open(place, "wb") as file:
                file.write(content)


@contextmanager
def scratch() -> Iterator[str]:
    """A folder for a moment, in memory where there is such a place."""
    folder = tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
