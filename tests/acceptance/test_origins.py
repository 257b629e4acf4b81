"""The origin of a job that another job adds: recorded, shown, and no part of what makes two jobs the same."""

from tests.support.command_line import PROGRAM, Queuectl, assert_error


def test_a_job_that_a_job_adds_has_it_for_its_origin(queuectl: Queuectl) -> None:
    add = f"{PROGRAM} --db {queuectl.db} enqueue --id child true"
    queuectl.add("--id", "other", "true")
    queuectl.add("--id", "parent", add)
    queuectl.drain()
    assert [row["id"] for row in queuectl.json("list", "--origin", "job:parent")] == ["child"]
    assert [row["id"] for row in queuectl.json("list", "--origin", "job")] == ["child"]
    assert queuectl.json("list", "--origin", "job:other") == queuectl.json("list", "--origin", "schedule") == []
    assert queuectl.json("show", "child")["origin"] == "job:parent"
    assert "added by job parent (#2)" in queuectl.ok("history", "child")
    assert "job:parent" in queuectl.ok("list", "-o", "wide")
    assert queuectl.ok("show", "child", "--tree") == queuectl.ok("show", "parent", "--tree")
    assert queuectl.ok("show", "child", "--tree").splitlines() == ["parent done", "└─ child done"]
    queuectl.ok("verify")


def test_a_copy_is_drawn_below_the_job_it_is_like(queuectl: Queuectl) -> None:
    queuectl.add("--id", "march", "true")
    queuectl.drain()
    queuectl.ok("copy", "march", "--id", "april")
    queuectl.ok("copy", "april", "--id", "may")
    tree = ["march done", "└─ april pending (copy)", "   └─ may pending (copy)"]
    assert queuectl.ok("show", "may", "--tree").splitlines() == tree
    assert queuectl.ok("show", "march", "--tree").splitlines() == tree
    assert_error(queuectl("show", "may", "--tree", "--json"), 2, "--tree prints text: leave out --json and -o")
    assert "copy of march (#1)" in queuectl.ok("history", "april")


def test_the_same_job_from_elsewhere_is_the_same_job(queuectl: Queuectl) -> None:
    queuectl.add("--id", "a", "true")
    done = queuectl("enqueue", "--id", "a", "true", env={**queuectl.env, "QUEUECTL_JOB_ID": "another"})
    assert (done.code, done.out) == (0, "a\n")
    assert queuectl.json("show", "a")["origin"] is None


def test_an_odd_name_of_a_job_makes_no_origin(queuectl: Queuectl) -> None:
    done = queuectl("enqueue", "--id", "a", "true", env={**queuectl.env, "QUEUECTL_JOB_ID": "no id\n"})
    assert done.code == 0
    assert queuectl.json("show", "a")["origin"] is None
