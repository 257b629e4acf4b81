"""Every file can be read and written only by its owner, whatever the caller's umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from queuectl.maintenance import recover as recovery
from queuectl.maintenance.backup import back_up
from queuectl.maintenance.export import export_log, writing
from queuectl.runtime import SystemClock
from queuectl.store import open_store
from queuectl.store.options import StoreOptions
from tests.security.tour import tour
from tests.support.builders import add, new
from tests.support.command_line import Done, Queuectl


def wrong_modes(folder: Path) -> list[str]:
    """The files that others can read or write, or that their owner cannot."""
    return [f"{stat.filemode(each.lstat().st_mode)} {each}" for each in folder.rglob("*") if not _is_private(each)]


def _is_private(path: Path) -> bool:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return True
    return stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600)


@pytest.mark.parametrize("umask", ["000", "022", "0777"])
def test_every_file_of_a_full_tour_is_for_its_owner_alone(tmp_path: Path, umask: str) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o700)
    queuectl = Masked(place, umask)
    try:
        codes = [done.code for done in tour(queuectl)]
    finally:
        queuectl.stop()
    assert codes[-2:] == [0, 0], codes
    assert wrong_modes(place) == []
    names = {each.name for each in place.rglob("*")}
    assert names >= {"queue.db", "queue.db-wal", ".locks", ".wake", "w.log", "1.stdout", "log", "log.gz", "copy.db"}
    assert [name for name in names if ".damaged-" in name]


class Masked(Queuectl):
    """The command line, called with this umask."""

    def __init__(self, folder: Path, umask: str) -> None:
        super().__init__(folder)
        self._umask = int(umask, 8)

    def __call__(self, *arguments: str | bytes, **options: Any) -> Done:
        before = os.umask(self._umask)
        try:
            return super().__call__(*arguments, **options)
        finally:
            os.umask(before)


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_files_of_a_python_program_are_private_too(tmp_path: Path) -> None:
    path = str(tmp_path / "data" / "queue.db")
    store = open_store(path, SystemClock())
    add(store, new("a"))
    with writing(str(tmp_path / "log.gz"), None) as file:  # type: ignore[arg-type]
        export_log(store, file, print)
    back_up(store, str(tmp_path / "copy.db"), lambda copy: open_store(copy, SystemClock()), print)
    store.close()
    recovery.recover(path, SystemClock(), StoreOptions(), print, force=True)
    assert wrong_modes(tmp_path) == []
