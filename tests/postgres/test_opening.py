"""Opening a queue on a server: its schema, the servers that are refused, and hidden passwords."""

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl import store as stores
from queuectl.application.queue import Queue
from queuectl.domain import events as e
from queuectl.domain.names import SETTINGS_STREAM
from queuectl.errors import StoreBusyError, StoreError, UsageError
from queuectl.store import is_there, name_of, open_store
from queuectl.store.postgres.errors import unreachable
from queuectl.store.postgres.url import SCHEMA, has_password, place_of, without_password
from tests.postgres.conftest import OnServer
from tests.support.builders import a_worker, add, claimant, completed, derived, more, new, note, projected, stored
from tests.support.command_line import assert_error, eventually
from tests.support.peer import Peer, ask_all

# ── whose schema ────────────────────────────────────────────────────────────────────────────────────


def test_opening_creates_a_schema(postgres, places):
    url = postgres.url(postgres.new_database())
    assert not is_there(url)
    add(places.open(url), new("a"))
    assert is_there(url)
    database = url.partition("@/")[2].partition("?")[0]
    tables = "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_schema !~ '^(pg_|information_)'"
    assert postgres.ask(tables, database) == [(SCHEMA,)]


def test_many_processes_that_open_create_one_schema(url, peers):
    peers += [Peer() for _ in range(4)]
    assert len({str(log_id) for log_id in ask_all(peers, "open", url)}) == 1, peers[0].call("open", url)


def test_two_schemas_are_two_queues(postgres, places):
    one, other = places.new_store(), places.new_store()
    add(one, new("a"))
    assert (one.log.head().position, other.log.head().position) == (1, 0)
    assert one.log.log_id != other.log.log_id


ROLE = "CREATE ROLE plain LOGIN; CREATE DATABASE plain; REVOKE CREATE ON DATABASE plain FROM PUBLIC"


@pytest.fixture
def plain(postgres):
    """The URL of a role that is not a superuser, in a database where it may not create schemas."""
    for statement in ROLE.split("; "):
        postgres.ask(statement)
    yield postgres.url("plain").replace("postgres@", "plain@")
    postgres.ask("DROP DATABASE plain WITH (FORCE)")
    postgres.ask("DROP ROLE plain")


def test_no_superuser_is_needed(postgres, places, plain):
    with pytest.raises(StoreError, match="permission denied"):
        places.open(plain)
    places.open(postgres.url("plain"))
    with pytest.raises(StoreError, match='permission denied for schema queuectl: see "Roles and grants"'):
        places.open(plain)
    postgres.ask("DROP SCHEMA queuectl CASCADE; CREATE SCHEMA queuectl AUTHORIZATION plain", "plain")
    store = places.open(plain)
    add(store, new("a"))
    assert store.upkeep.rebuild().total == 0
    assert store.upkeep.damage() == []


def granted(page: str) -> dict[str, list[str]]:
    """The grants in docs/postgres.md, by role."""
    found: dict[str, list[str]] = {}
    for statement in re.findall(r"^GRANT [^;]+;", page, re.MULTILINE):
        found.setdefault(statement.rstrip(";").rpartition(" ")[2], []).append(statement)
    return found


@pytest.mark.parametrize("role", ["job_runner", "job_reader"])
def test_the_documented_grants_are_sufficient_and_minimal(postgres, places, role):
    page = Path("docs/postgres.md").read_text(encoding="utf-8")
    database = postgres.new_database()
    owner = places.open(postgres.url(database))
    add(owner, new("first"))
    postgres.ask(f"CREATE ROLE {role} LOGIN")
    try:
        for statement in granted(page)[role]:
            postgres.ask(statement, database)
        store = places.open(postgres.url(database).replace("postgres@", f"{role}@"))
        assert store.upkeep.compare().total == 0
        if role == "job_runner":
            [job] = Queue(store, "w").claim(claimant("w"), (), 1, lambda job: True)
            add(store, more(job, completed()), note(store, SETTINGS_STREAM, e.SettingChanged(key="lease", value="1m")))
            store.workers.beat(a_worker())
            store.workers.forget(a_worker("w1"))
        else:
            with pytest.raises(StoreError, match="permission denied"):
                add(store, new("second"))
        with pytest.raises(StoreError, match="permission denied"):
            store.engine.run("DELETE FROM events")
        assert projected(owner) == derived(owner)
    finally:
        places.close()
        postgres.ask(f"DROP DATABASE {database} WITH (FORCE)")
        postgres.ask(f"DROP ROLE {role}")


