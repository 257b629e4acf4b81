"""Commands that differ on a server: backups, the archive on this machine, the findings of `doctor`."""

import json
import os
import re
from contextlib import closing
from threading import Thread

import psycopg
import pytest

from queuectl.runtime import SystemClock
from queuectl.store import open_store
from queuectl.store.postgres import health as postgres_health
from queuectl.store.protocol import Store
from queuectl.store.rows import HealthFinding
from tests.postgres.conftest import OnServer
from tests.support.builders import a_worker, add, new
from tests.support.command_line import Queuectl, assert_error, check_log, eventually, query


def lived(queuectl: OnServer) -> None:
    """Add two jobs with a history."""
    queuectl.ok("enqueue", "--id", "good", "--tag", "a=b", "echo hi")
    queuectl.ok("enqueue", "--id", "bad", "--max-retries", "0", "exit 3")
    queuectl.drain()


def test_every_reading_command_works_on_a_server(queuectl: OnServer) -> None:
    lived(queuectl)
    assert {row["id"]: row["state"] for row in queuectl.json("list")} == {"good": "done", "bad": "dlq"}
    assert [row["id"] for row in queuectl.json("list", "--tag", "a=b")] == ["good"]
    assert {row["id"]: row["state"] for row in queuectl.json("list", "--as-of", "2")} == dict.fromkeys(
        ("good", "bad"), "pending"
    )
    assert queuectl.ok("logs", "good") == "hi"
    assert "(exit 3" in queuectl.ok("explain", "bad")
    assert "bad" in queuectl.ok("diff", "2", "head")
    assert queuectl.types("good") == ["enqueued", "claimed", "completed"]
    assert queuectl.ok("verify").startswith("clean: ")
    assert "there were no differences" in queuectl("rebuild").err
    assert queuectl.json("head")["position"] == queuectl.position()
    assert_error(queuectl("recover"), 2, "SQLite")


def test_a_reading_command_creates_no_schema(queuectl: OnServer) -> None:
    assert queuectl.json("list") == []
    assert_error(queuectl("verify"), 5, "there is no queue at")
    assert_error(queuectl("cancel", "x"), 5, "there is no queue at")
    assert queuectl.position() == 0
    schema = queuectl.url.rpartition("=")[2]
    assert queuectl.query(f"SELECT 1 FROM pg_namespace WHERE nspname = '{schema}'") == []


def test_a_follower_sees_new_events(queuectl: OnServer) -> None:
    queuectl.add("true")
    follower = queuectl.start("events", "-f", "--json", "--to", "2")
    eventually(lambda: "caught_up" in follower.stdout.read_text(), "it has caught up")
    queuectl.add("false")
    done = [json.loads(line) for line in follower.ended().out.splitlines()]
    assert [line.get("position", line.get("caught_up")) for line in done] == [1, 1, 2]


def test_a_backup_is_a_queue_in_a_file_with_the_same_head(queuectl: OnServer) -> None:
    lived(queuectl)
    copy = queuectl.folder / "copy.db"
    assert f"head {' '.join(map(str, queuectl.json('head').values()))}" in queuectl("backup", str(copy)).err
    assert [path.name for path in queuectl.folder.glob("copy.db*")] == ["copy.db"]
    check_log(copy)
    assert query(copy, "SELECT count(*) FROM events") == [(queuectl.position(),)]
    local = Queuectl(queuectl.folder)
    for command in ("head", "list"):
        assert local.json("--db", str(copy), command) == queuectl.json(command)
    assert local.ok("--db", str(copy), "verify").startswith("clean: ")
    assert_error(queuectl("backup", str(copy)), 2, "exists")


def test_an_export_can_be_imported_into_a_server(queuectl: OnServer) -> None:
    lived(queuectl)
    file = str(queuectl.folder / "log.ndjson")
    queuectl.ok("export", file)
    there = {"QUEUECTL_DB": f"{queuectl.url}_copy"}
    queuectl.ok("import", file, env=there)
    assert queuectl.json("head", env=there) == queuectl.json("head")
    assert queuectl.ok("verify", env=there).startswith("clean: ")
    assert_error(queuectl("import", file, env=there), 4, "not empty")


