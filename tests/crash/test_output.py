"""Too much output: files are cut to the limit, head and tail are kept, the job continues."""

import errno
import os
import re
from pathlib import Path

import apsw
import pytest

from queuectl.process import output_files as output
from queuectl.process.output_files import Capture
from tests.support.command_line import Queuectl, eventually

LIMIT = 64 << 10
MEBIBYTE = 1 << 20
PIECE = 100_000


def test_a_flood_is_cut_to_the_limit_and_the_job_continues(queuectl: Queuectl) -> None:
    queuectl.ok("config", "set", "max-output", "64KiB")
    job_id = queuectl.add("echo first; yes | head -c 200000000; echo last")
    queuectl.drain()
    (file,) = files(queuectl)
    assert LIMIT / 2 < file.stat().st_size <= LIMIT + 100
    text = queuectl.ok("logs", job_id)
    assert text.startswith("first\ny\n")
    assert text.endswith("y\nlast")
    assert "bytes cut (max-output)" in text
    assert queuectl.show(job_id)["exit_code"] == 0


def test_the_limit_holds_while_the_store_is_locked(queuectl: Queuectl) -> None:
    """Checking the output files does not wait for the store: too much would be written meanwhile."""
    queuectl.ok("config", "set", "max-output", "64KiB")
    job_id = queuectl.add("""
        i=0; while [ ! -e stop ]; do head -c 1000000 /dev/zero; i=$((i + 1)); echo $i > written; sleep 0.02; done""")
    queuectl.start("run")
    eventually(lambda: written(queuectl) > 1, "the job writes")
    locker = apsw.Connection(str(queuectl.db))
    locker.execute("BEGIN IMMEDIATE")
    try:
        before = written(queuectl)
        most = 0

        def enough() -> bool:
            nonlocal most
            most = max(most, sum(file.stat().st_blocks * 512 for file in files(queuectl)))
            return written(queuectl) - before > 150

        eventually(enough, "150 MB were written while the store was locked", 60)
    finally:
        locker.execute("ROLLBACK")
        locker.close()
        (queuectl.folder / "stop").touch()
    assert most < 100 * MEBIBYTE
    eventually(lambda: queuectl.state(job_id) == "done", "the job is done", 30)


def test_the_limit_also_holds_for_leftover_processes(queuectl: Queuectl) -> None:
    queuectl.ok("config", "set", "max-output", "64KiB")
    job_id = queuectl.add("""
        (trap '' TERM; i=0; while [ ! -e stop ]; do
            head -c 1000000 /dev/zero; i=$((i + 1)); echo $i > written; sleep 0.02; done) &
        echo $! > pid; while [ ! -e written ]; do sleep 0.05; done""")
    queuectl.start("run", "--grace", "2m")
    eventually(lambda: queuectl.state(job_id) == "done", "the job is done")
    output = Path(f"/proc/{(queuectl.folder / 'pid').read_text().strip()}/fd/1")
    before = written(queuectl)
    most = 0

    def enough() -> bool:
        nonlocal most
        most = max(most, output.stat().st_blocks * 512)
        return written(queuectl) - before > 150

    try:
        eventually(enough, "150 MB were written after the job had ended", 60)
    finally:
        (queuectl.folder / "stop").touch()
    assert most < 100 * MEBIBYTE


@pytest.mark.parametrize("kept", [0, LIMIT // 4, LIMIT])
@pytest.mark.parametrize(
    ("library", "seen"), [("holes", False), ("holes", True), ("no holes", True), ("no fallocate", True)]
)
def test_truncated_output_counts_towards_the_limit_from_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int, library: str, seen: bool
) -> None:
    """The mark counts bytes that were cut since the job truncated its output, not the bytes that the job removed."""
    if not (holes := library == "holes"):
        monkeypatch.setattr(output, "_libc", lambda: NoHoles if library == "no holes" else object())
    capture = Capture(str(tmp_path), "a", 1, LIMIT)
    file = capture.descriptors[0]
    os.write(file, b"1" * (3 * MEBIBYTE))
    capture.trim()
    cut_before = 0 if holes or kept < LIMIT // 2 else 3 * MEBIBYTE - LIMIT // 2
    os.ftruncate(file, kept := min(kept, os.fstat(file).st_size))
    if seen:
        capture.trim()
    for _ in range(20):
        os.write(file, b"2" * PIECE)
        capture.trim()
        assert os.fstat(file).st_blocks * 512 <= LIMIT + output.BLOCK
    os.write(file, b"end")
    assert capture.tails()[0].endswith("end")
    capture.settle()
    capture.discard()
    text = (tmp_path / "a" / "1.stdout").read_text()
    head = min(kept, LIMIT // 2)
    assert text.startswith("1" * head + "2" * (LIMIT // 2 - head))
    assert text.endswith("end")
    (cut,) = re.findall(r"\n… (\d+) bytes cut \(max-output\) …\n", text)
    assert len(text) - len(output.cut_mark(int(cut))) + int(cut) == kept + cut_before + 20 * PIECE + len("end")


class NoHoles:
    """A C library on a file system that cannot punch holes."""

    @staticmethod
    def fallocate(*_: int) -> int:
        """Operation not supported."""
        return -1


def test_truncated_output_under_the_limit_has_no_mark(tmp_path: Path) -> None:
    capture = Capture(str(tmp_path), "a", 1, LIMIT)
    file = capture.descriptors[0]
    os.write(file, b"1" * MEBIBYTE)
    capture.trim()
    capture.publish()
    os.ftruncate(file, 0)
    os.write(file, b"end")
    assert capture.tails()[0] == "end"
    capture.settle()
    capture.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_no_half_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    capture = Capture(str(tmp_path), "a", 1, LIMIT)
    for descriptor in capture.descriptors:
        os.write(descriptor, b"1" * (3 * MEBIBYTE))
    capture.trim()
    capture.tails()
    monkeypatch.setattr(output, "_copy", full)
    with pytest.raises(OSError, match="No space"):
        capture.settle()
    capture.discard()
    assert sorted(os.listdir(tmp_path / "a")) == ["1.stderr", "1.stdout"]


def test_odd_output_is_kept_byte_for_byte(queuectl: Queuectl) -> None:
    job_id = queuectl.add(r"printf 'a\000b\377\033[31mred\033]0;title\007\r\n'")
    queuectl.drain()
    (file,) = files(queuectl)
    assert file.read_bytes() == b"a\0b\xff\x1b[31mred\x1b]0;title\x07\r\n"
    assert (
        queuectl.show(job_id)["stdout"]
        == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}\x1b[31mred\x1b]0;title\x07\r\n"
    )
    shown = queuectl("logs", job_id).out.encode("utf-8", "surrogateescape")
    assert shown == file.read_bytes()


def files(queuectl: Queuectl) -> list[Path]:
    """The existing output files."""
    return sorted(Path(f"{queuectl.db}.output").glob("*/*.std*"))


def written(queuectl: Queuectl) -> int:
    """The number of megabytes that the job reports as written."""
    try:
        return int((queuectl.folder / "written").read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0
