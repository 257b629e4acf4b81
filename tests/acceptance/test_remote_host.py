"""`--db ssh://HOST/PATH`: the command runs there over ssh. Here ssh is a script that gives its line to a shell."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from queuectl import __version__
from queuectl.cli.remote_host import RemoteQueue
from queuectl.errors import UsageError
from tests.support.command_line import PROGRAM, UNSERVED, Queuectl, assert_error
from tests.support.pseudo_terminal import PseudoTerminal

PAGE = Path(__file__).parents[2] / "docs/service.md"
ODD = ["a  b", "it's", '"quoted"', "two\nlines", "$HOME `id` \\ !", "", "*", "-x", "ü"]


@pytest.fixture
def there(queuectl: Queuectl) -> Queuectl:
    """`queuectl` whose queue is on another host: a script that says how it was called, and runs it in `home`."""
    home = queuectl.folder / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "queuectl").symlink_to(PROGRAM)
    ssh = queuectl.folder / "fake ssh"
    ssh.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" | head -n 3 >"$SAID"\nfor line in "$@"; do :; done\n'
        'unset QUEUECTL_DB\nPATH="$THERE:$PATH"\ncd "$HOME" && exec sh -c "$line"\n'
    )
    ssh.chmod(0o755)
    queuectl.env |= {"QUEUECTL_SSH": str(ssh), "HOME": str(home), "THERE": str(home / "bin")}
    queuectl.env |= {"SAID": str(queuectl.folder / "said"), "QUEUECTL_DB": "ssh://me@host/~/queue.db"}
    return queuectl


def _said(there: Queuectl) -> list[str]:
    return (there.folder / "said").read_text().splitlines()


def test_arguments_stdin_and_output_are_passed_on(there: Queuectl) -> None:
    done = there("enqueue", "--id", "odd", "--env", "A=it's\n2", "--", "printf", "%s.", *ODD)
    assert (done.code, done.out) == (0, "odd\n"), done.err
    assert done.err.endswith(UNSERVED)
    assert _said(there) == ["-T", "--", "me@host"]
    shown = json.loads(there.ok("show", "odd", "--json"))
    assert (shown["argv"][2:], shown["env"]) == (ODD, {"A": "it's\n2"})
    assert shown["cwd"] == there.env["HOME"]
    assert there.ok("enqueue", "--file", "-", stdin='{"id": "piped", "command": "cat <<< \'x\'"}') == "piped"
    assert (Path(there.env["HOME"]) / "queue.db").exists()
    assert not there.db.exists()


def test_ssh_has_the_umask_of_the_caller(there: Queuectl) -> None:
    before = os.umask(0o002)
    try:
        there.ok("enqueue", "--id", "made", "true")
    finally:
        os.umask(before)
    assert there.show("made")["umask"] == "002"


def test_advice_names_the_queue_as_it_was_named_here(there: Queuectl) -> None:
    url = f"ssh://host{there.env['HOME']}/queue.db"
    assert there("--db", url, "enqueue", "true").err.endswith(
        f"no worker serves these queues: queuectl --db {url} run\n"
    )
    assert there("enqueue", "--db", url, "true").err.endswith(f" queuectl --db {url} run\n")
    assert there("enqueue", "true").err.endswith(": queuectl run\n")
    there.ok("enqueue", "--id", "j", "env")
    there.ok("--db", url, "run", "--drain")
    assert "_QUEUECTL" not in there.ok("logs", "j")


def test_the_example_of_the_page_works(there: Queuectl) -> None:
    (example,) = re.findall(r"```sh\n(queuectl --db ssh://.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    site, make = there.folder / "site", Path(there.env["THERE"]) / "make"
    site.mkdir()
    make.write_text('#!/bin/sh\necho "made $1 in $PWD"\n')
    make.chmod(0o755)
    (there.folder / "jobs.txt").write_text("echo two\necho one\n")
    enqueue, *others = example.splitlines()
    script = [enqueue, "queuectl --db ssh://ops@build1/srv/queue/queue.db run --drain", *others]
    text = "\n".join(script).replace("/srv/queue", str(there.folder)).replace("/srv/site", str(site))
    environment = {**there.env, "PATH": f"{Path(PROGRAM).parent}:{there.env['PATH']}"}
    done = subprocess.run(
        ["sh", "-ec", text], cwd=there.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done
    made, output, *added = done.stdout.splitlines()
    assert output == f"made all in {site}"
    found = there.json("--db", str(there.folder / "queue.db"), "list")
    assert {row["id"]: row["command"] for row in found} == {
        made: 'make "all"',
        **dict(zip(added, ["echo one", "echo two"], strict=True)),
    }


def test_the_exit_code_is_passed_on(there: Queuectl) -> None:
    there.ok("enqueue", "--id", "j", "--max-retries", "0", "exit 7")
    there.ok("run", "--drain")
    assert there("wait", "j").code == 7
    assert_error(there("show", "nobody"), 3, "nobody")


def test_db_after_the_command_and_other_queues(there: Queuectl) -> None:
    path = f"{there.env['HOME']}/other.db"
    url = f"ssh://host:2222{path}"
    assert there.ok("enqueue", "--db", url, "--id", "a", "--", "echo", "--db", url) == "a"
    assert _said(there) == ["-T", "-p", "2222"]
    assert there.ok(f"--db={url}", "list", "-o", "name") == "a"
    assert json.loads(there.ok("--db", path, "show", "a", "--json"))["argv"] == ["echo", "--db", url]
    assert there.ok("list", "--db", path, "-o", "name") == "a"


def test_a_terminal_here_is_a_terminal_there(there: Queuectl) -> None:
    there.ok("enqueue", "--id", "j", "true")
    with PseudoTerminal([PROGRAM, "list"], there.folder, there.env) as terminal:
        assert terminal.ended() == 0
        assert "pending" in terminal.text
    assert _said(there)[0] == "-t"


def test_another_version_or_none_there_is_named(there: Queuectl) -> None:
    program = Path(there.env["THERE"]) / "queuectl"
    program.unlink()
    program.write_text("#!/bin/sh\necho queuectl 9.9.9\n")
    program.chmod(0o755)
    done = there("list")
    assert (done.code, done.out) == (0, "queuectl 9.9.9\n")
    assert "me@host has another version: queuectl 9.9.9" in done.err
    assert f"here it is queuectl {__version__}" in done.err
    program.unlink()
    done = there("list", env={"PATH": "/usr/bin:/bin"})
    assert (done.code, done.out) == (127, "")
    assert "there is no queuectl in PATH on me@host" in done.err


@pytest.mark.parametrize(
    "url",
    [
        "ssh://-oProxyCommand=x/q.db",
        "ssh://-l@host/q.db",
        "ssh://me@-host/q.db",
        "ssh://host",
        "ssh://host/",
        "ssh:///q.db",
        "ssh://me:secret@host/q.db",
        "ssh://ho st/q.db",
        "ssh://host:x/q.db",
    ],
)
def test_a_url_without_host_or_path_is_refused(there: Queuectl, url: str) -> None:
    with pytest.raises(UsageError):
        RemoteQueue.parse(url)


def test_bad_hosts_and_a_missing_ssh_are_one_line(there: Queuectl) -> None:
    assert_error(there("--db", "ssh://-oProxyCommand=x/q.db", "list"), 2, "begin with -")
    assert_error(there("list", env={"QUEUECTL_SSH": "no-such-ssh"}), 2, "cannot run no-such-ssh", "QUEUECTL_SSH")
    assert not (there.folder / "said").exists()
    (there.folder / ".env").write_text("QUEUECTL_DB=ssh://host/q.db\n")
    assert_error(there("list", env={"QUEUECTL_DB": ""}), 2, "ssh:// is for the command line")


def test_an_address_is_written_without_brackets_for_ssh() -> None:
    assert RemoteQueue.parse("ssh://me@[::1]:22/a b.db") == RemoteQueue("me@::1", "22", "/a b.db")
    assert RemoteQueue.parse("ssh://host/~/q.db").path == "./q.db"