# ── which servers ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
def test_a_server_without_durable_commits_is_refused(postgres, places, url, setting):
    postgres.ask(f"ALTER SYSTEM SET {setting} = off")
    try:
        postgres.ask("SELECT pg_reload_conf()")
        eventually(lambda: postgres.ask(f"SHOW {setting}") == [("off",)], "the setting is read")
        with pytest.raises(StoreError, match=f"{setting} is off"):
            places.open(url)
    finally:
        postgres.ask(f"ALTER SYSTEM RESET {setting}")
        postgres.ask("SELECT pg_reload_conf()")
        eventually(lambda: postgres.ask(f"SHOW {setting}") == [("on",)], "the setting is read")
    places.open(url)


def test_a_database_that_is_not_utf_8_is_refused(postgres, places):
    postgres.ask("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match="UTF8"):
        places.open(postgres.url("latin"))
    postgres.ask("DROP DATABASE latin")


@pytest.mark.parametrize("schema", ["", "1st", "Upper", "pg_own", "a-b", "a;b", "x" * 49])
def test_invalid_schema_names_are_refused(schema):
    with pytest.raises(UsageError, match="schema="):
        place_of(f"postgresql://host/db?schema={schema}")


# ── the log's guards ────────────────────────────────────────────────────────────────────────────────

CHANGES = [
    "UPDATE events SET data = '{}'",
    "UPDATE events SET digest = salt",
    "UPDATE events SET position = position + 100",
    "UPDATE events SET data = NULL, salt = NULL",
    "UPDATE events SET data = NULL, salt = NULL, data_digest = digest, actor = 'someone'",
    "DELETE FROM events",
    "DELETE FROM events WHERE position = 2",
    "TRUNCATE events",
    "INSERT INTO events SELECT 9, stream_id, 9, type, schema, recorded_at, actor, data, salt, NULL, digest FROM events"
    " WHERE position = 1",
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_database_itself_refuses_changes_of_the_log(places, change):
    store = places.new_store()
    add(store, new("a"), new("b"))
    before = stored(store)
    with pytest.raises(Exception, match=r"append-only|no gaps"):
        store.engine.run(change)
    assert stored(store) == before


def test_only_redaction_is_allowed(places):
    store = places.new_store()
    add(store, new("a"), new("b"))
    store.engine.run(
        "UPDATE events SET data = NULL, salt = NULL, data_digest = sha256(salt || convert_to(data, 'UTF8'))"
    )
    assert [row.data for row in stored(store)] == [None, None]


def test_text_that_postgres_cannot_store_is_refused(places):
    store = places.new_store()
    with pytest.raises(UsageError, match="NUL"):
        add(store, new("a", command="nul \0"))
    assert store.log.head().position == 0


def test_text_that_is_not_utf_8_is_a_usage_error(places):
    store = places.new_store()
    with pytest.raises(UnicodeEncodeError):
        store.tables.job("lone \udcff")
    assert store.log.head().position == 0


# ── passwords ───────────────────────────────────────────────────────────────────────────────────────

SECRET = "s3cret-horse"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{SECRET}@host/db",
        f"postgresql://ann:{SECRET}@host:5432/db?sslmode=require",
        f"postgres://ann:{SECRET}@/db?host=/run",
        f"postgresql://ann@host/db?password={SECRET}",
        f"postgresql://ann@host/db?sslmode=require&password={SECRET}&schema=q",
        f"postgresql://ann:{SECRET}/@host/db",
        f"postgresql://ann:{SECRET}?@host/db",
        f"postgresql://ann:p@{SECRET}/w@host/db",
        f"postgresql://ann@corp.org:{SECRET}@host/db",
        f"postgresql://ann:{SECRET}@h1:5432,h2:5433/host",
        f"postgresql://ann@host/db?p%61ssword={SECRET}",
        f"postgresql://ann@host/db?PassWord={SECRET}",
        f"postgresql://ann@host/db?nonsense=1&sslpassword={SECRET}",
        f"postgresql://ann@host/db?oauth_client_secret={SECRET}",
        f"postgresql://ann@host/db?password=a&{SECRET}&user=b",
    ],
)
def test_a_url_is_shown_without_its_password(url):
    assert has_password(url)
    assert SECRET not in without_password(url)
    assert "host" in without_password(url) or "/run" in without_password(url)
    with pytest.raises((StoreError, UsageError)) as refusal:
        open_store(f"{url}{'&' if '?' in url else '?'}connect_timeout=1&nonsense=1", None)
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann@host:5432/db",
        "postgresql:///db?host=/run",
        "postgresql://[::1]:5432/db",
        "postgresql://ann@h1:5432,h2:5433/db",
        "postgresql://ann@host:5432/db?options=-c%20a%3Db&user=ann@corp.org",
        "postgresql://ann@host/db?passfile=/run/pass&&sslmode=require",
        "data/queue.db",
    ],
)
def test_a_url_without_a_password_is_shown_unchanged(url):
    assert not has_password(url)
    assert without_password(url) == url


