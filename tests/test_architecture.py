"""Rules for the code that the import contracts cannot check: the modules loaded at start-up; who may read the clock,
use randomness, start processes and spell states; what the domain may import; how long functions and files may be.
"""

import ast
import json
import os
import re
import statistics
import subprocess
import sys
from functools import cache
from itertools import groupby
from pathlib import Path
from pkgutil import resolve_name

import pytest

import queuectl
from queuectl.cli.app import COMMANDS
from queuectl.domain.machine import State
from tests.kill.victims import POINTS

HOUSE = Path(queuectl.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))


def place(path):
    return path.relative_to(HOUSE).as_posix()


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


# ── start-up: what a command loads ──────────────────────────────────────────────────────────────────────

NOT_AT_STARTUP = {
    "asyncio",
    "cronsim",
    "anyio",
    "ctypes",
    "dotenv",
    "jinja2",
    "importlib.metadata",
    "logging",
    "psycopg",
    "pydantic",
    "rich",
    "six",
    "sqlite3",
    "starlette",
    "tabulate",
    "tomllib",
    "transitions",
    "uvicorn",
    "wcwidth",
    "zoneinfo",
}

CALLS = """
import json, sys
before = set(sys.modules)
from queuectl.cli import run
codes = []
for arguments in json.loads(sys.argv[1]):
    try:
        run(arguments)
    except SystemExit as end:
        codes.append(end.code)
print(json.dumps([codes, sorted(set(sys.modules) - before)]))
"""

IMPORTS = """
import json, sys
before = set(sys.modules)
from importlib import import_module
for name in json.loads(sys.argv[1]):
    import_module(name)
print(json.dumps([[], sorted(set(sys.modules) - before)]))
"""


