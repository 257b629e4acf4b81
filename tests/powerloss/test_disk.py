"""The disk after a power cut: synced data is there, any part of the rest may be."""

from random import Random

from tests.powerloss.disk import FOLDER, SECTOR, Disk, Files, Name, Rename, Step, Sync, SyncFolder, Truncate, Write

OLD, NEW = b"o" * SECTOR, b"n" * SECTOR
MADE = (Name("/d", FOLDER), SyncFolder("/"), Name("/d/f", 1), SyncFolder("/d"))


def after_cuts(*steps: Step) -> list[Files]:
    disk = Disk()
    for step in steps:
        disk.take(step)
    return [disk.after_a_cut(Random(seed)) for seed in range(500)]


def contents(*steps: Step) -> set[bytes | None]:
    return {files["/d/f"] for files in after_cuts(*MADE, *steps)}


def test_synced_writes_survive() -> None:
    assert contents(Write(1, 0, OLD), Truncate(1, 100), Write(1, 100, NEW), Sync(1)) == {OLD[:100] + NEW}


def test_unsynced_writes_survive_or_not_in_any_order() -> None:
    found = contents(Write(1, 0, OLD * 2), Sync(1), Write(1, 0, NEW), Write(1, SECTOR, NEW))
    assert {OLD + OLD, OLD + NEW, NEW + OLD, NEW + NEW} <= found


def test_a_write_tears_between_and_within_sectors() -> None:
    found = contents(Write(1, 0, OLD * 2), Sync(1), Write(1, 100, NEW))
    assert {OLD[:100] + NEW[100:] + OLD, OLD + NEW[:100] + OLD[100:]} <= found
    assert any(content and 0 < content[:SECTOR].count(b"n") < SECTOR - 100 for content in found)


def test_a_file_that_grew_may_hold_zeros() -> None:
    assert {b"", bytes(SECTOR), NEW} <= contents(Write(1, 0, NEW))
    assert bytes(SECTOR) + NEW in contents(Write(1, 0, OLD + NEW))


def test_an_unsynced_truncation_may_be_lost() -> None:
    assert {OLD, OLD[:10]} <= contents(Write(1, 0, OLD), Sync(1), Truncate(1, 10))


def test_names_survive_once_their_folder_was_synced() -> None:
    made = {tuple(sorted(files)) for files in after_cuts(*MADE[:3])}
    assert made == {("/d",), ("/d", "/d/f")}
    assert {tuple(sorted(files)) for files in after_cuts(*MADE[:1], *MADE[2:])} == {(), ("/d", "/d/f")}
    removed = {tuple(sorted(files)) for files in after_cuts(*MADE, Name("/d/f", None))}
    assert removed == {("/d",), ("/d", "/d/f")}
    assert {tuple(sorted(files)) for files in after_cuts(*MADE, Name("/d/f", None), SyncFolder("/d"))} == {("/d",)}


def test_a_rename_is_atomic() -> None:
    renamed = {tuple(sorted(files)) for files in after_cuts(*MADE, Rename("/d/f", "/d/g"))}
    assert renamed == {("/d", "/d/f"), ("/d", "/d/g")}
