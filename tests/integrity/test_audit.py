"""`audit`: a sound history has no finding, and a history that breaks one rule has that finding only."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from queuectl.checks.audit import MAX_FINDINGS, RULES, Finding, audit
from queuectl.domain import events as e
from queuectl.domain.changes import Changes
from tests.support.builders import (
    HOUR,
    SECOND,
    START,
    SettableClock,
    a_spec,
    buried,
    claimed,
    completed,
    retried,
)
from tests.support.queues import opened, random_history

Step = tuple[str, e.Event]
STEP = 10 * SECOND


def log(*steps: Step) -> list[e.RecordedEvent]:
    """A log of these (stream, event) steps, ten seconds apart."""
    versions: dict[str, int] = {}
    records = []
    for position, (stream, event) in enumerate(steps, 1):
        versions[stream] = versions.get(stream, 0) + 1
        when = START + position * STEP
        records.append(e.RecordedEvent(position, stream, versions[stream], when, "ann@box:1", event))
    return records


def job(*events: e.Event, **promises: Any) -> list[Step]:
    """The steps of one job."""
    return [("j", a_spec(**promises)), *(("j", event) for event in events)]


SLOT = 15 * SECOND


def at(slot: int) -> int:
    """The moment of a slot: every 15 seconds after the first step."""
    return START + STEP + slot * SLOT


SCHEDULED = [("$schedule:s", e.ScheduleSet(job=a_spec(), every=SLOT, start=START + STEP, overlap="allow"))]
IN_ATLANTIS = ("$schedule:s", e.ScheduleSet(job=a_spec(), cron="* * * * *", tz="Atlantis/North"))
PAUSE = ("$queue:mail", e.QueuePaused())


def fired(slot: int, job_id: str | None = None) -> list[Step]:
    """A slot's job, and the note that names it."""
    name = job_id or f"s.{slot}"
    spec = a_spec(origin=e.Origin("schedule", "s", slot=at(slot)))
    return [(name, spec), ("$schedule:s", e.ScheduleFired(slot=at(slot), job=name))]


def skipped(first: int, last: int, count: int) -> Step:
    return "$schedule:s", e.ScheduleSkipped(first=at(first), last=at(last), count=count, reason="late")


AFTER_OK, AFTER_FAILED, AFTER_BATCH = (
    [("i", a_spec(after=(edge,)))] for edge in (e.After("j"), e.After("j", "failed"), e.After("grid", "end", "batch"))
)
MET, FORCED = ("i", e.DependenciesMet(by=3)), ("i", e.DependenciesMet(forced=True, reason="now"))
CLAIMED = ("i", claimed())
CHANGED = e.Amended(changes=Changes(priority=5), reason="now")


def grid(*states: str, limit: int | None = 1) -> list[Step]:
    """A batch with jobs in these states: pending, processing or dlq. The failures are the last events."""
    opened = [("$batch:grid", e.BatchOpened(jobs=len(states), max_failures=limit))]
    added = [(f"g{number}", a_spec(batch="grid", max_retries=0)) for number, _ in enumerate(states)]
    claims = [(f"g{number}", claimed()) for number, state in enumerate(states) if state != "pending"]
    return [
        *opened,
        *added,
        *claims,
        *((f"g{number}", buried()) for number, state in enumerate(states) if state == "dlq"),
    ]


STOPPED = ("g0", e.Cancelled(reason="batch grid: more than 1 failure"))
RUNS = (e.Exited(1), e.Signalled(9), e.NotStarted("no"))
PAUSED, ALL_PAUSED = ("$queue:default", e.QueuePaused()), ("$queue:*", e.QueuePaused())
GIVEN_BACK = e.Released(run=1, reason="no slot", due_at=START + STEP)
ASKED = e.CancelRequested(run=1)
CANCELLED = e.Cancelled(run=1)
REJECTED = e.ResultRejected(run=1, outcome="completed")
LOST = e.LostWorker("w1")
STARTED = e.WorkerStarted(host="box", pid=10, slots=1, queues=("mail",))

