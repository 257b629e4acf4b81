"""Shell completion in real shells: bash, zsh and fish on a terminal, each with the script that queuectl gives it."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command_line import PROGRAM, Queuectl
from tests.support.pseudo_terminal import PseudoTerminal

SHELLS = {"bash": ["--norc", "--noprofile"], "zsh": ["--no-rcs"], "fish": ["--no-config"]}
HARMFUL = 'echo $(touch harm) `touch harm` "$(touch harm)" \'; touch harm \\$(touch harm)'


def shell_path(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed here")
    return path


def script(queuectl: Queuectl, shell: str) -> Path:
    """The script for a shell, in a file: a process is known as the shell of that name by its first argument."""
    done = subprocess.run(
        [shell, "-c", f"{PROGRAM} --show-completion; :"],
        executable="/bin/sh",
        capture_output=True,
        text=True,
        cwd=queuectl.folder,
        env=queuectl.env,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    path = queuectl.folder / f"completion.{shell}"
    path.write_text(done.stdout, encoding="utf-8")
    return path


@contextmanager
def running_shell(queuectl: Queuectl, shell: str) -> Iterator[PseudoTerminal]:
    """The shell at its prompt, with completion."""
    path = script(queuectl, shell)
    env = {**queuectl.env, "PATH": f"{Path(PROGRAM).parent}:{queuectl.env['PATH']}", "HOME": str(queuectl.folder)}
    first = {"bash": "", "zsh": "autoload -Uz compinit; compinit -u; ", "fish": ""}[shell]
    with PseudoTerminal([shell_path(shell), *SHELLS[shell]], queuectl.folder, env, size=(120, 40)) as terminal:
        terminal.type(f"{first}source {shlex.quote(str(path))}; echo rea''dy\r")
        terminal.until("ready")
        terminal.forget()
        yield terminal


@pytest.fixture
def lived(queuectl: Queuectl) -> Queuectl:
    """A queue with a job that is held back."""
    queuectl.add("--id", "held", "--delay", "1h", "sleep 1")
    return queuectl


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_an_id_and_runs_the_line(shell: str, lived: Queuectl) -> None:
    with running_shell(lived, shell) as terminal:
        terminal.type("queuectl show hel\t")
        terminal.until("held")
        terminal.type("\r")
        terminal.until("sleep 1")
        terminal.until("pending")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_shows_hints_and_runs_none_of_them(shell: str, queuectl: Queuectl) -> None:
    queuectl.add("--id", "ab", HARMFUL)
    queuectl.add("--id", "ac", HARMFUL)
    queuectl.add("--tag", "k=$(touch harm)", "true")
    with running_shell(queuectl, shell) as terminal:
        terminal.type("queuectl show a\t\t")
        terminal.until("pending: echo $(touch harm)")
    with running_shell(queuectl, shell) as terminal:
        terminal.type("queuectl list --tag k\t\r")
        terminal.until("pending")
    assert not (queuectl.folder / "harm").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_the_value_after_an_equals_sign(shell: str, lived: Queuectl) -> None:
    with running_shell(lived, shell) as terminal:
        terminal.type("queuectl list --state=canc\t\r")
        terminal.until("no jobs")
