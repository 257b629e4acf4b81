"""Corruption: every byte of a small queue flipped once, and random damage to whole files."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

from queuectl.store.sql.rebuild import Rebuild
from tests.archive.damage import DAMAGE, PAGE, disarrange
from tests.campaign import damaged_queue as queue
from tests.campaign.damaged_queue import ARCHIVE, DB, WAL, Files, whole
from tests.campaign.plan import Attempt, Campaign, Control
from tests.powerloss.campaign import scratch
from tests.support.builders import EVENT_COLUMNS

__all__ = ["CAMPAIGN"]

BYTES_OF_A_SEED, OTHERS_OF_A_SEED, OTHERS, LINES = 128, 25, 10_000, 2_000
RECOVERED = 8
"""Of so many flipped bytes one is put through the whole of `recover`, of the others what it would find is looked at."""

ACTOR = EVENT_COLUMNS.index("actor")
HARMLESS, DAMAGED, SEEN = "harmless", "with content damaged", "of these seen by `integrity_check` alone"


class Chunk(NamedTuple):
    """Bytes of one file."""

    name: str
    start: int
    end: int

    def contains(self, name: str, at: int) -> bool:
        """Whether a byte of a file is one of these."""
        return self.name == name and self.start <= at < self.end


@cache
def plan() -> list[Chunk | int]:
    """The damage of each seed, shuffled: a chunk of bytes, or structural damage by a number."""
    chunks = [
        Chunk(name, start, min(start + BYTES_OF_A_SEED, len(content)))
        for name, content in whole().files.items()
        if name.endswith((DB, WAL, ".ndjson"))
        for start in range(0, len(content), BYTES_OF_A_SEED)
    ]
    found = [*chunks, *range(OTHERS // OTHERS_OF_A_SEED)]
    Random(0).shuffle(found)
    return [*found, *range(OTHERS // OTHERS_OF_A_SEED, (OTHERS + LINES) // OTHERS_OF_A_SEED)]


def attempt(seed: int, notices: Callable[[str], bool] = queue.noticed) -> Attempt:
    """The damage of one seed, each time to the whole queue; `notices` is asked whether the damage shows."""
    chosen = plan()[seed]
    tries, faults, counted = 0, list[str](), Counter[str]()
    with scratch() as folder:
        for damaged, thorough in _flipped(chosen) if isinstance(chosen, Chunk) else _others(chosen, folder):
            tries += 1
            place = os.path.join(folder, "try")
            try:
                faults += _judge(damaged, place, thorough, notices, counted)
            except Exception as error:
                faults.append(f"broken: {type(error).__name__}: {error}".replace(place, "…"))
    return Attempt(tries, faults, counted)


# ── damage ──────────────────────────────────────────────────────────────────────────────────────────────


Damaged = Iterator[tuple[Files, bool]]
"""The rest of the files, and whether to check it thoroughly."""


def _flipped(chunk: Chunk) -> Damaged:
    content = whole().files[chunk.name]
    for offset in range(chunk.start, chunk.end):
        rng = Random(f"{chunk.name} {offset}")
        hit = content[:offset] + bytes([content[offset] ^ rng.randrange(1, 256)]) + content[offset + 1 :]
        yield {**whole().files, chunk.name: hit}, rng.randrange(RECOVERED) == 0


def _others(number: int, folder: str) -> Damaged:
    """One to three kinds of damage to one file, or to several."""
    for again in range(OTHERS_OF_A_SEED):
        rng = Random(f"structural {number} {again}")
        place = os.path.join(folder, "damaged")
        queue.put(whole().files, place)
        for _ in range(rng.choice((1, 1, 2, 3))):
            if number >= OTHERS // OTHERS_OF_A_SEED:
                _disarrange_lines(place, rng)
                continue
            rng.choice((_hit, _hit, _put_back_page, _put_back_file, _append, _remove_archive))(place, rng)
        yield queue.files_in(place), True


def _hit(folder: str, rng: Random) -> None:
    name = _some_file(folder, rng)
    kind = rng.choice([kind for kind in DAMAGE if kind != "a byte flipped"])
    size = os.path.getsize(name)
    if size and (size >= 2 * PAGE or kind != "two pages swapped"):
        DAMAGE[kind](name, rng)


def _disarrange_lines(folder: str, rng: Random) -> None:
    """Repeat, swap or move whole lines of the archive, also from one segment to another."""
    place = os.path.join(folder, ARCHIVE)
    names = [os.path.join(place, name) for name in sorted(os.listdir(place)) if name.endswith(".ndjson")]
    disarrange(rng.choice(names), rng.choice(names), rng)


def _some_file(folder: str, rng: Random) -> str:
    """One of the existing files; the database and its -wal as often as all segments together."""
    there = [name for name in whole().files if os.path.exists(os.path.join(folder, name)) and name.startswith(DB)]
    weights = [3 if ARCHIVE not in name else 1 for name in there]
    return os.path.join(folder, *rng.choices(there, weights))


def _put_back_page(folder: str, rng: Random) -> None:
    """Put back an old page of the database (a lost write), or write a page to another place."""
    older, path = whole().older[DB] + whole().older[WAL][56:], os.path.join(folder, DB)
    if os.path.exists(path):
        start = rng.randrange(len(whole().files[DB]) // PAGE) * PAGE
        other = rng.choice((start, rng.randrange(len(older) // PAGE) * PAGE))
        with open(path, "r+b") as file:
            file.seek(start)
            file.write(older[other : other + PAGE])


def _put_back_file(folder: str, rng: Random) -> None:
    """Put back an old copy of one file; the others are unchanged."""
    name = rng.choice([*whole().older])
    if os.path.isdir(os.path.dirname(os.path.join(folder, name))):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(whole().older[name])


def _append(folder: str, rng: Random) -> None:
    with open(_some_file(folder, rng), "ab") as file:
        file.write(rng.choice((bytes(PAGE), rng.randbytes(100), whole().files[WAL])))


def _remove_archive(folder: str, rng: Random) -> None:
    shutil.rmtree(os.path.join(folder, ARCHIVE), ignore_errors=True)
    os.makedirs(os.path.join(folder, ARCHIVE), exist_ok=True)


# ── what has to hold ────────────────────────────────────────────────────────────────────────────────────


def _judge(
    damaged: Files, folder: str, thorough: bool, notices: Callable[[str], bool], counted: Counter[str]
) -> Iterator[str]:
    """Check that damage that changes the contents is noticed, and that no remaining event is lost."""
    found = queue.contents(queue.put(damaged, folder))
    if found == whole().contents and _archived(damaged) == _archived(whole().files):
        counted[HARMLESS] += 1
        return
    counted[DAMAGED] += 1
    counted[SEEN] += found is None
    yield from _remains(damaged, queue.put(damaged, folder))
    if not notices(queue.put(damaged, folder)):
        yield from _nothing_to_notice(damaged, os.path.join(folder, DB))
    if thorough:
        yield from _recovers(damaged, queue.put(damaged, folder))


def _nothing_to_notice(damaged: Files, path: str) -> Iterator[str]:
    """Check that opening the queue repaired the damage; a tail that is missing from both copies cannot be noticed."""
    found = queue.contents(path)
    begins = found is not None and found[0] == whole().contents[0][: len(found[0])]
    if not queue.is_whole_again(path) and (_is_all_there(damaged) or not begins):
        yield f"unnoticed: {', '.join(_hit_files(damaged))}"


def _archived(files: Files) -> Files:
    return {name: content for name, content in files.items() if ARCHIVE in name}


def _hit_files(damaged: Files) -> list[str]:
    return [name for name, content in sorted(whole().files.items()) if damaged.get(name) != content]


def _is_all_there(damaged: Files) -> bool:
    """Whether the archive is as it was, or the database is."""
    hit = _hit_files(damaged)
    return not any(ARCHIVE in name for name in hit) or not {DB, WAL}.intersection(hit)


def _remains(damaged: Files, path: str) -> Iterator[str]:
    """Check that `recover` would find a prefix of the log, at least as long as the undamaged part."""
    for archived, found in zip((True, False), queue.remaining(path), strict=True):
        there = damaged if archived else {name: damaged[name] for name in damaged if ARCHIVE not in name}
        least = len(whole().digests) if archived and _is_all_there(damaged) else queue.lasting(there)
        if found != whole().digests[: len(found)]:
            yield f"invented: what remains of {', '.join(_hit_files(damaged))} is another log"
        if len(found) < least:
            what = "with" if archived else "without"
            yield f"lost: {what} the archive not all is found that is left of {', '.join(_hit_files(damaged))}"


def _recovers(damaged: Files, path: str) -> Iterator[str]:
    """Check that `recover` restores these events and makes a consistent queue."""
    events = len(queue.remaining(path)[0])
    found = queue.recovered(path)
    if found is None:
        if events:
            yield f"unrecovered: {', '.join(_hit_files(damaged))}"
    elif [row for row in found[0] if not _is_made_up_for(row)] != whole().contents[0][:events]:
        yield f"unrecovered: other events out of {', '.join(_hit_files(damaged))}"
    elif _is_all_there(damaged) and found != whole().contents:
        yield f"unrecovered: other tables out of {', '.join(_hit_files(damaged))}"


def _is_made_up_for(row: tuple[Any, ...]) -> bool:
    """Whether an event was appended by `recover`, because the log ended between an event and its consequences."""
    return row[ACTOR] == "queuectl"


def by_integrity_check(path: str) -> bool:
    """The control: notice damage only by SQLite's `integrity_check`."""
    return queue.contents(path) is None


def without_waits(_: int) -> Attempt:
    """The control: damage to the row of a job that waits, in a build that does not check such rows."""
    at = whole().files[DB].rfind(b"joblongokopen")
    [seed] = [number for number, each in enumerate(plan()) if isinstance(each, Chunk) and each.contains(DB, at)]
    with patch.object(Rebuild, "_compare_waits", lambda rebuild, found: None):
        return attempt(seed)


CAMPAIGN = Campaign(
    name="corruption",
    unit="damaged queues",
    short=1_500,
    full=10_000_000,
    attempt=attempt,
    controls=(
        Control("`integrity_check` alone misses damage", partial(attempt, notices=by_integrity_check)),
        Control("damage to dependencies is not looked for", without_waits, seeds=1),
    ),
    all_seeds=lambda: len(plan()),
)
