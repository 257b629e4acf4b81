"""The examples of docs/python.md: sessions are run and compared, programs are run as files."""

import doctest
import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.request import urlopen
from wsgiref.simple_server import make_server

import pytest

import queuectl
from tests.support.command_line import PROGRAM

PAGE = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("QUEUECTL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def program(name):
    """One program of the page, written to a file."""
    text = re.search(rf"^<!-- file: {name} -->\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[1]
    Path(name).write_text(text, encoding="utf-8")
    return text


def run_program(name):
    program(name)
    return subprocess.run([sys.executable, name], check=False, capture_output=True, text=True, timeout=60)


def drain(db):
    subprocess.run([PROGRAM, "--db", db, "run", "--drain"], check=True, capture_output=True, timeout=60)


def namespace(name):
    """The names that a program of the page defines."""
    names = {"__name__": Path(name).stem}
    exec(compile(program(name), name, "exec"), names)
    return names


# ── the sessions ────────────────────────────────────────────────────────────────────────────────────


def test_the_sessions_of_the_page_print_what_it_says():
    names, report = {}, io.StringIO()
    runner = doctest.DocTestRunner(verbose=False)
    for number, (language, text) in enumerate(BLOCKS):
        if language == "pycon":
            session = doctest.DocTestParser().get_doctest(text, names, f"block {number}", None, None)
            runner.run(session, out=report.write, clear_globs=False)
            names = session.globs
        elif language == "console":
            for line in text.splitlines():
                command = line.removeprefix("$ ").replace("queuectl", PROGRAM, 1)
                subprocess.run(command, shell=True, check=True, capture_output=True, timeout=60)
    assert runner.summarize(verbose=False).failed == 0, report.getvalue()
    assert runner.tries >= 15
    names["queue"].close()


def test_a_wrong_answer_of_a_session_is_noticed():
    session = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(session, out=lambda text: None).failed == 1


# ── the programs ────────────────────────────────────────────────────────────────────────────────────


def test_the_script_reports_what_failed():
    for name, recipe in (("parser", "true"), ("server", "echo broken >&2; exit 3"), ("website", "true")):
        Path(name).mkdir()
        Path(name, "Makefile").write_text(f"test:\n\t@{recipe}\n", encoding="utf-8")
    with queuectl.open_queue("nightly.db") as queue:
        queue.enqueue("true")  # so that the worker has something to wait for before the script has begun
    script = subprocess.Popen(
        [sys.executable, "-c", program("nightly.py").replace('"30m"', '"30m", backoff_base=0')],
        stderr=subprocess.PIPE,
        text=True,
    )
    with queuectl.open_queue("nightly.db") as queue:
        while len(queue.jobs()) < 4 and script.poll() is None:
            threading.Event().wait(0.02)
    drain("nightly.db")
    _, said = script.communicate(timeout=60)
    assert script.returncode == 1, said
    assert said.startswith("make -C server test: exited with code 2: make: ")


def test_the_handler_without_a_framework_answers():
    names = namespace("plain_web.py")
    with make_server("127.0.0.1", 0, names["application"]) as server:
        server.RequestHandlerClass.log_message = lambda *_: None
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        try:
            answers = [json.load(urlopen(url, b"month=2026-11", timeout=30)) for _ in range(2)]
        finally:
            server.shutdown()
            thread.join()
    assert answers[0]["state"] == "pending"
    assert answers[0] == answers[1]
    assert [job.command for job in names["queue"].jobs()] == ["./report.sh 2026-11"]
    names["queue"].close()


def test_the_flask_handler_answers():
    pytest.importorskip("flask")
    names = namespace("web.py")
    client = names["app"].test_client()
    first, second = (client.post("/reports", data={"month": "2026-11"}) for _ in range(2))
    assert first.status_code == 202
    assert first.json == second.json
    assert client.get(f"/reports/{first.json['id']}").json["state"] == "pending"
    assert client.get("/reports/none").status_code == 404
    names["queue"].close()


def test_the_notebook_shows_a_table():
    pytest.importorskip("pandas")
    with queuectl.open_queue("queue.db") as queue:
        queue.enqueue_many(["true", "exit 1"], retries=0)
    drain("queue.db")
    done = run_program("notebook.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^default +dlq +1 ", done.stdout, re.MULTILINE)
    assert re.search(r"^ +done +1 ", done.stdout, re.MULTILINE)


def test_jobs_are_dictionaries_of_plain_values():
    from dataclasses import asdict

    with queuectl.open_queue("queue.db") as queue:
        queue.enqueue("true", id="a", tags={"b": "c"})
        [row] = [asdict(job) for job in queue.jobs()]
    assert (row["id"], row["state"], row["tags"]) == ("a", "pending", {"b": "c"})


# ── the tables ──────────────────────────────────────────────────────────────────────────────────────


def named(part):
    """The names in the first column of the tables of a part of the page."""
    text = PAGE.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_every_option_is_in_its_table():
    from queuectl.api import JobOptions

    assert named("Adding jobs") == set(JobOptions.__annotations__)


def test_every_field_of_a_job_is_in_its_table():
    assert named("Reading") == {*queuectl.Job.__dataclass_fields__, "ended", "succeeded"}


def test_every_error_that_is_exported_is_in_its_table():
    kinds = {name for name in queuectl.__all__ if name.endswith("Error")} - {"QueuectlError"}
    assert named("Errors") == kinds
