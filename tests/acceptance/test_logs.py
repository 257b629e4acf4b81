"""`logs`: the output of a job, by run and stream, cleaned or raw, while it runs or later."""

import os
import re
import select
from contextlib import suppress
from subprocess import Popen

import pytest

from tests.support.command_line import PROGRAM, Queuectl, assert_error, eventually

COLOURFUL = r"printf '\033[31mred\033[0m \033]0;title\007plain\r\nb\010s \302\2331m\n'"


def test_stdout_and_stderr_are_separate(queuectl: Queuectl) -> None:
    job_id = queuectl.add("echo out; echo err >&2")
    queuectl.drain()
    assert queuectl("logs", job_id) == (0, "out\n", "err\n")
    assert queuectl("logs", job_id, "--stderr") == (0, "err\n", "")


def test_long_output_is_complete(queuectl: Queuectl) -> None:
    job_id = queuectl.add("seq 20000; seq 20001 30000 >&2")
    queuectl.drain()
    done = queuectl("logs", job_id)
    assert done.out == "".join(f"{i}\n" for i in range(1, 20001))
    assert done.err == "".join(f"{i}\n" for i in range(20001, 30001))


@pytest.mark.parametrize("size", ["short", "long"])
def test_each_run_has_its_own_output(queuectl: Queuectl, size: str) -> None:
    more = "; seq 2000" if size == "long" else ""
    job_id = queuectl.add("--max-retries", "2", "--backoff-base", "0", f"echo run $QUEUECTL_RUN{more}; exit 1")
    queuectl.drain()
    for run in ("1", "2", "3"):
        assert queuectl.ok("logs", job_id, "--run", run).splitlines()[0] == f"run {run}"
    assert queuectl.ok("logs", job_id).splitlines()[0] == "run 3"
    assert_error(queuectl("logs", job_id, "--run", "4"), 3, "run 4")
    assert_error(queuectl("logs", job_id, "--run", "0"), 2, "--run")