def test_events_lost_by_the_server_come_back_from_the_archive(queuectl: OnServer) -> None:
    """After an older backup of the server was restored, the archive on this machine has the missing events."""
    lived(queuectl)
    before, schema = queuectl.json("head"), queuectl.url.rpartition("=")[2]
    with psycopg.connect(queuectl.url.partition("&schema=")[0], autocommit=True) as owner:
        owner.execute(f"SET search_path = {schema}")
        owner.execute("SET session_replication_role = replica")
        owner.execute("DELETE FROM events WHERE position > 3")
    done = queuectl("head", "--json")
    assert "were put back" in done.err
    assert json.loads(done.out) == before
    queuectl.ok("rebuild")
    assert queuectl.ok("verify").startswith("clean: ")


@pytest.mark.parametrize(("more", "passed_on"), [("", True), ("&password=horse", False)])
def test_a_job_gets_its_queues_url_without_the_password(queuectl: OnServer, more: str, passed_on: bool) -> None:
    job_id = queuectl.add('echo "[$QUEUECTL_DB]"')
    queuectl.drain(env={"QUEUECTL_DB": queuectl.url + more})
    assert queuectl.ok("logs", job_id) == (f"[{queuectl.url}]" if passed_on else "[]")


def test_data_larger_than_a_socket_buffer_is_sent(queuectl: OnServer) -> None:
    """Megabytes in one exchange: waiting for answers before all data is sent would be a deadlock."""
    job = json.dumps({"command": "true", "tags": {"large": "\x01" * 60_000}})
    assert len(queuectl.ok("enqueue", "--file", "-", stdin=f"{job}\n" * 9).splitlines()) == 9


def test_a_remote_worker_with_our_host_name_is_not_lost(queuectl: OnServer) -> None:
    queuectl.ok("enqueue", "true")
    with closing(open_store(queuectl.url, SystemClock())) as store:
        store.workers.beat(a_worker("there", host=os.uname().nodename, boot_id="there"))
        assert [row["state"] for row in queuectl.json("worker", "list")] == ["running"]
        assert_error(queuectl("worker", "stop", "--timeout", "0.1s"), 124, "there still running jobs")
        assert store.workers.asked("there")[0] == 1


def test_logs_say_that_the_rest_is_not_here(queuectl: OnServer) -> None:
    job_id = queuectl.add("seq 2000")
    queuectl.drain()
    assert len(queuectl.ok("logs", job_id)) > 8000
    elsewhere = queuectl("logs", job_id, env={"QUEUECTL_HOME": str(queuectl.folder / "another-machine")})
    assert elsewhere.out.endswith("1999\n2000\n")
    assert len(elsewhere.out) == 4096
    assert elsewhere.err.splitlines()[-1].endswith(": no output file on this host has more of it")


# ── what doctor sees ────────────────────────────────────────────────────────────────────────────────


def test_doctor_finds_nothing_on_a_healthy_queue(queuectl: OnServer) -> None:
    lived(queuectl)
    about = {finding["about"]: finding for finding in queuectl.json("doctor")}
    wanted = (
        "queue",
        "dead rows",
        "snapshots",
        "waiting",
        "connections",
        "database",
        "archive",
        "permissions",
        "output",
    )
    assert {name: about[name]["level"] for name in wanted} == dict.fromkeys(wanted, "ok")
    schema = queuectl.url.rpartition("=")[2]
    assert re.fullmatch(rf"PostgreSQL \d+.* at postgresql://.*, schema {schema}", about["queue"]["what"])
    assert about["disk"]["what"].endswith(f"are free in {queuectl.home}")
    assert "SQLite" not in about
    assert "pages of the database" not in about["database"]["what"]


def test_doctor_without_a_queue_creates_none(queuectl: OnServer) -> None:
    done = queuectl("doctor")
    assert done.code == 0
    assert (
        f"ok       queue: there is no queue in the schema {queuectl.url.rpartition('=')[2]} of postgresql://"
        in done.out
    )
    assert "database" not in done.out.replace("/database", "")