LETTERS = "QXZ7"
"""Only in passwords, so that each that is shown is one too many."""
WRONGLY_WRITTEN = st.text(st.sampled_from(LETTERS + ":@/?#&=%+. "), min_size=1, max_size=12)


@given(
    password=WRONGLY_WRITTEN.filter(set(LETTERS).intersection),
    user=st.sampled_from(["ann", "ann@corp.org", "ann%40corp", ""]),
    hosts=st.sampled_from(["host", "host:5432", "[::1]:5432", "h1:5432,h2:5433", ""]),
    query=st.sampled_from(["", "?sslmode=require", "?nonsense=1", "?host=/run&schema=q"]),
    where=st.sampled_from(["before @", "password", "p%61ssword", "PASSWORD", "sslpassword"]),
)
def test_no_part_of_a_password_is_shown_in_a_malformed_url(password, user, hosts, query, where):
    if where == "before @":
        url = f"postgresql://{user}:{password}@{hosts}/db{query}"
    else:
        url = f"postgresql://{user}@{hosts}/db{query}{'&' if query else '?'}{where}={password}&user=b"
    assert has_password(url)
    assert not set(LETTERS) & set(without_password(url)), without_password(url)


@pytest.mark.parametrize("url", ["ann:a@b@host", "ann:a/b@host", "ann:a?b@host", "ann@corp:a@host", "ann:a/db"])
def test_a_url_that_libpq_parses_differently_is_refused(url):
    with pytest.raises(UsageError, match="%40"):
        place_of(f"postgresql://{url}/db")


def test_a_password_on_the_command_line_is_refused(queuectl: OnServer):
    assert_error(queuectl("--db", f"postgresql://ann:{SECRET}@host/db", "status"), 2, "QUEUECTL_DB")


