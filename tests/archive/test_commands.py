"""`export`, `import` and `backup` as commands: messages, exit codes, and the files that they leave."""

import subprocess

import pytest

from queuectl.units import format_size
from tests.support.command_line import PROGRAM


def test_an_export_into_a_closed_pipe_exits_with_141(queuectl):
    queuectl.add("true")
    export = subprocess.Popen([PROGRAM, "export", "-"], cwd=queuectl.folder, env=queuectl.env, stdout=subprocess.PIPE)
    export.stdout.close()
    assert export.wait(30) == 141


@pytest.mark.parametrize("command", [["export", "-"], ["backup", "copy.db"], ["head"], ["verify"]])
def test_a_missing_queue_is_not_taken_for_an_empty_one(queuectl, command):
    done = queuectl("--db", "typo.db", *command)
    assert (done.code, done.out) == (5, "")
    assert f"there is no queue at {queuectl.folder / 'typo.db'}" in done.err
    assert list(queuectl.folder.iterdir()) == []


def test_a_backup_into_a_missing_folder_names_the_folder(queuectl):
    queuectl.add("true")
    done = queuectl("backup", "nowhere/copy.db")
    assert done.code == 2
    assert "there is no folder nowhere" in done.err
    queuectl.ok("backup", "copy.db")


def test_a_damaged_file_is_reported_and_leaves_no_queue(queuectl):
    for _ in range(3):
        queuectl.add("true")
    lines = queuectl.ok("export", "-").splitlines(keepends=True)
    file = queuectl.folder / "log"
    for damaged in ([*lines[:2], lines[2].replace('"enqueued"', '"claimed"'), *lines[3:]], lines[1:], []):
        file.write_text("".join(damaged))
        done = queuectl("--db", "new/queue.db", "import", "log")
        assert done.code == 2
        assert "line" in done.err
        assert "recover" not in done.err
        assert not (queuectl.folder / "new").exists()
    file.write_text("".join(lines[:2]) + "nonsense\n")
    assert "the file is damaged at line 3: this is not an event" in queuectl("--db", "other.db", "import", "log").err
    assert {each.name for each in queuectl.folder.iterdir()} == {"data", "log"}


def test_importing_a_damaged_file_keeps_an_existing_queue(queuectl):
    queuectl.ok("--db", "other.db", "config", "set", "lease", "1m")
    queuectl.ok("--db", "other.db", "list")
    before = (queuectl.folder / "other.db").stat().st_ino
    assert queuectl("--db", "other.db", "import", "-", stdin="nonsense\n").code in (2, 4)
    assert (queuectl.folder / "other.db").stat().st_ino == before


def test_recover_takes_the_same_names_of_a_file_as_others(queuectl):
    queuectl.add("true")
    kept = queuectl.json("head")
    shown = queuectl.json("--db", f"sqlite:///{queuectl.db}", "recover", "--force")
    assert {name: shown[name] for name in kept} == kept


def test_a_link_to_a_database_is_the_same_queue(queuectl):
    """The files next to the database, including the locks, are named after the real file."""
    link = queuectl.folder / "link.db"
    link.symlink_to("data/queue.db")
    job = queuectl.add("--", "sh", "-c", 'echo "$QUEUECTL_DB"; seq 9999')
    queuectl.ok("--db", "link.db", "run", "--drain")
    assert queuectl.ok("logs", job).splitlines()[0] == str(queuectl.db)
    head = queuectl.json("head")
    shown = queuectl.json("--db", "link.db", "recover", "--force")
    assert (shown["digest"], shown["restored"], shown["lost"]) == (head["digest"], [], [])
    assert shown["old_files"].startswith(f"{queuectl.db}.damaged-")
    assert link.is_symlink()
    assert sorted(each.name for each in queuectl.folder.iterdir()) == ["data", "link.db"]


def test_a_queue_can_be_created_through_a_dangling_link(queuectl):
    link = queuectl.folder / "link.db"
    link.symlink_to("data/queue.db")
    queuectl.ok("--db", "link.db", "enqueue", "--id", "a", "true")
    assert [job["id"] for job in queuectl.json("list")] == ["a"]
    assert queuectl.db.parent.stat().st_mode & 0o777 == 0o700


def test_recover_reports_the_size_of_copies_of_old_files(queuectl):
    queuectl.add("true")
    assert "copies" not in queuectl("recover", "--force").err
    queuectl.add("true")
    said = queuectl("recover", "--force").err.splitlines()
    sizes = [each.stat().st_size for each in queuectl.db.parent.glob("queue.db.damaged-*/*")]
    assert said[-1].startswith(f"2 copies of old files take {format_size(sum(sizes))}: remove")
