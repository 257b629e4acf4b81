"""Stateful: hypothesis drives a queue on each kind of store and a plain model of it, side by side.

After every step the answer and all tables are what the model says; at the end of a life the tables are derived again
and the log is read from its beginning. A failing life is shrunk by hypothesis and printed.
"""

import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from queuectl.application.queue import NewJob, Queue
from queuectl.domain import events as e
from queuectl.domain.commands import Exit, Release, Report
from queuectl.errors import NoSuchJobError, RefusedError
from queuectl.store.rows import JobFilter
from tests.campaign.plan import Attempt, Campaign, Control
from tests.campaign.queue_model import SECOND, Model, NotAllowedError, NotThereError
from tests.campaign.seeded_bugs import BUGS, Bug
from tests.support.builders import ACTOR, HOUR, SettableClock, claimant, derived, projected
from tests.support.stores import KINDS, Places

__all__ = ["CAMPAIGN"]

LIVES = 10
STEPS_OF_A_LIFE = 100

NAMES = [f"job-{number}" for number in range(8)]
QUEUES = ("default", "mail")
KEYS = (None, None, "key-1", "key-2")

jobs = st.sampled_from(NAMES)
several_jobs = st.lists(jobs, min_size=1, max_size=3, unique=True)
queues = st.sampled_from([*QUEUES, "*"])
numbers = st.integers(0, 7)

CAUSES: dict[str, tuple[e.AnyCause | None, int | None, str | None]] = {
    "succeeded": (None, 0, None),
    "exited": (e.Exited(3), 3, "exited with code 3: the last line"),
    "signalled": (e.Signalled(9), 137, "ended by SIGKILL: the last line"),
    "timed_out": (e.TimedOut(1_500_000), 124, "timed out after 1.5s: the last line"),
    "not_started": (e.NotStarted("no shell"), 127, "not started: no shell"),
    "worker_lost": (e.LostWorker("w7"), None, "worker w7 was lost"),
}
"""How a run ends -> its cause, the exit code and the words that the table has to say."""


