"""Odd surroundings: closed or full streams, a folder that is gone, a locale that is not UTF-8."""

import pytest

from tests.support.command_line import PROGRAM, Done, Queuectl

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""The settings that a locale such as en_US.ISO-8859-1 gives Python, where there is none to try."""


def _shell(queuectl: Queuectl, script: str) -> Done:
    """Run a script with the program as $0; return its exit code and stderr."""
    return queuectl.start_program("sh", "-c", script, PROGRAM).ended()


@pytest.mark.parametrize("streams", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_commands_work_with_closed_streams(queuectl: Queuectl, streams: str) -> None:
    for command in ("enqueue --id job 'echo hi'", "list", "run --drain", "show job", "logs job", "wait job"):
        done = _shell(queuectl, f'"$0" {command} {streams}')
        assert done.code == 0, (command, done)
        assert "Traceback" not in done.err, (command, done)
    assert queuectl.show("job")["stdout"] == "hi\n"


def test_closed_stdin_is_empty_and_cannot_confirm(queuectl: Queuectl) -> None:
    queuectl.add("true")
    queuectl.drain()
    done = _shell(queuectl, '"$0" purge --state done <&-')
    assert (done.code, len(done.err.splitlines())) == (2, 1), done
    done = _shell(queuectl, '"$0" enqueue --file - <&-')
    assert "Traceback" not in done.err, done
    assert done.code in (0, 2), done


def test_a_full_stdout_is_an_error_of_one_line(queuectl: Queuectl) -> None:
    queuectl.add("--id", "job", "true")
    for command in ("list", "list --json", "history job", "status", "export -", "enqueue --id job true"):
        done = _shell(queuectl, f'"$0" {command} > /dev/full')
        assert done.code != 0, (command, done)
        assert len(done.err.splitlines()) == 1, (command, done)
        said = "queuectl: " if command.startswith("enqueue") else "queuectl: cannot write to stdout: No space left"
        assert done.err.startswith(said), (command, done)


def test_commands_in_a_deleted_folder_print_no_traceback(queuectl: Queuectl) -> None:
    queuectl.add("--id", "job", "true")
    for command in ("enqueue true", "list"):
        done = _shell(queuectl, f'mkdir gone && cd gone && rmdir ../gone && "$0" --db "{queuectl.db}" {command}')
        assert "Traceback" not in done.err, (command, done)
        assert len(done.err.splitlines()) <= 1, (command, done)
        assert done.code == (2 if command == "enqueue true" else 0), (command, done)


def test_a_locale_that_is_not_utf_8_does_not_stop_a_worker(queuectl: Queuectl) -> None:
    (queuectl.folder / "größe").mkdir()
    queuectl.add("--id", "odd", "--cwd", "größe", "--env", "A=ä", 'touch "$A"; echo "dös"')
    queuectl.add("--id", "argv", "--", "printf", "%s", "ö")
    queuectl.add("--id", "next", "true")
    done = queuectl("run", "--drain", env=ASCII)
    assert done.code == 0, done
    assert [queuectl.state(job) for job in ("odd", "argv", "next")] == ["done"] * 3
    assert (queuectl.show("odd")["stdout"], queuectl.show("argv")["stdout"]) == ("dös\n", "ö")
    assert (queuectl.folder / "größe" / "ä").exists()


def test_a_locale_that_is_not_utf_8_does_not_stop_a_reader(queuectl: Queuectl) -> None:
    queuectl.add("--id", "odd", "echo dös 2>&1; echo ö ≥ 1")
    queuectl.drain()
    for command in (("list",), ("list", "--json"), ("show", "odd"), ("history", "odd"), ("logs", "odd")):
        done = queuectl(*command, env=ASCII)
        assert done.code == 0, (command, done)
        assert done.err == "", (command, done)
