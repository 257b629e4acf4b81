"""A failed commit may have been written: a repeated `enqueue --id` gives one job in both cases."""

import sys

import pytest

from tests.support.command_line import Queuectl

FAILING = """
import os, sys
import apsw

class Disk(apsw.VFS):
    def __init__(self):
        super().__init__("failing", "unix", makedefault=True)

    def xOpen(self, name, flags):
        return (Wal if flags[0] & apsw.SQLITE_OPEN_WAL else apsw.VFSFile)("unix", name, flags)

class Wal(apsw.VFSFile):
    def {operation}(self, *arguments):
        raise apsw.IOError("the disk has failed")

disk = Disk()
from queuectl.cli import run
try:
    run()
except SystemExit as end:
    sys.stderr.flush()
    os._exit(end.code)
"""


@pytest.mark.parametrize(("operation", "written"), [("xSync", 1), ("xWrite", 0)])
def test_a_repeated_enqueue_gives_one_job(queuectl: Queuectl, operation: str, written: int) -> None:
    queuectl.add("--id", "before", "true")
    program = FAILING.format(operation=operation)
    failed = queuectl.start_program(sys.executable, "-c", program, "enqueue", "--id", "a", "true").ended()
    assert (failed.code, failed.out, len(failed.err.splitlines())) == (5, "", 1), failed
    assert queuectl.query("SELECT count(*) FROM jobs WHERE id = 'a'") == [(written,)]
    assert queuectl.ok("enqueue", "--id", "a", "true") == "a"
    assert queuectl.types("a") == ["enqueued"]
    assert queuectl.ok("verify").startswith("clean")
    queuectl.drain()
    assert queuectl.types("a") == ["enqueued", "claimed", "completed"]