class Machine(RuleBasedStateMachine):
    """One life. `places` is where stores come from."""

    places: ClassVar[Places]
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.model = SettableClock(), Model()
        self.store = self.places.new_store(self.clock)
        self.queue = Queue(self.store, ACTOR)
        self.recorded_at = 0

    def both(self, act: Callable[[], Any], expected: Callable[[], Any]) -> None:
        """Run a command on the queue and on the model; their answers must be equal."""
        self.model.now, self.model.wall = self.store.log.now(), self.store.log.wall()
        self.model.behind_for = self.store.log.behind_for()
        assert self.model.now >= max(self.clock.now(), self.recorded_at), "time: the log's clock went back"
        wanted, found = _outcome(expected), _outcome(act)
        assert found == wanted, f"answer: {found}, not {wanted}"
        Machine.steps += 1

    # ── people ──────────────────────────────────────────────────────────────────────────────────────

    @rule(
        names=st.lists(jobs, min_size=1, max_size=3), how=numbers, at=st.sampled_from([None, None, -HOUR, 2 * SECOND])
    )
    def enqueue(self, names: list[str], how: int, at: int | None) -> None:
        """Enqueue jobs; the same name has the same settings, except for one variant in eight."""
        batch = [(name, self._promises(name, how == 7, at)) for name in names]
        self.both(
            lambda: [
                (answer.id, answer.created)
                for answer in self.queue.enqueue([NewJob(e.Enqueued(**each), name) for name, each in batch])
            ],
            lambda: self.model.enqueue(batch),
        )

    def _promises(self, name: str, otherwise: bool, at: int | None) -> dict[str, Any]:
        if name in self.model.jobs and not otherwise:
            kept: dict[str, Any] = self.model.jobs[name]["promises"]
            return kept
        number = NAMES.index(name)
        return {
            "command": f"echo {number}{otherwise}",
            "queue": QUEUES[number % 2],
            "priority": (0, 0, 5, -1)[number // 2],
            "max_retries": number % 3,
            "backoff_base": (1.0, 2.0, 3.0)[number % 3],
            "backoff_cap": 5 * SECOND,
            "jitter": number == 4,
            "cwd": "/",
            "timeout": None if number % 2 else 90 * SECOND,
            "delay": 0 if at is not None or number % 4 else 2 * SECOND,
            "at": None if at is None else self.store.log.wall() + at,
            "tags": {"b": "1", "a": str(number)} if number % 2 else {},
            "unique": KEYS[number % 4],
        }

    @rule(names=several_jobs)
    def cancel(self, names: list[str]) -> None:
        """Cancel jobs."""
        self.both(lambda: void(self.queue.cancel(names, "why")), lambda: self.model.each(names, self.model.cancel))

    @rule(names=several_jobs)
    def requeue(self, names: list[str]) -> None:
        """Requeue jobs."""
        self.both(lambda: void(self.queue.requeue(names)), lambda: self.model.each(names, self.model.requeue))

    @rule(names=several_jobs)
    def purge(self, names: list[str]) -> None:
        """Purge jobs."""
        self.both(lambda: void(self.queue.purge(names)), lambda: self.model.each(names, self.model.purge))

    @rule(which=numbers)
    def requeue_or_purge_a_finished_job(self, which: int) -> None:
        """Requeue or purge a job that is finished."""
        ended = [name for name, job in self.model.jobs.items() if job["state"] in ("done", "dlq", "cancelled")]
        if ended:
            (self.purge if which % 2 else self.requeue)([ended[which % len(ended)]])

    @rule(queue=queues)
    def pause(self, queue: str) -> None:
        """Pause a queue."""
        self.both(lambda: self.queue.pause(queue), lambda: self.model.pause(queue, ACTOR))

    @rule(queue=queues)
    def resume(self, queue: str) -> None:
        """Resume a queue."""
        self.both(lambda: self.queue.resume(queue), lambda: self.model.resume(queue))

    @rule(key=st.sampled_from(["lease", "timeout"]), value=st.sampled_from([None, "1m", "2m"]))
    def configure(self, key: str, value: str | None) -> None:
        """`config set` and `unset`."""
        self.both(lambda: self.queue.change_setting(key, value), lambda: self.model.configure(key, value))

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────

    @rule(worker=st.sampled_from(["w1", "w2"]), asked=st.sampled_from([(), ("mail",), QUEUES]), limit=st.integers(1, 4))
    def claim(self, worker: str, asked: tuple[str, ...], limit: int) -> None:
        """Claim due jobs."""
        self._claim(worker, asked, limit, [])

    @rule(locked=several_jobs)
    def claim_what_is_not_locked(self, locked: list[str]) -> None:
        """Claim while processes of an earlier run hold the locks of some jobs."""
        self._claim("w1", (), 2, locked)

    def _claim(self, worker: str, asked: tuple[str, ...], limit: int, locked: list[str]) -> None:
        self.both(
            lambda: [
                job.id for job in self.queue.claim(claimant(worker), asked, limit, lambda job: job.id not in locked)
            ],
            lambda: self.model.claim(worker, asked, limit, locked),
        )

    @rule(which=numbers, end=st.sampled_from([*CAUSES, "succeeded", "exited"]), late=st.sampled_from([0, 0, 0, 0, 1]))
    def report(self, which: int, end: str, late: int) -> None:
        """Report the end of a run, or a late result of an earlier one."""
        name, run = self._a_run(which)
        cause, code, said = CAUSES[end]
        left = {"duration": which * 1234, "stdout": f"out {which}", "stderr": "first\n the last line \n\n"}
        kind = None if cause is None else end
        ended = {"cause": kind, "code": code, "said": said, "jitter": 0.25, **left}
        command = Report(name, run - late, Exit(cause, **left), 0.25)
        self.both(lambda: void(self.queue.execute([command])), lambda: self.model.report(name, run - late, ended))

    @rule(which=numbers, late=st.sampled_from([0, 0, 0, 1]))
    def release(self, which: int, late: int) -> None:
        """Release a run, as a stopping worker does."""
        name, run = self._a_run(which)
        left = {"duration": 99, "stdout": "", "stderr": "asked to stop"}
        command = Release(name, run - late, "stopping", Exit(e.Signalled(15), **left))
        self.both(lambda: void(self.queue.execute([command])), lambda: self.model.release(name, run - late, left))

    def _a_run(self, which: int) -> tuple[str, int]:
        """A job that is processing if there is one, and its run."""
        running = [name for name, job in self.model.jobs.items() if job["state"] == "processing"]
        name = running[which % len(running)] if running else NAMES[which]
        return name, self.model.jobs.get(name, {"run": 1})["run"]

    # ── time ────────────────────────────────────────────────────────────────────────────────────────

    @rule(seconds=st.sampled_from([0.000_001, 0.4, 1, 2.5, 10, 4000]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(round(seconds * SECOND))

    @rule(hours=st.sampled_from([-1, 1]))
    def turn_the_clock(self, hours: int) -> None:
        """Set the wall clock."""
        self.clock.turn(hours * HOUR)

    # ── what has to be equal ────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_tables_are_those_of_the_model(self) -> None:
        """Every row of every table, the counts, and where the log ends."""
        store, model = self.store, self.model
        head = store.log.head()
        self.recorded_at = head.recorded_at
        assert head.position == model.position, f"log: it ends at {head.position}, not {model.position}"
        assert {row["id"]: row for row in store.tables.jobs(JobFilter(limit=0))} == model.rows(), (
            "jobs: not the model's"
        )
        assert {row["id"]: _without_signature(row) for row in store.tables.dlq()} == model.dead(), (
            "dlq: not the model's"
        )
        counts = {(count.queue, count.state.value): count.jobs for count in store.tables.counts()}
        assert counts == model.counts(), f"counts: {counts}, not {model.counts()}"
        pauses = {queue: (row["paused_at"], row["paused_by"]) for queue, row in store.tables.pauses().items()}
        assert pauses == model.pauses, f"pauses: {pauses}, not {model.pauses}"
        assert store.tables.settings() == model.settings, "settings: not the model's"

    @invariant()
    def the_questions_of_workers_have_the_model_s_answers(self) -> None:
        """The holder of a key, and when the next job is due."""
        for key in KEYS[2:]:
            assert self.store.tables.holder(str(key)) == self.model.holder(key), f"holder: of {key}"
        dues = [job["due"] for job in self.model.open_jobs(())]
        assert self.store.tables.next_due(()) == min(dues, default=None), "next_due: not the model's"

    def teardown(self) -> None:
        """Check the whole log, and that its fold equals the tables."""
        try:
            before = projected(self.store)
            assert before == derived(self.store), "log: its fold is not what the tables say"
            assert not self.store.upkeep.rebuild().total, "rebuild: it found a difference"
            assert projected(self.store) == before, "rebuild: it changed a table"
        finally:
            self.places.close()


def _without_signature(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `dlq` without its signature: the model knows no rule for it, and tests/domain has its own tests."""
    return {name: value for name, value in row.items() if name != "signature"}


def void(jobs: object) -> None:
    """Ignore the returned jobs; the tables are compared instead."""


def _outcome(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except (RefusedError, NotAllowedError):
        return "refused"
    except (NoSuchJobError, NotThereError):
        return "no such job"


def attempt(number: int, phases: tuple[Phase, ...] = (Phase.generate, Phase.shrink), lives: int = LIVES) -> Attempt:
    """Some lives on one kind of store; the kinds take turns."""
    kind = [*KINDS][number % len(KINDS)]
    before = Machine.steps
    with tempfile.TemporaryDirectory() as folder:
        machine = type("Machine", (Machine,), {"places": Places(kind, Path(folder), SettableClock())})
        fault = _fault(seed(number)(machine), phases, lives)
    steps = Machine.steps - before
    return Attempt(steps, [fault] if fault else [], {f"on {kind}": steps})


def _fault(machine: type[Machine], phases: tuple[Phase, ...], lives: int) -> str:
    how = settings(
        max_examples=lives,
        stateful_step_count=STEPS_OF_A_LIFE,
        phases=phases,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine, settings=how)
    except Exception as error:
        if Phase.shrink in phases:
            print("\n".join(getattr(error, "__notes__", [])), file=sys.stderr)
        return re.sub(r"\d+", "N", f"{type(error).__name__}: {str(error).splitlines()[0]}")
    return ""


def with_bug(bug: Bug, number: int) -> Attempt:
    """The first difference is enough: it is not shrunk."""
    with pytest.MonkeyPatch.context() as patch:
        bug.put_in(patch.setattr)
        return attempt(number, (Phase.generate,))


CAMPAIGN = Campaign(
    name="stateful",
    unit="steps",
    short=12_000,
    full=1_000_000,
    attempt=attempt,
    controls=[Control(f"seeded bug: {bug.name}", partial(with_bug, bug)) for bug in BUGS if bug.rules],
)