def loaded(script, argument, folder, said=""):
    """The exit codes and the modules that a fresh Python has loaded after the script."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "QUEUECTL_"))}
    ended = subprocess.run(
        [sys.executable, "-c", script, json.dumps(argument)],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(HOUSE.parent), "XDG_CONFIG_HOME": str(folder)},
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    codes, modules = json.loads(ended.stdout.splitlines()[-1])
    return codes, set(modules)


def among(modules, unwanted):
    return sorted(name for name in modules if any(name == each or name.startswith(f"{each}.") for each in unwanted))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["enqueue", "true"], ""),
        (["enqueue", "--priority", "3", "--tag", "a=b", "--delay", "5m", "--unique", "k", "--", "echo", "hi"], ""),
        (["enqueue", '{"command": "true", "env": {"A": "1"}}'], ""),
        (["enqueue", "--file", "-"], "true\nfalse\n"),
    ],
    ids=["a command", "flags", "JSON", "a file"],
)
def test_enqueue_loads_nothing_that_it_does_not_use(arguments, said, tmp_path):
    codes, modules = loaded(CALLS, [arguments], tmp_path, said)
    others = {f"queuectl.cli.{where.partition(':')[0]}" for where in COMMANDS.values()} - {"queuectl.cli.enqueue"}
    assert codes == [0]
    assert "queuectl.store.sqlite.store" in modules
    others |= {"queuectl.worker.loop", "queuectl.process.runner", "queuectl.application.contexts", "hashlib"}
    others |= {"queuectl.domain.reactions", "queuectl.domain.schedule", "queuectl.store.postgres"}
    parts = ("batches", "causes", "history", "job_filter", "misdated", "reacting", "schedules", "waits", "waits_reader")
    others |= {f"queuectl.store.sql.{part}" for part in parts}
    others |= {"queuectl.store.protocol", "queuectl.store.reading_protocols", "queuectl.domain.backoff"}
    if "--tag" not in arguments:
        others.add("queuectl.store.sql.job_tags")
    assert among(modules, NOT_AT_STARTUP | others) == []


def test_many_jobs_are_sealed_by_the_quicker_sha256(tmp_path):
    codes, modules = loaded(CALLS, [["enqueue", "--file", "-"]], tmp_path, "true\n" * 50)
    assert codes == [0]
    assert "hashlib" in modules
    assert loaded(CALLS, [["verify"]], tmp_path)[0] == [0]


@pytest.mark.parametrize("arguments", [["list", "-o", "ndjson"], ["logs", "1"]])
def test_reading_compiles_no_patterns_and_loads_no_hashes(arguments, tmp_path):
    assert loaded(CALLS, [["enqueue", "true"]], tmp_path)[0] == [0]
    codes, modules = loaded(CALLS, [arguments], tmp_path)
    assert codes == [0]
    unwanted = {"queuectl.domain.general_form", "queuectl.application.schedule_views", "hashlib"}
    assert among(modules, NOT_AT_STARTUP | unwanted) == []


def test_completion_loads_no_worker(tmp_path, monkeypatch):
    assert loaded(CALLS, [["enqueue", "true"]], tmp_path)[0] == [0]
    monkeypatch.setenv("_QUEUECTL_COMPLETE", "fish")  # `loaded` leaves out only QUEUECTL_ variables
    codes, modules = loaded(CALLS, [["cancel", ""]], tmp_path)
    assert codes == [0]
    assert "queuectl.store.sqlite.store" in modules
    unwanted = NOT_AT_STARTUP | {"queuectl.cli.enqueue", "queuectl.worker.loop", "queuectl.process.runner"}
    assert among(modules, unwanted) == []


def test_the_version_and_the_package_load_next_to_nothing(tmp_path):
    assert among(loaded(IMPORTS, ["queuectl"], tmp_path)[1], {"queuectl"}) == ["queuectl"]
    assert (
        among(loaded(CALLS, [["--version"]], tmp_path)[1], NOT_AT_STARTUP | {"apsw", "queuectl.store.sqlite.store"})
        == []
    )


def test_no_module_loads_what_is_heavy_when_it_is_imported(tmp_path):
    names = [place(path).removesuffix(".py").replace("/", ".") for path in FILES]
    names = [
        f"queuectl.{name}".removesuffix(".__init__") for name in names if not name.startswith(("store.postgres", "web"))
    ]
    _, modules = loaded(IMPORTS, names, tmp_path)
    assert set(names) <= modules
    assert among(modules, NOT_AT_STARTUP - {"logging", "ctypes"}) == []


def test_no_command_ever_loads_a_second_sqlite(tmp_path):
    """Two SQLite libraries in one process cancel each other's locks."""
    calls = [
        ["enqueue", "--id", "a", "true"],
        ["enqueue", "--id", "b", "--max-retries", "0", "false"],
        ["run", "--drain"],
        ["worker", "list"],
        ["schedule", "list"],
        ["status"],
        ["list"],
        ["batches"],
        ["show", "a"],
        ["history", "b"],
        ["logs", "a"],
        ["wait", "a"],
        ["dlq", "list"],
        ["failures"],
        ["copy", "a", "--id", "c", "--delay", "1h"],
        ["edit", "c", "--priority", "1"],
        ["dlq", "retry", "b"],
        ["enqueue", "--id", "d", "--after", "b", "true"],
        ["graph"],
        ["unblock", "d"],
        ["cancel", "b"],
        ["retry", "b"],
        ["pause"],
        ["resume"],
        ["config", "set", "lease", "1m"],
        ["config", "show"],
        ["purge", "a"],
        ["events"],
        ["metrics"],
        ["diff", "1", "head"],
        ["explain", "b"],
        ["head"],
        ["verify"],
        ["audit"],
        ["rebuild"],
        ["export", "log.ndjson"],
        ["--db", "other.db", "import", "log.ndjson"],
        ["backup", "backup.db"],
        ["context", "show"],
        ["doctor"],
        ["migrate", "--yes", "--to", "moved.db"],
    ]
    assert {word for call in calls for word in call} >= set(COMMANDS) - {
        "recover",
        "serve",
    }  # damage: tests/archive; it does not end
    codes, modules = loaded(CALLS, calls, tmp_path)
    assert codes == [0] * len(calls)
    assert among(modules, {"sqlite3", "_sqlite3", "pysqlite3"}) == []


@pytest.mark.parametrize("point", POINTS)
def test_a_point_to_be_killed_at_is_a_function(point):
    """The campaign `kill` names functions in strings, which no linter checks when a function is renamed."""
    assert callable(resolve_name(point))


# ── who may do what ─────────────────────────────────────────────────────────────────────────────────────


@cache
def uses(path):
    """Every outside name a module uses, in full (`time.sleep`, `os.urandom`), whatever it is called there."""
    nodes = list(ast.walk(tree(path)))
    known = dict(pair for node in nodes for pair in names_bound(node))
    return {name for node in nodes if (name := full_name(node, known))} | imported(path)


def names_bound(node):
    """(name here, full name) of what an import statement brings."""
    if isinstance(node, ast.Import):
        for each in node.names:
            top = each.name.partition(".")[0]
            yield (each.asname, each.name) if each.asname else (top, top)
    elif isinstance(node, ast.ImportFrom):
        for each in node.names:
            yield each.asname or each.name, f"{node.module}.{each.name}"


def full_name(node, known):
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = full_name(node.value, known)
        return owner and f"{owner}.{node.attr}"
    return None