def test_doctor_reports_local_files_that_others_can_write(queuectl: OnServer) -> None:
    lived(queuectl)
    queuectl.home.chmod(0o777)
    done = queuectl("doctor")
    assert done.code == 1
    assert f"others can write to {queuectl.home}" in done.out


def health(store: Store) -> dict[str, HealthFinding]:
    return {found.about: found for found in store.upkeep.health()}


def test_doctor_reports_an_old_snapshot(postgres, places, url, monkeypatch):
    monkeypatch.setattr(postgres_health, "LONG", 0)
    monkeypatch.setattr(postgres_health, "MANY_DEAD", 0)
    store = places.open(url)
    [(first,)] = store.engine.run("SELECT pg_backend_pid()")
    with psycopg.connect(postgres.url()) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        sign = health(store)["snapshots"]
        assert (sign.bad, sign.remedy) == (True, f"pg_terminate_backend({reader.info.backend_pid})")
        assert first != reader.info.backend_pid
        add(store, *(new(f"job-{number}") for number in range(20)))
        store.engine.run("UPDATE jobs SET attempts = 1")
        store.engine.run("DELETE FROM jobs")
        eventually(lambda: health(store)["dead rows"].bad, "dead rows are counted")
        assert health(store)["dead rows"].remedy == f"VACUUM {url.rpartition('=')[2]}.jobs"


def test_doctor_reports_a_writer_that_waits_for_a_lock(postgres, places, url, monkeypatch):
    one, other = places.open(url), places.open(url)
    assert health(one)["waiting"].what == "0 of us wait for a lock"
    waiting = Thread(target=lambda: add(other, new("a")))
    with one.writer.transaction():
        waiting.start()
        eventually(lambda: health(one)["waiting"].what.startswith("1 of us"), "it waits")
    waiting.join(60)
    assert other.log.head().position == 1


def changed(queuectl: OnServer, old: str, new_text: str) -> None:
    """Change an event's data with the log's triggers disabled."""
    base, _, schema = queuectl.url.partition("&schema=")
    with psycopg.connect(base, options=f"-c search_path={schema}") as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER USER")
        connection.execute("UPDATE events SET data = replace(data, %s, %s) WHERE position = 1", (old, new_text))
        connection.execute("ALTER TABLE events ENABLE TRIGGER USER")


def test_the_advice_for_damage_on_a_server_works(queuectl: OnServer) -> None:
    lived(queuectl)
    head, folder = queuectl.json("head"), next(queuectl.home.glob("*.archive"))
    changed(queuectl, "echo hi", "echo no")
    assert_error(
        queuectl("export", "log"), 5, "event 1 of good is damaged (its digest does not match): restore a backup"
    )
    assert_error(queuectl("show", "good"), 5, "import what an archive holds into a new schema")
    assert "what to do: restore a backup of the server" in queuectl("verify").err
    for command in (["verify", "--json"], ["doctor", "--json"], ["explain", "good"], ["history", "good"]):
        said = queuectl(*command).out
        assert "restore a backup of the server" in said
        assert "recover" not in said
    lines = b"".join(path.read_bytes() for path in sorted(folder.glob("*.ndjson")))
    queuectl.ok("import", "-", stdin=lines, env={"QUEUECTL_DB": f"{queuectl.url}_again"})
    assert queuectl.json("head", env={"QUEUECTL_DB": f"{queuectl.url}_again"}) == head
    changed(queuectl, "echo no", "echo hi")


def test_the_advice_for_a_servers_damaged_archive_works(queuectl: OnServer) -> None:
    lived(queuectl)
    folder = next(queuectl.home.glob("*.archive"))
    segment = next(folder.glob("*.ndjson"))
    segment.write_bytes(segment.read_bytes().replace(b"echo hi", b"echo no"))
    done = queuectl("verify")
    assert "what to do: move this machine's archive away" in done.err
    assert "recover" not in done.err
    folder.rename(folder.with_suffix(".away"))
    queuectl.add("true")
    assert queuectl.ok("verify").startswith("clean: ")
