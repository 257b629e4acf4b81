"""`--stdin FILE`: the job reads a file as it was when the job was added; the note on input that is not read."""

import json
import os
import shlex
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from queuectl.process.stdin_file import LARGEST
from tests.support.command_line import PROGRAM, UNSERVED, Queuectl, assert_error

TEXT = b"porridge\ntwo\n\xff\n"
NOTE = "stdin is not read"


@pytest.fixture
def file(queuectl: Queuectl) -> Path:
    path = queuectl.folder / "my input"
    path.write_bytes(TEXT)
    return path


def _why(queuectl: Queuectl, job_id: str) -> str:
    return str(queuectl.show(job_id)["last_error"])


def test_a_job_reads_the_file_at_each_attempt(queuectl: Queuectl, file: Path) -> None:
    flags = ("--id", "j", "--stdin", file.name, "--max-retries", "1", "--retry-wait", "0")
    queuectl.ok("enqueue", *flags, "wc -c; exit $((2 - QUEUECTL_ATTEMPT))")
    (added,) = queuectl.events("enqueued")
    assert added["stdin"] == {"path": str(file), "sha256": sha256(TEXT).hexdigest()}
    assert b"porridge" not in b"".join(queuectl.stored())
    queuectl.drain()
    assert [queuectl.ok("logs", "j", "--run", run).split()[0] for run in ("1", "2")] == [f"{len(TEXT)}"] * 2
    shown = queuectl.show("j")
    assert (shown["state"], shown["stdin"], shown["stdin_sha256"]) == ("done", str(file), added["stdin"]["sha256"])
    assert f"stdin from {file}" in queuectl.ok("history", "j")
    words = shlex.split(queuectl.ok("show", "j", "--as-shell"))
    assert words[words.index("--stdin") + 1] == str(file)


def test_a_changed_or_missing_file_is_not_started(queuectl: Queuectl, file: Path) -> None:
    queuectl.add("--id", "j", "--stdin", str(file), "--max-retries", "0", "cat")
    file.write_bytes(TEXT + b"more")
    queuectl.drain()
    assert "not started" in _why(queuectl, "j")
    assert "was changed after the job was added" in _why(queuectl, "j")
    queuectl.ok("retry", "j", "--set", f"stdin={file}")
    queuectl.drain()
    assert queuectl.ok("logs", "j").endswith("more")
    file.unlink()
    queuectl.ok("retry", "j")
    queuectl.drain()
    assert "No such file" in _why(queuectl, "j")
    os.mkfifo(file)
    queuectl.ok("retry", "j")
    queuectl.drain()
    assert "not a regular file" in _why(queuectl, "j")


def test_an_edit_leaves_the_file_and_a_copy_reads_it_again(queuectl: Queuectl, file: Path) -> None:
    queuectl.add("--id", "j", "--stdin", str(file), "cat")
    file.write_bytes(b"other")
    queuectl.ok("edit", "j", "--priority", "3")
    assert queuectl.show("j")["stdin_sha256"] == sha256(TEXT).hexdigest()
    queuectl.ok("copy", "j", "--id", "k")
    assert queuectl.show("k")["stdin_sha256"] == sha256(b"other").hexdigest()
    queuectl.ok("edit", "j", "--stdin", str(file))
    assert queuectl.show("j")["stdin_sha256"] == sha256(b"other").hexdigest()
    queuectl.ok("edit", "k", "--stdin", "/dev/null")
    assert queuectl.show("k")["stdin"] is None
    queuectl.drain()
    assert (queuectl.ok("logs", "j"), queuectl.ok("logs", "k")) == ("other", "")


def test_json_and_sweeps_name_files(queuectl: Queuectl, file: Path) -> None:
    queuectl.add_all({"id": "j", "command": "cat", "stdin": str(file)})
    (queuectl.folder / "b").write_text("b")
    queuectl.ok("enqueue", "--each", "--batch", "s", "--stdin", "{}", "cat", ":::", file.name, "b")
    assert [queuectl.show(each)["stdin"] for each in ("j", "s.1", "s.2")] == [
        str(file),
        str(file),
        str(queuectl.folder / "b"),
    ]
    printed = json.dumps(queuectl.show("j") | {"id": "again"})
    assert queuectl.show(queuectl.ok("enqueue", printed))["stdin"] == str(file)


def test_a_pipe_or_folder_is_refused(queuectl: Queuectl, file: Path) -> None:
    assert_error(queuectl("enqueue", "--stdin", "-", "cat", stdin="x"), 2, "- is refused", "save the input")
    assert_error(queuectl("enqueue", "--stdin", "/dev/stdin", "cat", stdin="x"), 2, "not a regular file")
    assert_error(queuectl("enqueue", "--stdin", ".", "cat"), 2, "not a regular file")
    assert_error(queuectl("enqueue", "--stdin", "nothing", "cat"), 2, "cannot read nothing")
    assert_error(queuectl("enqueue", "--stdin", "", "cat"), 2, "stdin")
    with file.open("wb") as large:
        large.truncate(LARGEST + 1)
    assert_error(queuectl("enqueue", "--stdin", str(file), "cat"), 2, "256 MiB")
    assert not queuectl.db.exists()


def _enqueue(queuectl: Queuectl, line: str, **options: Any) -> str:
    """Stderr of a line of the shell that runs queuectl as $Q."""
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=queuectl.folder,
        env={**queuectl.env, "Q": PROGRAM},
        check=True,
        capture_output=True,
        timeout=60,
        **options,
    )
    return done.stderr.decode()


def test_unread_input_is_noted_once(queuectl: Queuectl, file: Path) -> None:
    done = queuectl("enqueue", "cat", stdin="x")
    assert (done.code, done.err.count(NOTE)) == (0, 1)
    name = shlex.quote(file.name)
    assert _enqueue(queuectl, f'"$Q" enqueue cat < {name}; :').count(NOTE) == 1


@pytest.mark.parametrize(
    "line",
    [
        'while read -r line; do "$Q" enqueue true; done < F',
        'cat F | while read -r line; do "$Q" enqueue true; done',
        '"$Q" enqueue true < /dev/null; :',
        '"$Q" enqueue true <&-; :',
        'true | "$Q" enqueue true',
        '"$Q" enqueue --file - < F',
        '"$Q" enqueue --stdin F true < F; :',
    ],
)
def test_input_for_others_or_no_input_is_not_noted(queuectl: Queuectl, line: str) -> None:
    (queuectl.folder / "F").write_text("true\ntrue\n")
    said = _enqueue(queuectl, line)
    assert NOTE not in said
    assert said.endswith(UNSERVED)


def test_a_pipe_that_stays_open_does_not_block(queuectl: Queuectl) -> None:
    reading, writing = os.pipe()
    try:
        assert NOTE not in _enqueue(queuectl, '"$Q" enqueue true; :', stdin=reading)
    finally:
        os.close(reading)
        os.close(writing)
