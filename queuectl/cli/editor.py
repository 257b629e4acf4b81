"""A job as text in the user's editor. A wrong text is opened again, and saved to a file when it cannot be used."""

import os
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path

import typer

from queuectl.application.edit_text import edit_of, text_of, with_error
from queuectl.application.editing import Edit
from queuectl.application.queue import Queue
from queuectl.cli.messages import say
from queuectl.domain.machine import State
from queuectl.errors import QueuectlError, RefusedError, UsageError

__all__ = ["edit_as_text"]


def edit_as_text(jobs: Queue, job_id: str, save: Callable[[list[str], Edit], None]) -> None:
    """Open the job in the editor, and `save` what was changed. An unchanged text changes nothing.

    Raises UsageError when a wrong text is left as it is, RefusedError when the job was claimed meanwhile; both name
    the file that has the text.
    """
    job = jobs.load(job_id)
    if job.state is not State.PENDING:
        save([job_id], Edit(now=True))  # refused, with what to do instead
        return
    file = _new_file(job_id)
    shown = text_of(job)
    error: QueuectlError | None = None
    while True:
        text = _edited(file, shown)
        if text == shown:
            break
        try:
            edit = edit_of(job, text)
            if not edit:
                break
            save([job_id], edit)
        except UsageError as wrong:
            error, shown = wrong, with_error(text, str(wrong))
            continue
        except RefusedError as refused:
            raise RefusedError(f"{refused}; your text is in {file}") from None
        file.unlink()
        return
    if error is not None:
        raise UsageError(f"{error}; your text is in {file}")
    file.unlink()
    say("nothing changed")


def _new_file(job_id: str) -> Path:
    handle, name = tempfile.mkstemp(prefix=f"queuectl-{job_id[:40]}-", suffix=".json")
    os.close(handle)
    return Path(name)


def _edited(file: Path, text: str) -> str:
    """The text as the editor leaves it. Raises Exit when the editor fails."""
    import subprocess

    file.write_text(text, encoding="utf-8")
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    try:
        code = subprocess.run([*words, str(file)], check=False).returncode
    except OSError as error:
        raise UsageError(f"cannot start the editor {words[0]}: {error.strerror}: set VISUAL or EDITOR") from None
    if code != 0:
        say(f"the editor ended with exit code {code}: nothing changed (your text is in {file})")
        raise typer.Exit(1)
    return file.read_text(encoding="utf-8")
