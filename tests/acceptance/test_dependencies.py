"""Jobs that wait for jobs on the command line: what is refused, what is shown, and how a held job is freed."""

import json

import pytest

from tests.support.command_line import Queuectl, assert_error


@pytest.fixture
def failed(queuectl: Queuectl) -> Queuectl:
    """`test` waits for `build`, which failed; `deploy` waits for `test`."""
    queuectl.add("--id", "build", "--max-retries", "0", "[ -e repaired ]")
    queuectl.add("--id", "test", "--after", "build", "true")
    queuectl.add("--id", "deploy", "--after", "test", "true")
    queuectl.add("--id", "notify", "--after", "build:failed", "echo failed")
    done = queuectl("run", "--drain", "--log-level", "error")
    assert (done.code, done.err.splitlines()[-1].split(":")[0]) == (0, "1 job held")
    return queuectl


def test_a_held_job_is_named_with_what_frees_it(failed: Queuectl) -> None:
    assert [row["id"] for row in failed.json("list", "--state", "held")] == ["test"]
    status = failed.json("status")
    assert (status["waiting"], status["held"]) == (2, 1)
    assert "1 held: what it waits for can no longer happen" in failed.ok("status")
    why = failed.json("explain", "test")
    assert "it is held: build is in the dead-letter queue" in why["why"]
    assert why["next"][:2] == ["queuectl dlq retry build", "queuectl unblock test"]
    assert "1 job held" in failed("doctor").out
    assert failed.json("show", "notify")["state"] == "done"
    behind = ["queuectl explain test", "queuectl unblock deploy", "queuectl cancel deploy"]
    assert failed.json("explain", "deploy")["next"] == behind


def test_show_prints_dependencies_as_enqueue_takes_them(failed: Queuectl) -> None:
    failed.add("--id", "all", "--batch", "grid", "true")
    failed.add("--id", "report", "--after", "build", "--after", "test:failed", "--after", "batch:grid:end", "true")
    shown = dict(line.split(maxsplit=1) for line in failed.ok("show", "report").splitlines())
    assert shown["after"] == "build, test:failed, batch:grid:end"


@pytest.mark.parametrize(("job", "why"), [("test", "is held: build is in"), ("deploy", "cannot start")])
def test_a_wait_for_a_held_job_ends_with_the_reason(failed: Queuectl, job: str, why: str) -> None:
    done = failed("wait", job)
    assert done.code == 1
    assert why in done.err


def test_repairing_the_cause_frees_the_chain(failed: Queuectl) -> None:
    (failed.folder / "repaired").touch()
    failed.ok("dlq", "retry", "build")
    failed.drain()
    assert {row["state"] for row in failed.json("list")} == {"done"}
    failed.ok("verify")
    failed.ok("audit")


def test_a_drain_says_what_it_left(failed: Queuectl) -> None:
    failed.add("--id", "paused", "--queue", "slow", "true")
    failed.add("--id", "behind", "--after", "paused", "true")
    failed.ok("pause", "slow")
    said = failed("run", "--drain", "--log-level", "error").err.splitlines()
    assert said == [
        "1 job left: queue slow is paused (`queuectl resume slow`)",
        "2 jobs left: waiting for a job that is held or whose queue is paused (`queuectl explain behind`)",
        "1 job held: what it waits for can no longer happen (`queuectl list --state held`)",
    ]
    assert failed("run", "--drain", "--queue", "slow", "--log-level", "error").err.splitlines() == said[:1]
    failed.ok("pause")
    said = failed("run", "--drain", "--log-level", "error").err.splitlines()
    assert said[0] == "4 jobs left: every queue is paused (`queuectl resume`)"


def test_a_history_says_what_was_waited_for(failed: Queuectl) -> None:
    story = failed.ok("history", "notify")
    assert "waits for build (failed)" in story
    assert "the last of them by event #" in story
    failed.ok("unblock", "test", "--reason", "known to be fine")
    assert "started without waiting for build (ok)" in failed.ok("history", "test")
    assert_error(failed("unblock", "test"), 4, "waits for no other job")
    assert_error(failed("unblock"), 2, "give the ids")