def test_the_password_is_in_no_output_file_or_argument(queuectl: OnServer):
    queuectl.env["QUEUECTL_DB"] = queuectl.url.replace("postgres@", f"postgres:{SECRET}@")
    job_id = queuectl.add("env; sleep 60")
    queuectl.ok("worker", "start", "--detach", "--name", "w", "--count", "2")
    eventually(lambda: queuectl.state(job_id) == "processing", "the job runs")
    arguments = [line for line in processes() if "queuectl" in line and "--name" in line]
    said = [queuectl("worker", "list"), queuectl("doctor"), queuectl("config", "show"), queuectl("events", "--json")]
    said += [queuectl("worker", "stop", "--now"), queuectl("recover"), queuectl("logs", job_id)]
    logs = [path.read_text() for path in queuectl.folder.rglob("*") if path.is_file()]
    assert len(arguments) >= 3
    assert SECRET not in "".join([*arguments, *map(str, said), *logs])
    assert name_of(queuectl.env["QUEUECTL_DB"]) == queuectl.url


def processes() -> list[str]:
    """The arguments of all processes, which every user can see."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_an_unknown_parameter_is_named_without_the_password():
    with pytest.raises(UsageError, match=r"a parameter that is not known: shcema \(the schema is schema=NAME\)"):
        open_store(f"postgresql://ann:{SECRET}@host/db?shcema=x", None)
    with pytest.raises(UsageError) as refusal:
        open_store("postgresql://ann:1/a?hidden=z@host/db", None)
    assert "hidden" not in str(refusal.value)


def test_without_psycopg_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delattr(stores.postgres, "store", raising=False)
    monkeypatch.setitem(sys.modules, "queuectl.store.postgres.store", None)
    with pytest.raises(StoreError, match=r"^PostgreSQL needs psycopg .*: pip install 'psycopg\[binary\]'$"):
        open_store("postgresql://host/db", None)


def test_an_unreachable_server_is_an_error_of_one_line(queuectl: OnServer):
    queuectl.env["QUEUECTL_DB"] = f"postgresql://ann:{SECRET}@127.0.0.1:9/db"
    for command in (("status",), ("enqueue", "true"), ("run", "--once")):
        done = queuectl(*command)
        assert_error(done, 5, "cannot reach postgresql://ann@127.0.0.1:9/db")
        assert SECRET not in done.err


def test_a_wrong_parameter_is_an_error_of_one_line(queuectl: OnServer):
    queuectl.env["QUEUECTL_DB"] = f"postgresql://ann:{SECRET}@127.0.0.1:9/db?connect_timeout=soon"
    done = queuectl("status")
    assert_error(done, 2, "connect_timeout: 'soon'")
    assert SECRET not in done.err


@pytest.mark.parametrize(
    ("reason", "said", "busy"),
    [
        ('FATAL:  password authentication failed for user "ann"', "set PGPASSWORD", False),
        ("fe_sendauth: no password supplied", "set PGPASSWORD", False),
        ('FATAL:  database "db" does not exist', "create it with createdb", False),
        ("Connection refused\n\tIs the server running?", "start the server", False),
        ("FATAL:  sorry, too many clients already", "try again", True),
        ('FATAL:  too many connections for role "ann"', "try again", True),
        ('FATAL:  too many connections for database "db"', "try again", True),
        ("FATAL:  the database system is starting up", "try again", True),
        ("server does not support SSL, but SSL was required", "", False),
    ],
)
def test_a_refused_connection_names_the_next_step(reason, said, busy):
    error = unreachable(psycopg.OperationalError(f'connection to server at "h", port 1 failed: {reason}'), "SHOWN")
    assert str(error).startswith(
        f"cannot reach SHOWN: {reason.splitlines()[0].removeprefix('FATAL:  ').removeprefix('fe_sendauth: ')}"
    )
    assert said in str(error)
    assert isinstance(error, StoreBusyError) == busy


def test_a_missing_socket_is_named_by_its_path():
    found = 'connection to server on socket "/run/.s.PGSQL.5432" failed: No such file or directory'
    error = unreachable(psycopg.OperationalError(f"connection is bad: {found}\n\tIs the server running?"), "SHOWN")
    assert str(error).startswith(f"cannot reach SHOWN: {found}: start the server")
