"""A job's output is read run by run, as bytes, from its file or from its event."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from queuectl.application.job_output import Piece, read_output
from queuectl.application.queue import Queue
from queuectl.errors import NoSuchJobError
from queuectl.process.output_files import paths
from tests.support.builders import ACTOR, SettableClock, add, claimed, completed, follow, new, retried
from tests.support.queues import opened


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """A queue with the pending job `a`, which has output in no file."""
    with opened(tmp_path / "queue.db") as store:
        add(store, new("a"))
        yield Queue(store, ACTOR)


def then(queue: Queue, *events: object) -> None:
    follow(queue.store, SettableClock(), "a", *events)  # type: ignore[arg-type]


def file_of(queue: Queue, run: int) -> Path:
    path = Path(paths(queue.store.location.output_folder, "a", run)[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def printed(pieces: Iterator[Piece | None], stream: str = "stdout") -> bytes:
    return b"".join(piece.data for piece in pieces if piece and piece.stream == stream)


def test_a_job_that_has_not_run_has_no_output(queue: Queue) -> None:
    assert list(read_output(queue, "a")) == []


def test_short_output_comes_from_the_event(queue: Queue) -> None:
    then(queue, claimed(), completed(stdout="out\n", stderr="err\n"))
    assert list(read_output(queue, "a")) == [
        Piece(1, "stdout", b"out\n", is_last=True),
        Piece(1, "stderr", b"err\n", is_last=True),
    ]


def test_the_bytes_of_a_file_are_passed_on_unchanged(queue: Queue) -> None:
    then(queue, claimed())
    file_of(queue, 1).write_bytes(b"\x1b[31m\xff\0")
    then(queue, completed())
    *data, last = read_output(queue, "a", streams=["stdout"])
    assert (data, last) == ([Piece(1, "stdout", b"\x1b[31m\xff\0")], Piece(1, "stdout", b"", is_last=True))


@pytest.mark.parametrize("follow", [False, True])
def test_the_file_of_a_running_job_is_closed(queue: Queue, follow: bool) -> None:
    """An open file that is dropped raises a ResourceWarning."""
    then(queue, claimed())
    file_of(queue, 1).write_bytes(b"so far")
    pieces = read_output(queue, "a", streams=["stdout"], follow=follow)
    assert next(pieces) == Piece(1, "stdout", b"so far")
    assert follow or list(pieces) == []
    del pieces
    gc.collect()


def test_a_tail_names_the_host_that_has_the_rest(queue: Queue) -> None:
    then(queue, claimed(), completed(stdout="x" * 4096, stderr="short"))
    assert [(piece.stream, piece.whole_on) for piece in read_output(queue, "a") if piece] == [
        ("stdout", claimed().host),
        ("stderr", None),
    ]


def test_a_tail_of_this_host_names_no_host(queue: Queue) -> None:
    """There is no file with more: the output was that long, or its file was removed."""
    then(queue, replace(claimed(), host=os.uname().nodename), completed(stdout="x" * 4096, stderr="short"))
    assert [(piece.stream, piece.is_tail, piece.whole_on) for piece in read_output(queue, "a") if piece] == [
        ("stdout", True, None),
        ("stderr", False, None),
    ]


def test_a_run_can_be_named_and_must_have_begun(queue: Queue) -> None:
    then(queue, claimed(1), retried(1, stdout="one"), claimed(2), completed(2, stdout="two"))
    assert printed(read_output(queue, "a", 1)) == b"one"
    assert printed(read_output(queue, "a")) == b"two"
    with pytest.raises(NoSuchJobError, match="no run 3"):
        read_output(queue, "a", 3)


def test_following_gives_each_byte_once_and_ends_with_the_job(queue: Queue) -> None:
    then(queue, claimed())
    file_of(queue, 1).write_bytes(b"one ")
    pieces = read_output(queue, "a", streams=["stdout"], follow=True)
    assert next(pieces) == Piece(1, "stdout", b"one ")
    assert next(pieces) is None
    with file_of(queue, 1).open("ab") as file:
        file.write(b"two")
    assert next(pieces) == Piece(1, "stdout", b"two")
    then(queue, completed())
    assert list(filter(None, pieces)) == [Piece(1, "stdout", b"", is_last=True)]


def test_following_continues_with_the_next_run(queue: Queue) -> None:
    then(queue, claimed(1), retried(1, wait=0, stdout="one "))
    pieces = read_output(queue, "a", streams=["stdout"], follow=True)
    assert next(pieces) == Piece(1, "stdout", b"one ", is_last=True)
    then(queue, claimed(2), completed(2, stdout="two"))
    assert printed(pieces) == b"two"