def test_cancelling_takes_those_that_wait_if_asked(queuectl: Queuectl) -> None:
    for job, *options in (("a",), ("b", "--after", "a"), ("c", "--after", "b"), ("d",)):
        queuectl.add("--id", job, *options, "true")
    done = queuectl("cancel", "a")
    assert "2 jobs waiting for a (`queuectl graph a`)" in done.err
    queuectl.ok("cancel", "--with-waiting", "a")
    states = {row["id"]: row["state"] for row in queuectl.json("list")}
    assert states == {"a": "cancelled", "b": "cancelled", "c": "cancelled", "d": "pending"}


def test_the_graph_is_drawn(failed: Queuectl) -> None:
    tree = failed.ok("graph").splitlines()
    assert tree == [
        "build dlq",
        "├─ test pending, held",
        "│  └─ deploy pending",
        "└─ notify done (after failed)",
    ]
    assert failed.ok("graph", "notify").splitlines() == ["build dlq", "└─ notify done (after failed)"]
    found = json.loads(failed.ok("graph", "--format", "json"))
    assert len(found["nodes"]) == 4
    assert {"before": "build", "after": "notify", "on": "failed"} in found["edges"]
    assert failed.ok("graph", "--format", "dot").startswith("digraph {")
    assert "n1 --> n2" in failed.ok("graph", "--format", "mermaid")
    assert_error(failed("graph", "--format", "svg"), 2, "it is one of")


def test_explain_says_how_much_of_a_batch_is_left(queuectl: Queuectl) -> None:
    queuectl.ok("enqueue", "--batch", "sweep", "--each", "echo {}", ":::", "1", "2", "3")
    queuectl.add("--id", "report", "--after", "batch:sweep:end", "true")
    queuectl.ok("cancel", "sweep.2")
    assert "batch sweep: 2 of 3 jobs not ended" in queuectl.ok("explain", "report")


def test_a_job_whose_batch_still_runs_is_to_be_waited_for(queuectl: Queuectl) -> None:
    queuectl.add("--batch", "sweep", "--id", "one", "true")
    queuectl.add("--id", "report", "--after", "batch:sweep", "--after", "one:end", "true")
    freed = ["queuectl wait report", "queuectl unblock report", "queuectl cancel report"]
    assert queuectl.json("explain", "report")["next"] == freed


def test_the_graph_folds_a_batch_unless_it_is_unfolded(queuectl: Queuectl) -> None:
    queuectl.add("--id", "prep", "true")
    numbers = [str(number) for number in range(1, 21)]
    queuectl.ok("enqueue", "--batch", "sweep", "--after", "prep", "--each", "echo {}", ":::", *numbers)
    queuectl.add("--id", "report", "--after", "batch:sweep", "true")
    tree = ["prep pending", "└─ batch:sweep 20 pending", "   └─ report pending"]
    shown = queuectl("graph")
    assert shown.out.splitlines() == tree
    assert shown.err == "20 jobs are drawn in groups (--unfold: one by one)\n"
    assert queuectl.ok("graph", "sweep.7").splitlines()[1] == "└─ sweep.7 pending"
    assert "sweep.20 pending" in queuectl.ok("graph", "--unfold")
    assert len(queuectl.json("graph")["nodes"]) == len(queuectl.ok("graph", "-o", "name").splitlines()) == 23
    queuectl.ok("cancel", "sweep.7")
    assert "batch:sweep 20 jobs: 19 pending, 1 cancelled" in queuectl.ok("graph")
    assert queuectl.ok("graph", "--as-of", "head") == queuectl.ok("graph")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--after", "nope"), 3, "no such job: nope"),
        (("--after", "batch:nope"), 3, "no such batch: nope"),
        (("--id", "me", "--after", "me"), 2, "cannot wait for itself"),
        (("--after", "jo"), 2, "ambiguous"),
        (("--after", "job-1:soon"), 2, "'soon' is not one of"),
        (("--after", ":ok"), 2, "names no job"),
        (("--if-unmet", "cancel"), 2, "goes with after"),
        (("--after", "job-1", "--if-unmet", "run"), 2, "if_unmet"),
    ],
)
def test_a_bad_dependency_is_refused(queuectl: Queuectl, options: tuple[str, ...], code: int, words: str) -> None:
    queuectl.add("--id", "job-1", "true")
    queuectl.add("--id", "job-2", "true")
    assert_error(queuectl("enqueue", *options, "true"), code, words)
    assert len(queuectl.json("list")) == 2


