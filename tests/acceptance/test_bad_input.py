"""Bad input: one line that says what to do, the right exit code, and nothing written."""

import pytest

from tests.support.command_line import Queuectl, assert_error

USAGE: list[tuple[tuple[str | bytes, ...], str]] = [
    (("enqueue",), "COMMAND"),
    (("enqueue", ""), "empty"),
    (("enqueue", "  \n"), "empty"),
    (("enqueue", "--"), "argv"),
    (("enqueue", "--", ""), "argv"),
    (("enqueue", "--max-retries", "-1", "true"), "max_retries"),
    (("enqueue", "--max-retries", "99999999999999999999", "true"), "max_retries"),
    (("enqueue", "--max-retries", "1.5", "true"), "--max-retries"),
    (("enqueue", "--priority", "99999999999999", "true"), "priority"),
    (("enqueue", "--priority", "-99999999999999999999", "true"), "priority"),
    (("enqueue", "--priority", "high", "true"), "--priority"),
    (("enqueue", "--delay", "10000y", "true"), "delay"),
    (("enqueue", "--delay", "99999999w", "true"), "delay"),
    (("enqueue", "--delay", "-5s", "true"), "delay"),
    (("enqueue", "--delay", "", "true"), "delay"),
    (("enqueue", '{"command": "true", "command": "false"}'), "'command' is given twice"),
    (("enqueue", '{"command": "true", "env": {"A": "1:2", "A": "3"}}'), "'A' is given twice"),
    (("enqueue", "--at", "someday", "true"), "at"),
    (("enqueue", "--at", "99999-01-01", "true"), "at"),
    (("enqueue", "--at", "1969-12-31T00:00:00Z", "true"), "at"),
    (("enqueue", "--timeout", "-1s", "true"), "timeout"),
    (("enqueue", "--timeout", "1e400", "true"), "timeout"),
    (("enqueue", "--backoff-base", "-1", "true"), "backoff_base"),
    (("enqueue", "--backoff-base", "nan", "true"), "backoff_base"),
    (("enqueue", "--backoff-base", "inf", "true"), "backoff_base"),
    (("enqueue", "--queue", "a b", "true"), "queue"),
    (("enqueue", "--queue", "*", "true"), "queue"),
    (("enqueue", "--queue", "", "true"), "queue"),
    (("enqueue", "--unique", "", "true"), "unique"),
    (("enqueue", b"echo \xff"), "UTF-8"),
    (("enqueue", "--cwd", b"/\xff", "true"), "UTF-8"),
    (("enqueue", "--env", b"A=\xff", "true"), "UTF-8"),
    (("enqueue", "--tag", b"a=\xff", "true"), "UTF-8"),
    (("enqueue", "--id", b"\xff", "true"), "id"),
    (("list", "--limit", "9" * 20), "--limit"),
    (("events", "--from", "9" * 20), "--from"),
    (("events", "--to", "9" * 20), "--to"),
    (("audit", "--to", "9" * 20), "--to"),
    (("verify", "--expect", f"{'9' * 20}:{'0' * 64}"), "--expect"),
    (("status", "--as-of", "9" * 5000), "position"),
]


def test_a_command_line_that_is_wrong_writes_nothing(queuectl: Queuectl) -> None:
    queuectl.add("true")
    before = queuectl.position()
    for arguments, word in USAGE:
        assert_error(queuectl(*arguments), 2, word)
    assert queuectl.position() == before


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("enque", "true"), "No such command 'enque'. Did you mean 'enqueue'?"),
        (("staus",), "Did you mean 'status'"),
        (("dlq", "lst"), "Did you mean 'list'?"),
        (("--json", "list"), "the options of a command go after its name"),
        (("--db",), "(see `queuectl --help`)"),
        (
            ("run", "--queue", "a b"),
            "queue: 'a b' is not allowed: use up to 128 letters, digits and . _ -, the first a letter or digit\n",
        ),
        (("enqueue", "--id"), "'--id' requires an argument (see `queuectl enqueue --help`)"),
        (("config", "get", "lease", "--as-of"), "'--as-of' requires an argument (see `queuectl config get --help`)"),
        (("list", "--json=yes"), "does not take a value (see `queuectl list --help`)"),
        (("list", "--limit", "many"), "(see `queuectl list --help`)"),
        (("run", "-j", "4"), "No such option: -j. Did you mean --concurrency?"),
        (("serve", "--port", "80"), "No such option: --port. Did you mean --listen?"),
        (("list", "--colour"), "Did you mean --color?"),
        (("list", "--xyz"), "No such option: --xyz (see"),
        (("enqueue", "ls", "--dir", "/tmp"), "if you do not mean --cwd, put -- before the program"),
    ],
)
def test_a_common_mistake_gets_a_hint(queuectl: Queuectl, arguments: tuple[str, ...], hint: str) -> None:
    assert_error(queuectl(*arguments), 2, hint)


def test_only_a_misplaced_option_is_called_misplaced(queuectl: Queuectl) -> None:
    for arguments in (("list", "--jsn"), ("--db",)):
        assert "go after its name" not in queuectl(*arguments).err


def test_a_wrong_command_line_creates_no_queue(queuectl: Queuectl) -> None:
    for arguments, code in (
        (("enqueue", ""), 2),
        (("enqueue", "--priority", "99999999999999", "true"), 2),
        (("cancel", "none"), 5),
    ):
        assert queuectl(*arguments).code == code
        assert list(queuectl.folder.iterdir()) == [], arguments


def test_a_variable_that_the_system_cannot_pass_is_refused(queuectl: Queuectl) -> None:
    text = '{"command": "true", "env": {"A": "' + "x" * (1 << 17) + '"}}'
    assert_error(queuectl("enqueue", "--file", "-", stdin=text), 2, "line 1", "env")


def test_an_illegal_move_names_the_job_its_state_and_what_is_allowed(queuectl: Queuectl) -> None:
    queuectl.add("--id", "job", "true")
    before = queuectl.position()
    assert_error(queuectl("retry", "job"), 4, "job", "pending", "cancel")
    assert_error(queuectl("purge", "job"), 4, "job", "pending", "cancel")
    assert queuectl.position() == before
    queuectl.drain()
    assert_error(queuectl("cancel", "job"), 4, "job", "done", "retried or purged")


def test_a_dotenv_that_is_not_text_is_named(queuectl: Queuectl) -> None:
    (queuectl.folder / ".env").write_bytes(b"QUEUECTL_DB=\xff\xfe\n")
    assert_error(queuectl("enqueue", "true"), 2, ".env")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["show", "a\nb"], 3), (["list", "--state", "a\nb"], 2), (["--db", "a\nb", "head"], 5)],
)
def test_an_error_is_one_line_for_any_input(queuectl: Queuectl, arguments: list[str], code: int) -> None:
    queuectl.add("true")
    assert_error(queuectl(*arguments), code, "a\\nb")


def test_a_path_with_terminal_codes_is_escaped(queuectl: Queuectl) -> None:
    queuectl.ok("--db", "a\u202e", "enqueue", "true")
    (queuectl.folder / "a\u202e").write_bytes(b"")
    done = queuectl("--db", "a\u202e", "recover")
    assert "a\\u202e.damaged" in done.err, done


@pytest.mark.parametrize("arguments", [["show", b"\xff"], ["list", "--queue", b"\xff"], ["list", "--tag", b"\xff=1"]])
def test_an_argument_that_is_not_utf_8_is_refused(queuectl: Queuectl, arguments: list[str | bytes]) -> None:
    queuectl.add("true")
    assert_error(queuectl(*arguments), 2, "UTF-8")