def imported(path):
    """The imports of a module, anywhere in it: modules, and `module.name` for names."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{each.name}" for each in node.names}
    return found


def matching(pattern, names=uses, skip=()):
    """The files that use names that match, with these names."""
    found = {place(path): {name for name in names(path) if re.fullmatch(pattern, name)} for path in FILES}
    return {where: what for where, what in found.items() if what and where not in skip}


def test_only_runtime_reads_time_or_randomness():
    outside = (
        r"(time|random|secrets|uuid|sched)\.\w+"
        r"|os\.(urandom|getrandom|times)"
        r"|datetime\.(datetime|date)\.(now|utcnow|today)"
    )
    assert matching(outside, skip=["runtime.py"]) == {
        "cli/log_output.py": {"time.strftime", "time.localtime", "time.gmtime"},  # writes a given moment, reads none
        "store/sql/writer.py": {"os.urandom"},  # the salts
        "store/meta.py": {"os.urandom"},  # the log's id
        "store/postgres/handshake.py": {"os.urandom"},  # the name of what a queue keeps beside it
        "maintenance/salvage.py": {"os.urandom"},  # another one, when nothing that is left says which it was
    }
    assert "os.urandom" in uses(HOUSE / "runtime.py")


def test_only_launch_starts_commands_and_only_the_supervisor_workers():
    starting = (
        r"os\.(posix_spawnp?|fork|forkpty|system|popen|exec\w+|spawn\w+)"
        r"|(subprocess|multiprocessing|pty|concurrent\.futures)(\..+)?"
    )
    assert matching(starting) == {
        "__main__.py": {"os.execv"},  # itself again, in UTF-8
        "parallel.py": {"subprocess.PIPE", "subprocess.Popen"},  # itself, to read a long log
        "cli/editor.py": {"subprocess", "subprocess.run"},  # VISUAL, EDITOR
        "cli/pager.py": {"os.posix_spawn"},  # PAGER
        "cli/remote_host.py": {"os.execvp"},  # ssh, QUEUECTL_SSH
        "process/launch.py": {"os.posix_spawn"},  # what users asked to be run
        "process/shell_syntax.py": {"subprocess", "subprocess.run"},  # `sh -n`, which runs nothing
        "worker/background.py": {"os.posix_spawn"},  # `queuectl worker start`
        "worker/supervisor.py": {"os.posix_spawn"},  # `queuectl run`
        "web/verification.py": {"subprocess.DEVNULL", "subprocess.PIPE", "subprocess.Popen"},  # itself, to verify
    }


def test_each_library_is_imported_by_its_own_folder_alone():
    assert set(matching(r"transitions(\..+)?")) == {"domain/machine.py"}
    assert set(matching(r"(tabulate|wcwidth)(\..+)?")) == {"imports.py", "render/terminal.py", "render/tables.py"}
    assert set(matching(r"(cronsim|zoneinfo)(\..+)?")) == {"timetable.py"}
    assert {where.partition("/")[0] for where in matching(r"apsw(\..+)?")} == {"store"}
    assert matching(r"_?sqlite3(\..+)?") == {}


STATES = {state.value for state in State}

NOT_A_STATE = {
    "api/records.py": STATES,  # their type, for checkers
    "checks/audit_rules.py": STATES,  # a table of its own, to judge the machine by
    "checks/audit.py": {"pending", "processing"},  # the same
    "checks/audit_after.py": STATES,  # the same, of dependencies
    "checks/audit_limits.py": {"pending", "processing", "dlq"},  # the same, of limits of failures
    "render/terminal.py": STATES,  # the colours, by the words that are printed
    "domain/events.py": {"cancelled", "purged"},  # types of events
    "domain/commands.py": {"cancelled", "purged"},  # verbs in the message of a refusal
    "domain/job.py": {"cancelled", "purged"},  # the same, by which the machine's row is looked up
    "store/projections.py": {"dlq", "purged"},  # the tables
    "store/sql/causes.py": {"purged"},  # the table
    "store/sql/rebuild.py": {"purged"},  # the same
    "application/waiting.py": {"dlq"},  # the command
    "cli/app.py": {"dlq"},  # the command
    "cli/summaries.py": {"dlq"},  # the same
    "cli/run.py": {"dlq"},  # the command that lists dead jobs
    "cli/completion.py": {"dlq"},  # the same
}


def strings(path):
    constants = [node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)]
    return {value for value in constants if isinstance(value, str)}


def test_only_the_machine_spells_the_names_of_states():
    spelled = {place(path): strings(path) & STATES for path in FILES}
    assert spelled.pop("domain/machine.py") == STATES
    assert {where: names for where, names in spelled.items() if names} == NOT_A_STATE


def test_no_sql_spells_the_names_of_states():
    quoted = re.compile(f"'({'|'.join(STATES)})'")
    assert [place(path) for path in FILES if any(map(quoted.search, strings(path)))] == []


def test_the_domain_imports_nothing_but_itself_and_what_is_pure():
    pure = (
        r"queuectl\.(domain|durations|errors)(\..+)?"
        r"|msgspec(\..+)?"
        r"|(collections\.abc|enum|functools|itertools|math|typing)\.\w+"
        r"|re|shlex\.quote|hashlib\.sha256"
        r"|signal\.Signals"  # names of signals
        r"|transitions\.\w+"
    )
    domain = [path for path in FILES if place(path).startswith(("domain/", "durations.py"))]
    foreign = {place(path): {name for name in imported(path) if not re.fullmatch(pure, name)} for path in domain}
    assert {where: names for where, names in foreign.items() if names} == {}
    assert len(domain) >= 6


# ── quiet code ──────────────────────────────────────────────────────────────────────────────────────────


def functions():
    """(lines, where) of every function, from `def` to its end."""
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.end_lineno - node.lineno + 1, f"{place(path)}:{node.lineno} {node.name}"


def test_functions_are_short():
    lengths = sorted(functions(), reverse=True)
    longest = [where for lines, where in lengths if lines > 25]
    assert statistics.median(lines for lines, _ in lengths) <= 8
    assert len(longest) <= len(lengths) / 10, longest


def test_files_are_short():
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {where: lines for where, lines in lengths.items() if lines > 400} == {}


def protocols():
    """(name, its public members) of every protocol of the store."""
    for name in ("protocol", "reading_protocols"):
        for node in tree(HOUSE / f"store/{name}.py").body:
            if isinstance(node, ast.ClassDef):
                assert [ast.unparse(base) for base in node.bases] == ["Protocol"], node.name
                yield node.name, members(node)


def members(node):
    names = [each.target.id if isinstance(each, ast.AnnAssign) else getattr(each, "name", None) for each in node.body]
    return {name for name in names if name}


def test_the_protocols_of_the_store_are_small():
    found = dict(protocols())
    assert set(found) >= {"Log", "History", "Writer", "Tables", "Batches", "Schedules", "Waits", "Workers", "Upkeep"}
    assert {name: len(each) for name, each in found.items() if len(each) > 16} == {}
    assert found["Waits"] == {"dependencies", "by_queue", "crowd", "behind"}  # so members are counted at all


def files_entered(call):
    """The files of the functions that a call enters, in order. A file that is entered again is there again."""
    entered = []

    def enter(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(HOUSE):
            entered.append(place(path))

    sys.setprofile(enter)
    try:
        call()
    finally:
        sys.setprofile(None)
    return [file for file, _ in groupby(entered)]


def test_one_enqueue_enters_few_files(tmp_path):
    with queuectl.open_queue(tmp_path / "queue.db") as queue:
        queue.enqueue("true")
        files = files_entered(lambda: queue.enqueue("true"))
    assert (len(set(files)) <= 20, len(files) <= 46) == (True, True), files
    first, last = (order.index("application/queue.py") for order in (files, files[::-1]))
    change = files[first : len(files) - last]  # from the use case to the archive
    assert (change[0], change[-1]) == ("application/queue.py", "application/queue.py")
    assert (len(set(change)) <= 12, len(change) <= 26) == (True, True), change


def test_every_module_says_what_it_owns():
    assert [place(path) for path in FILES if not ast.get_docstring(tree(path))] == []


# ── the checks above can fail ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import time\ntime.sleep(1)", "time.sleep"),
        ("import time as t\ndef f():\n    return t.time()", "time.time"),
        ("def f():\n    from time import monotonic as now\n    return now()", "time.monotonic"),
        ("from datetime import datetime\ndatetime.now()", "datetime.datetime.now"),
        ("import datetime as dt\ndt.datetime.now()", "datetime.datetime.now"),
        ("import os\nos.posix_spawn", "os.posix_spawn"),
        ("import concurrent.futures\nconcurrent.futures.ProcessPoolExecutor", "concurrent.futures.ProcessPoolExecutor"),
        ("import subprocess", "subprocess"),
        ("from random import *", "random.*"),
    ],
)
def test_a_use_is_seen_through_any_import(code, name, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(code)
    assert name in uses(path)


def test_a_local_name_is_not_taken_for_a_module(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("from datetime import time\ntime.fromisoformat('09:00')\nself.random.random()")
    assert uses(path) == {"datetime.time", "datetime.time.fromisoformat"}


def test_a_loaded_module_is_seen(tmp_path):
    _, modules = loaded(IMPORTS, ["sqlite3", "logging.handlers"], tmp_path)
    assert among(modules, {"sqlite3", "logging"})[:2] == ["logging", "logging.handlers"]
    assert among({"rich.table", "richer", "logging"}, {"rich", "logging"}) == ["logging", "rich.table"]
