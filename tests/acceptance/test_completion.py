"""Shell completion for bash, zsh and fish: the script for each, and the answers to the shell's requests."""

import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import PROGRAM, Queuectl

COMMANDS = {"enqueue", "run", "status", "list", "show", "history", "logs", "wait", "cancel", "retry", "purge", "dlq"}


def _completions(queuectl: Queuectl, shell: str, line: str) -> str:
    """The completions for a command line whose end is at the cursor."""
    env = {"_QUEUECTL_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line}
    env |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    env |= {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    return queuectl.ok(env=env)


def test_bash_completes_commands(queuectl: Queuectl) -> None:
    assert set(_completions(queuectl, "bash", "queuectl ").split()) >= COMMANDS
    assert _completions(queuectl, "bash", "queuectl enq").split() == ["enqueue"]
    assert _completions(queuectl, "bash", "queuectl dlq ").split() == ["list", "show", "retry", "purge"]
    assert set(_completions(queuectl, "bash", "queuectl config ").split()) == {"show", "get", "set", "unset"}


def test_bash_completes_options(queuectl: Queuectl) -> None:
    assert {"--id", "--queue", "--max-retries", "--unique"} <= set(
        _completions(queuectl, "bash", "queuectl enqueue --").split()
    )
    assert _completions(queuectl, "bash", "queuectl run --conc").split() == ["--concurrency"]
    assert _completions(queuectl, "bash", "queuectl dlq purge --y").split() == ["--yes"]


def test_zsh_and_fish_complete_with_descriptions(queuectl: Queuectl) -> None:
    zsh = _completions(queuectl, "zsh", "queuectl ")
    assert zsh.startswith("_arguments ")
    assert all(f'"{command}":"' in zsh for command in COMMANDS)
    fish = _completions(queuectl, "fish", "queuectl ").splitlines()
    assert {line.split("\t")[0] for line in fish} >= COMMANDS
    assert all(line.split("\t")[1] for line in fish)


def test_completion_creates_no_queue(queuectl: Queuectl) -> None:
    _completions(queuectl, "bash", "queuectl show ")
    assert list(queuectl.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("shell", "word"),
    [("bash", "complete -o default -F"), ("zsh", "#compdef queuectl"), ("fish", "complete --command")],
)
def test_each_shell_gets_its_script(queuectl: Queuectl, shell: str, word: str) -> None:
    # A process is known as the shell of that name by its first argument.
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
    assert word in done.stdout
    assert f"complete_{shell}" in done.stdout


def test_the_script_makes_bash_complete(queuectl: Queuectl) -> None:
    if not Path("/bin/bash").exists():
        pytest.skip("there is no /bin/bash here")
    script = queuectl.ok(env={"_QUEUECTL_COMPLETE": "source_bash"})
    ask = 'COMP_WORDS=(queuectl wa); COMP_CWORD=1; _queuectl_completion queuectl; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["/bin/bash", "-c", f"{script}\n{ask}"],
        capture_output=True,
        text=True,
        cwd=queuectl.folder,
        env={**queuectl.env, "PATH": f"{Path(PROGRAM).parent}:{queuectl.env['PATH']}"},
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "wait\n"), done.stderr
