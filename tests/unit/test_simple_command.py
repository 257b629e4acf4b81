"""Commands that are started without a shell, because it would only start the program with the same arguments."""

import errno
import os
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from queuectl.process import launch
from queuectl.process.simple_command import _OWN_NAMES, without_shell
from tests.support.events import a_spec

ENVIRON = {b"PATH": os.environb[b"PATH"]}
SHELLS = ("/bin/sh", "/bin/bash")
Spawned = list[tuple[bytes, list[bytes]]]
texts = st.text(st.sampled_from("ab0.=-%/,'\"'\" \t~*?$\\#;&|<>(){}[]!^`\né"), max_size=12)


@given(texts)
@example("'a b'\"c'd\"e \"\" ''")
@example("-- -n --a=b C:/x,y @z +1%")
@pytest.mark.parametrize("shell", SHELLS)
def test_words_are_those_that_a_shell_would_pass(shell: str, text: str) -> None:
    words = without_shell(f"program {text}", ENVIRON)
    if words is not None:
        script = f'program() {{ printf "%s\\0" "$@" end; }}; program {text}'
        passed = subprocess.run([shell, "-c", script], capture_output=True, check=True).stdout
        assert [word.encode() for word in (*words[1:], "end", "")] == passed.split(b"\0")


@pytest.mark.parametrize(
    "command",
    ["sleep 1", " ./run.sh a=b\t-x ", "/bin/ls", "'a program' \"with words\" ''", "python train.py --lr=0.1 'a;b\nc'"],
)
def test_plain_and_quoted_words_need_no_shell(command: str) -> None:
    assert without_shell(command, ENVIRON)


@pytest.mark.parametrize(
    "command",
    [
        *("a;b", "a&", "a|b", "a>b", "a<b", "a\nb", "a #b", "(a)", "{ a; }", "! a"),
        *("a $b", 'a "$b"', "a `b`", 'a "`b`"', "a \\b", 'a "\\b"', "a *", "a ?", "a [b]", "a ~", "a {b,c}", "a é"),
        *("a 'b", 'a "b', "a=b", "a=b c", "'a=b' c", "''", "", " "),
        *("echo a", "true", "cd /", "exit 1", "test a", "[ a ]", ". a", "if a", "time a", "'exit' 1", '"cd" a'),
    ],
)
def test_commands_with_other_syntax_go_to_the_shell(command: str) -> None:
    assert without_shell(command, ENVIRON) is None


def test_names_that_bash_treats_itself_go_to_the_shell() -> None:
    listed = subprocess.run(["bash", "-c", "compgen -b -k"], capture_output=True, text=True, check=True).stdout
    assert {name for name in listed.split() if without_shell(name, ENVIRON)} == set()


@pytest.mark.parametrize("shell", SHELLS)
def test_programs_that_a_shell_has_built_in_go_to_it(shell: str) -> None:
    names = {name for folder in ("/bin", "/usr/bin") for name in os.listdir(folder)} | _OWN_NAMES
    script = 'for name; do echo "$(command -v "$name")" "$name"; done'  # a name without a path is the shell's own
    found = subprocess.run([shell, "-c", script, "sh", *names], capture_output=True, text=True, check=True).stdout
    own = {name for path, _, name in (line.rpartition(" ") for line in found.splitlines()) if path == name}
    assert {name for name in own if without_shell(name, ENVIRON)} == set()
    assert len(own) > 30


def test_a_function_in_the_environment_goes_before_a_program() -> None:
    assert without_shell("module load x", ENVIRON | {b"BASH_FUNC_module%%": b"() { :; }"}) is None
    assert without_shell("module load x", ENVIRON)


def test_without_path_the_shell_looks_for_programs() -> None:
    assert without_shell("sleep 1", {}) is None


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> Spawned:
    """Records the path and the arguments of each program that is spawned. The first one fails."""
    calls: Spawned = []

    def spawn(path: bytes, argv: list[bytes], *_: object, **__: object) -> int:
        calls.append((path, argv))
        if len(calls) == 1:
            raise OSError(errno.ENOEXEC, "Exec format error")
        return 1

    monkeypatch.setattr(os, "posix_spawn", spawn)
    return calls


def _spawn(command: str) -> int:
    return launch._spawn_command(a_spec(command), launch._Start(ENVIRON, [], lambda: None))


def test_a_program_that_cannot_be_started_is_left_to_the_shell(spawned: Spawned) -> None:
    assert _spawn("sh 'a b'") == 1
    assert spawned[0][0].endswith(b"/sh")
    assert spawned[0][1] == [b"sh", b"a b"]
    assert spawned[1:] == [(b"/bin/sh", [b"/bin/sh", b"-c", b"sh 'a b'"])]


def test_a_program_that_is_not_found_is_left_to_the_shell(spawned: Spawned) -> None:
    with pytest.raises(OSError, match="Exec format error"):
        _spawn("no-such-program")
    assert spawned == [(b"/bin/sh", [b"/bin/sh", b"-c", b"no-such-program"])]