def on_terminal(queuectl: Queuectl, *arguments: str) -> str:
    """The output of a command on a terminal, without its last newline."""
    ours, theirs = os.openpty()
    env = {**queuectl.env, "QUEUECTL_PAGER": "cat"}
    process = Popen([PROGRAM, *arguments], cwd=queuectl.folder, env=env, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = bytearray()
    with os.fdopen(ours, "rb", buffering=0) as terminal, suppress(OSError):  # EIO: the other end is closed
        while chunk := terminal.read(1 << 16):
            shown += chunk
    assert process.wait(30) == 0
    return shown.decode("utf-8", "surrogateescape").replace("\r\n", "\n").removesuffix("\n")


@pytest.mark.parametrize("size", ["short", "long"])
def test_output_is_cleaned_on_a_terminal_and_unchanged_elsewhere(queuectl: Queuectl, size: str) -> None:
    job_id = queuectl.add(COLOURFUL + ("; seq 2000" if size == "long" else ""))
    queuectl.drain()
    clean = on_terminal(queuectl, "logs", job_id)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", clean)
    assert "red plain\nb^Hs" in clean
    for flags in ((), ("--raw",)):
        done = queuectl.ok("logs", job_id, *flags)
        assert done.startswith("\x1b[31mred\x1b[0m \x1b]0;title\x07plain\r\nb\bs \x9b1m")


@pytest.mark.parametrize("more", ["", "; seq 2000"], ids=["short", "long"])
def test_a_file_gets_the_bytes_that_the_job_wrote(queuectl: Queuectl, more: str) -> None:
    """Also when the output fits the event, which holds UTF-8 only."""
    job_id = queuectl.add(rf"printf 'a\000b\377c\r\n'{more}")
    queuectl.drain()
    assert (
        queuectl("logs", job_id)
        .out.encode("utf-8", "surrogateescape")
        .startswith(b"a\0b\xffc\r\n" + (b"1\n" if more else b""))
    )


UNFINISHED = r"printf '10%%\r20%%\tof \033[32mall\033[0m\033[3'; until [ -e go ]; do sleep 0.05; done; echo 1mdone"


def test_an_unfinished_line_is_shown_while_the_job_runs(queuectl: Queuectl) -> None:
    job_id = queuectl.add(UNFINISHED)
    queuectl.start("run", "--once")
    shown = "20%\tof all"
    eventually(lambda: on_terminal(queuectl, "logs", job_id).startswith(shown), "all that was printed is shown")
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        follower = Popen([PROGRAM, "logs", "-f", job_id], cwd=queuectl.folder, env=queuectl.env, stdout=theirs)
        os.close(theirs)
        seen = b""
        while len(seen) < len(b"20%\tof all"):
            assert select.select([terminal], [], [], 30)[0], seen
            seen += terminal.read(100)
        assert seen == b"20%\tof all"
        (queuectl.folder / "go").touch()
        while not seen.endswith(b"done\r\n"):
            assert select.select([terminal], [], [], 30)[0], seen
            seen += terminal.read(100)
        assert follower.wait(30) == 0
    assert seen == b"20%\tof alldone\r\n"


def test_a_line_rewritten_by_a_job_shows_its_last_state(queuectl: Queuectl) -> None:
    job_id = queuectl.add(r"printf 'a\r\n10%%\r50%%\r\r100%%\nlast\r'")
    queuectl.drain()
    assert on_terminal(queuectl, "logs", job_id) == "a\n100%\nlast"
    assert queuectl("logs", job_id).out == "a\r\n10%\r50%\r\r100%\nlast\r", "a pipe gets the bytes"


def test_the_output_of_several_jobs_is_named_on_stderr(queuectl: Queuectl) -> None:
    first, second = queuectl.add("echo 1"), queuectl.add("echo 2; echo two >&2")
    queuectl.drain()
    done = queuectl("logs", first, "2", "last")
    assert (done.code, done.out) == (0, "1\n2\n")
    assert done.err == f"job {first}: echo 1\njob {second}: echo 2; echo two >&2\ntwo\n"
    assert queuectl("logs", "-", stdin=f"{first}\n{second}\n").out == "1\n2\n"
    assert_error(queuectl("logs", first, second, "--run", "1"), 2, "--run goes with one ID")
    assert_error(queuectl("logs", first, "missing"), 3, "missing")


def test_a_job_that_has_not_run_has_printed_nothing(queuectl: Queuectl) -> None:
    job_id = queuectl.add("--delay", "1h", "true")
    assert queuectl("logs", job_id) == (0, "", f"job {job_id} has not run: it is pending\n")
    assert_error(queuectl("logs", "none"), 3, "none")


def test_output_is_available_while_the_job_runs(queuectl: Queuectl) -> None:
    job_id = queuectl.add("echo early; until [ -e go ]; do sleep 0.05; done; echo late")
    queuectl.start("run", "--once")
    eventually(lambda: queuectl("logs", job_id).out == "early\n", "the first line is to be read")
    (queuectl.folder / "go").touch()
    assert queuectl("wait", job_id).code == 0
    assert queuectl("logs", job_id).out == "early\nlate\n"


def test_following_shows_lines_as_they_come_and_ends_with_the_job(queuectl: Queuectl) -> None:
    job_id = queuectl.add("echo one; echo err >&2; until [ -e go ]; do sleep 0.05; done; echo two; seq 2000")
    follower = queuectl.start("logs", "-f", job_id)
    unserved = "no worker serves these queues: queuectl run\n"
    eventually(lambda: follower.stderr.read_text() == unserved, "it tells that no worker runs")
    queuectl.start("run", "--once")
    eventually(lambda: follower.stdout.read_text() == "one\n", "the first line is shown")
    eventually(lambda: follower.stderr.read_text() == f"{unserved}err\n", "stderr is shown")
    assert follower.process.poll() is None
    (queuectl.folder / "go").touch()
    done = follower.ended()
    assert (done.code, done.out) == (0, "one\ntwo\n" + "".join(f"{i}\n" for i in range(1, 2001)))


def test_following_continues_with_the_next_run(queuectl: Queuectl) -> None:
    line = "echo run $QUEUECTL_RUN; until [ -e go ]; do sleep 0.05; done; [ $QUEUECTL_RUN = 2 ]"
    job_id = queuectl.add("--backoff-base", "0.2", line)
    follower = queuectl.start("logs", "--follow", job_id)
    queuectl.start("run", "--drain")
    eventually(lambda: follower.stdout.read_text() == "run 1\n", "the first run is shown")
    (queuectl.folder / "go").touch()
    done = follower.ended()
    assert (done.code, done.out) == (0, "run 1\nrun 2\n")
    assert done.err in ("", "no worker serves these queues: queuectl run\n")


def test_following_an_ended_job_prints_its_output_and_ends(queuectl: Queuectl) -> None:
    job_id = queuectl.add("echo one")
    queuectl.drain()
    assert queuectl("logs", "-f", job_id) == (0, "one\n", "")


def test_a_purged_job_keeps_only_the_tail(queuectl: Queuectl) -> None:
    job_id = queuectl.add("seq 3000")
    queuectl.drain()
    assert (queuectl.output / job_id).exists()
    queuectl.ok("purge", job_id)
    assert not (queuectl.output / job_id).exists()
    done = queuectl("logs", job_id)
    assert (done.code, done.out.endswith("\n2999\n3000\n")) == (0, True)
    assert done.err == "these are the last 4 KiB of stdout: no output file on this host has more of it\n"


def test_a_closed_pipe_is_not_an_error(queuectl: Queuectl) -> None:
    job_id = queuectl.add("seq 100000")
    queuectl.drain()
    started = queuectl.start_program("sh", "-c", '"$0" logs "$1" | head -n 1', PROGRAM, job_id)
    assert started.ended() == (0, "1\n", "")