SOUND = {
    "it is done": job(claimed(), completed()),
    "it waits, and is done": job(claimed(), retried(), claimed(2), completed(2)),
    "its retries are used up": job(claimed(), buried(), max_retries=0),
    "it is run again with all its attempts": job(
        claimed(), buried(), e.Requeued(), claimed(2), buried(2), e.Purged(), e.Requeued(), max_retries=0
    ),
    "slots make jobs, or are skipped": [*SCHEDULED, *fired(1), PAUSE, skipped(2, 2, 1), *fired(3)],
    "a schedule that ends": [*SCHEDULED, *fired(1), ("$schedule:s", e.ScheduleRemoved())],
    "it is released": job(claimed(), e.Released(run=1, reason="stop"), claimed(2), completed(2), max_retries=0),
    "it is given back": job(claimed(), GIVEN_BACK, claimed(2), completed(2)),
    "it is cancelled": job(e.Cancelled(), e.Requeued(), claimed(), ASKED, CANCELLED),
    "it is done before it is cancelled": job(claimed(), ASKED, completed()),
    "its worker is lost, and reports late": job(
        claimed(), retried(wait=0, cause=LOST), REJECTED, claimed(2), REJECTED, completed(2), REJECTED, REJECTED
    ),
    "it waits as it was asked to": job(claimed(), delay=STEP),
    "it waits until then": job(claimed(), at=START + 2 * STEP),
    "the cap is reached": job(claimed(), retried(wait=3 * SECOND), backoff_base=7, backoff_cap=3 * SECOND),
    "a fixed wait": job(claimed(), retried(wait=HOUR), retry_wait=HOUR, backoff_cap=SECOND),
    "less and less": job(claimed(), retried(wait=SECOND // 2), backoff_base=0.5, backoff_cap=HOUR),
    "never beyond a small cap": job(
        *(each for run in (1, 2, 3) for each in (claimed(run), retried(run, SECOND // 8))),
        backoff_base=0.5,
        backoff_cap=SECOND // 8,
    ),
    "with jitter": job(claimed(), retried(wait=SECOND, jitter=0.5), jitter=True),
    "it timed out": job(claimed(), retried(cause=e.TimedOut(5), duration=6), timeout=5),
    "another queue is paused": [("$queue:mail", e.QueuePaused()), *job(claimed())],
    "the queue is resumed": [PAUSED, ("$queue:default", e.QueueResumed()), *job(claimed())],
    "one after the other": [*job(claimed(), completed(), unique="k"), ("i", a_spec(unique="k"))],
    "its worker serves the queue": [("$worker:w1", STARTED), *job(claimed(), queue="mail")],
    "its worker serves all queues": [
        ("$worker:w1", e.WorkerStarted(host="box", pid=10, slots=1)),
        *job(claimed(), queue="mail"),
    ],
    "it left processes, and is done": job(claimed(), e.Completed(run=1, duration=1, left_behind=2)),
    "it left processes, and is put back": job(claimed(), e.Released(run=1, reason="stop", left_behind=1)),
    "it left processes, and is cancelled": job(claimed(), ASKED, e.Cancelled(run=1, left_behind=1)),
    "it waits for another, which is done": [*job(claimed(), completed()), *AFTER_OK, MET, CLAIMED],
    "it waits for a failure": [*job(claimed(), buried(), max_retries=0), *AFTER_FAILED, MET, CLAIMED],
    "it waits for a batch": [*job(claimed(), buried(), max_retries=0, batch="grid"), *AFTER_BATCH, MET, CLAIMED],
    "it waits for one that was purged": [*job(claimed(), completed(), e.Purged()), *AFTER_OK, MET, CLAIMED],
    "it waits, and is started without": [*job(), *AFTER_OK, FORCED, CLAIMED],
    "it is changed while it is pending": job(CHANGED, claimed(), completed()),
    "it is run again with changes": job(claimed(), completed(), CHANGED, e.Requeued(), claimed(2)),
    "another limit of retries": job(e.Amended(changes=Changes(max_retries=0)), claimed(), buried(), max_retries=3),
    "a batch within its limit": [*grid("pending", "dlq"), ("g0", claimed()), PAUSE],
    "a batch without a limit": [*grid("pending", "dlq", "dlq", limit=None), ("g0", claimed())],
    "a batch that is stopped": [*grid("pending", "dlq", "dlq", "processing"), STOPPED, ("g3", completed()), PAUSE],
    "a job of a stopped batch is retried": [
        *grid("pending", "dlq", "dlq"),
        STOPPED,
        ("g0", e.Requeued()),
        ("g0", claimed()),
    ],
    "a failure is retried": [
        *grid("dlq", "dlq"),
        ("g0", e.Requeued()),
        PAUSE,
        ("g0", claimed(2)),
        ("g0", completed(2)),
    ],
    "a job is added to a stopped batch": [*grid("dlq", "dlq"), ("g9", a_spec(batch="grid")), ("g9", claimed())],
    "a purged failure does not count": [
        *grid("pending", "dlq", "processing"),
        ("g1", e.Purged()),
        ("g2", buried()),
        PAUSE,
    ],
    "a lower limit counts from the next failure": [
        *grid("pending", "dlq", "dlq", limit=5),
        ("$batch:grid", e.BatchOpened(jobs=0, max_failures=1)),
        ("g0", claimed()),
    ],
    "notes": [("$settings", e.SettingChanged(key="lease", value="1m")), ("$worker:w1", e.WorkerLost(noticed_by="w2"))],
}


@pytest.mark.parametrize("steps", SOUND.values(), ids=SOUND)
def test_a_sound_history_has_no_finding(steps: list[Step]) -> None:
    judged = audit(log(*steps))
    assert judged.findings == []
    assert judged.clean
    assert judged.events == len(steps)


@pytest.mark.parametrize("seed", range(5))
def test_every_decision_is_sound(tmp_path: Path, seed: int) -> None:
    """A random history of every kind of move, decided by the domain and checked by the audit's own rules."""
    clock = SettableClock()
    with opened(tmp_path / "queue.db", clock) as store:
        random_history(store, clock, seed)
        judged = audit(store.log.records())
    assert judged.findings == []
    applied = {rule for rule, times in judged.checked.items() if times}
    assert applied >= {"order", "stream", "move", "claim", "run", "due", "pause", "attempts", "backoff", "loss"}


BROKEN = {
    "claimed twice": ("claim", job(claimed(), claimed(2, "w2"))),
    "a run is left out": ("run", job(claimed(2))),
    "a run comes twice": ("run", job(claimed(), retried(), claimed(1))),
    "runs begin again at 1": ("run", job(claimed(), completed(), e.Requeued(), claimed(1))),
    "a result of an earlier run": ("run", job(claimed(), retried(), claimed(2), completed(1))),
    "a failure of an earlier run": ("run", job(claimed(), retried(), claimed(2), retried(1, 4 * SECOND))),
    "an earlier run is released": ("run", job(claimed(), retried(), claimed(2), e.Released(run=1, reason=""))),
    "the open run is rejected": ("run", job(claimed(), REJECTED)),
    "an earlier run is to be cancelled": ("run", job(claimed(), retried(), claimed(2), ASKED)),
    "a job that is done is claimed": ("move", job(claimed(), completed(), claimed(2))),
    "enqueued twice": ("move", job(a_spec())),
    "a pending job is purged": ("move", job(e.Purged())),
    "a pending job is run again": ("move", job(e.Requeued())),
    "before its delay": ("due", job(claimed(), delay=STEP + 1)),
    "before its time": ("due", job(claimed(), at=START + 2 * STEP + 1)),
    "before its wait": ("due", job(claimed(), retried(wait=16 * SECOND), claimed(2), backoff_base=16)),
    "from a paused queue": ("pause", [PAUSED, *job(claimed())]),
    "while all are paused": ("pause", [ALL_PAUSED, *job(claimed())]),
    "from a queue of others": ("served", [("$worker:w1", STARTED), *job(claimed())]),
    "one retry too many": ("attempts", job(claimed(), retried(), max_retries=0)),
    "buried too soon": ("attempts", job(claimed(), buried(), max_retries=1)),
    "its attempts were not reset": (
        "attempts",
        job(claimed(), completed(), e.Requeued(), claimed(2), buried(2), max_retries=1),
    ),
    "not as long as promised": ("backoff", job(claimed(), retried(wait=SECOND))),
    "longer than promised": ("backoff", job(claimed(), retried(wait=2 * SECOND + 2))),
    "not the fixed wait": ("backoff", job(claimed(), retried(), retry_wait=HOUR)),
    "beyond the cap": ("backoff", job(claimed(), retried(), backoff_cap=SECOND)),
    "waits for the lost": ("backoff", job(claimed(), retried(cause=LOST))),
    "too much jitter": ("backoff", job(claimed(), retried(jitter=1.0), jitter=True)),
    "jitter unasked": ("backoff", job(claimed(), retried(wait=SECOND, jitter=0.5))),
    "no jitter": ("backoff", job(claimed(), retried(), jitter=True)),
    "timed out without a timeout": ("timeout", job(claimed(), retried(cause=e.TimedOut(0)))),
    "timed out too soon": ("timeout", job(claimed(), retried(cause=e.TimedOut(5), duration=4), timeout=5)),
    "another timed out": ("timeout", job(claimed(), buried(cause=e.TimedOut(4)), max_retries=0, timeout=5)),
    "another worker was lost": ("loss", job(claimed(), retried(wait=0, cause=e.LostWorker("w2")))),
    "cancelled unasked": ("cancel", job(claimed(), CANCELLED)),
    "fewer than none were left": ("left", job(claimed(), e.Completed(run=1, duration=1, left_behind=-1))),
    "processes of a lost run were counted": (
        "left",
        job(claimed(), e.DeadLettered(run=1, cause=LOST, left_behind=1), max_retries=0),
    ),
    "processes of no run were counted": (
        "left",
        job(claimed(), e.DeadLettered(run=1, cause=e.NotStarted("no"), left_behind=1), max_retries=0),
    ),
    "processes of a lost machine were counted": (
        "left",
        job(claimed(), e.Released(run=1, reason="", left_behind=1, machine_losses=1)),
    ),
    "processes of a job that did not run were counted": ("left", job(e.Cancelled(left_behind=1))),
    "asked twice": ("cancel", job(claimed(), ASKED, ASKED)),
    "retried all the same": ("cancel", job(claimed(), ASKED, retried())),
    "released all the same": ("cancel", job(claimed(), ASKED, e.Released(run=1, reason=""))),
    "buried all the same": ("cancel", job(claimed(), ASKED, buried(), max_retries=0)),
    "a key twice": ("unique", [*job(unique="k"), ("i", a_spec(unique="k"))]),
    "a key twice, running": ("unique", [*job(claimed(), unique="k"), ("i", a_spec(unique="k"))]),
    "a key is taken again": (
        "unique",
        [*job(e.Cancelled(), unique="k"), ("i", a_spec(unique="k")), ("j", e.Requeued())],
    ),
    "it was moved up": ("place", job(claimed(), replace(GIVEN_BACK, due_at=START))),
    "it was moved down": ("place", job(claimed(), replace(GIVEN_BACK, due_at=START + 2 * STEP))),
    "it was given back, and had run": ("place", job(claimed(), replace(GIVEN_BACK, duration=1))),
    "claimed while it waits": ("after", [*job(), *AFTER_OK, CLAIMED]),
    "freed too soon": ("after", [*job(claimed()), *AFTER_OK, ("i", e.DependenciesMet(by=2))]),
    "freed by a failure": ("after", [*job(claimed(), buried(), max_retries=0), *AFTER_OK, MET]),
    "freed by a success": ("after", [*job(claimed(), completed()), *AFTER_FAILED, MET]),
    "freed by a batch that runs": ("after", [*job(claimed(), batch="grid"), *AFTER_BATCH, ("i", e.DependenciesMet())]),
    "freed by a later event": ("after", [*job(claimed(), completed()), *AFTER_OK, ("i", e.DependenciesMet(by=9))]),
    "freed, and did not wait": ("after", job(e.DependenciesMet())),
    "freed twice": ("after", [*job(claimed(), completed()), *AFTER_OK, MET, MET]),
    "changed while it runs": ("edit", job(claimed(), CHANGED)),
    "changed when it had ended": ("edit", job(claimed(), completed(), CHANGED, e.Purged())),
    "claimed in a stopped batch": ("limit", [*grid("pending", "dlq", "dlq"), ("g0", claimed())]),
    "left pending in a stopped batch": ("limit", [*grid("pending", "dlq", "dlq"), PAUSE]),
    "the log ends, and it was not stopped": ("limit", grid("pending", "dlq", "dlq")),
    "one of two was not cancelled": ("limit", [*grid("pending", "dlq", "dlq", "pending"), STOPPED, PAUSE]),
    "pending again in a stopped batch": (
        "limit",
        [*grid("processing", "dlq", "dlq"), ("g0", e.Released(run=1, reason="stop")), PAUSE],
    ),
    "a slot twice": ("slot", [*SCHEDULED, *fired(1), *fired(1, "s.other")]),
    "a slot is left out": ("slot", [*SCHEDULED, *fired(2)]),
    "a slot before its time": ("slot", [*SCHEDULED, *fired(1), *fired(60)]),
    "a job of a slot that no note names": ("slot", [*SCHEDULED, fired(1)[0], *fired(2)]),
    "a note before its job": ("slot", [*SCHEDULED, *reversed(fired(1))]),
    "a job of a paused schedule": ("slot", [*SCHEDULED, ("$schedule:s", e.SchedulePaused()), *fired(1)]),
    "more slots skipped than there were": ("slot", [*SCHEDULED, skipped(1, 2, 3)]),
    "slots skipped from a wrong one": ("slot", [*SCHEDULED, skipped(2, 3, 2)]),
    "slots that nobody decided on": ("slot", [*SCHEDULED, PAUSE, PAUSE, PAUSE, ("$schedule:s", e.ScheduleRemoved())]),
    "a note of no schedule": ("slot", [("$schedule:s", e.SchedulePaused())]),
    "a zone that is not there": ("slot", [IN_ATLANTIS, skipped(1, 1, 1)]),
    "a job that is not there": ("stream", [("j", e.Cancelled())]),
    "a note among a job's events": ("stream", job(e.QueuePaused())),
    "a job's event among notes": ("stream", [("$worker:w1", e.Cancelled())]),
    "a stream of no family": ("stream", [("$other", e.QueuePaused())]),
}


@pytest.mark.parametrize(("rule", "steps"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_the_one_finding(rule: str, steps: list[Step]) -> None:
    judged = audit(log(*steps))
    assert dict(judged.found) == {rule: 1}, judged.findings
    assert not judged.clean


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN.values()} | {"order"} == set(RULES)


@pytest.mark.parametrize(
    ("field", "by"), [("position", -1), ("position", 1), ("version", -1), ("version", 1), ("recorded_at", -STEP - 1)]
)
@pytest.mark.parametrize("number", [1, 3], ids=["of a job", "of a note"])
def test_positions_and_times_must_ascend(field: str, by: int, number: int) -> None:
    records = log(*job(e.Cancelled()), ("$worker:w1", STARTED), ("$worker:w1", e.WorkerStopped()))
    records[number] = records[number].at(**{field: getattr(records[number], field) + by})
    assert audit(records).found.keys() == {"order"}


def test_a_finding_names_event_rule_and_reason() -> None:
    [finding] = audit(log(*job(claimed(), claimed(2, "w2")))).findings
    assert finding == Finding(3, "j", "claim", "claimed by w2, while w1 had run 1")


def test_events_before_from_are_read_but_not_checked() -> None:
    records = log(*job(claimed(2), claimed(3)))
    assert dict(audit(records).found) == {"run": 1, "claim": 1}
    later = audit(records, since=3)
    assert (dict(later.found), later.events, later.checked["claim"]) == ({"claim": 1}, 1, 1)


def test_open_runs_are_listed_with_their_worker() -> None:
    judged = audit(log(*job(claimed()), ("i", a_spec()), ("i", claimed(1, "w2")), ("i", completed())))
    [claim] = judged.open_claims()
    assert (claim.stream_id, claim.run, claim.worker, claim.since) == ("j", 1, "w1", START + 2 * STEP)


def test_losses_are_counted_also_those_within_the_lease() -> None:
    lost = retried(wait=0, cause=LOST)
    later = [*job(claimed()), *(("$settings", e.SettingChanged(key="lease", value="1m")) for _ in range(3))]
    judged = audit(log(*job(claimed(), lost)))
    assert (judged.losses, judged.early_losses) == (1, 1)
    judged = audit(log(*later, ("j", lost)))
    assert (judged.losses, judged.early_losses) == (1, 0)


def test_the_first_findings_are_listed_and_all_are_counted() -> None:
    judged = audit(log(*job(*(claimed(run) for run in range(1, MAX_FINDINGS + 10)))))
    assert judged.found["claim"] == MAX_FINDINGS + 8
    assert len(judged.findings) == MAX_FINDINGS


def test_an_ended_job_takes_little_memory() -> None:
    steps = [
        step for number in range(1000) for step in ((f"j{number}", each) for each in (a_spec(), claimed(), completed()))
    ]
    judged = audit(log(*steps))
    assert not judged._jobs
    assert len({id(each) for each in judged._ended.values()}) == 1