def test_a_line_may_name_an_earlier_line_alone(queuectl: Queuectl) -> None:
    a, b = {"id": "a", "command": "true", "after": ["b"]}, {"id": "b", "command": "true"}
    lines = "".join(json.dumps(each) + "\n" for each in (a, b))
    assert_error(queuectl("enqueue", "--file", "-", stdin=lines), 2, "line 1: it names line 2: move that one up")
    assert not queuectl.db.exists()
    c = {"id": "c", "command": "true", "after": [{"job": "a", "on": "end"}, {"batch": "g", "on": "ok"}]}
    a = {"id": "a", "command": "true"}
    lines = "".join(json.dumps(each) + "\n" for each in (a, c))
    queuectl.add("--batch", "g", "true")
    assert queuectl("enqueue", "--file", "-", stdin=lines).code == 0
    assert queuectl.json("show", "c")["after"] == [{"job": "a", "on": "end"}, {"batch": "g", "on": "ok"}]
    queuectl.drain()
    assert queuectl.json("show", "c")["state"] == "done"


def test_an_edit_changes_what_a_job_waits_for(queuectl: Queuectl) -> None:
    for job, *options in (("a",), ("b", "--after", "a"), ("c",)):
        queuectl.add("--id", job, *options, "true")
    done = queuectl("edit", "b", "--after", "c:end", "--reason", "a is not needed")
    assert (done.code, done.err) == (0, "b: after a (ok) → c (end)\n")
    assert "after a (ok) → c (end), by " in queuectl.ok("history", "b")
    assert queuectl.json("show", "b")["after"] == [{"job": "c", "on": "end"}]
    queuectl.ok("edit", "b", "--no-after")
    assert "after c (end) → none" in queuectl.ok("history", "b")
    queuectl.drain()
    queuectl.check()


def test_a_wrong_edit_of_what_a_job_waits_for_writes_nothing(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    queuectl.add("--id", "b", "--after", "a", "true")
    assert_error(queuectl("edit", "a", "--after", "b"), 2, "job a would wait for itself: a → b → a")
    assert_error(queuectl("edit", "a", "--after", "a"), 2, "job a cannot wait for itself")
    assert_error(queuectl("edit", "a", "--after", "x"), 3, "no such job: x")
    assert_error(queuectl("edit", "a", "--after", "b:maybe"), 2, "maybe")
    assert_error(queuectl("edit", "b", "--after", "a", "--no-after"), 2, "give one of --after and --no-after")
    assert queuectl.types("a") == ["enqueued"]
    queuectl.ok("cancel", "a")
    assert_error(queuectl("edit", "a", "--no-after"), 4, "cancelled")


def test_a_job_cannot_wait_for_its_own_batch(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "--batch", "g", "true")
    queuectl.add("--id", "j", "--after", "batch:g:end", "true")
    late = ("enqueue", "--batch", "g", "--after", "j", "true")
    assert_error(queuectl(*late), 2, "a job of batch g would wait for that batch: batch g → j → batch g")
    queuectl.drain()
    assert queuectl(*late).code == 0  # j does not wait any more


def test_held_jobs_are_cancelled_together(failed: Queuectl) -> None:
    assert failed.ok("list", "--state", "held", "-o", "name").split() == ["test"]
    done = failed("cancel", "--state", "held", "--yes")
    assert (done.code, failed.state("test")) == (0, "cancelled"), done.err
    assert_error(failed("list", "--state", "stuck"), 2, "not a state", "held")
