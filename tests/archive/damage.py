"""Random ways to damage a file, and the part of a database that a byte belongs to."""

import os

PAGE = 4096


def flip(file, rng, times=1):
    for _ in range(times):
        offset = rng.randrange(os.path.getsize(file))
        with open(file, "r+b") as damaged:
            damaged.seek(offset)
            old = damaged.read(1)[0]
            damaged.seek(offset)
            damaged.write(bytes([old ^ rng.randrange(1, 256)]))


def zero_page(file, rng):
    start = rng.randrange(max(1, os.path.getsize(file) // PAGE)) * PAGE
    with open(file, "r+b") as damaged:
        damaged.seek(start)
        damaged.write(bytes(PAGE))


def swap_pages(file, rng, spared=None):
    """Swap two pages, none of which holds the bytes `spared`."""
    with open(file, "r+b") as damaged:
        data = damaged.read()
        pages = range(0, len(data) - PAGE + 1, PAGE)
        swapped = [start for start in pages if spared is None or spared not in data[start : start + PAGE]]
        one, two = rng.sample(swapped, 2)
        for start, other in ((one, two), (two, one)):
            damaged.seek(start)
            damaged.write(data[other : other + PAGE])


def garble(file, rng):
    start = rng.randrange(os.path.getsize(file))
    with open(file, "r+b") as damaged:
        damaged.seek(start)
        damaged.write(rng.randbytes(rng.randrange(1, 3 * PAGE)))


def truncate(file, rng):
    os.truncate(file, rng.randrange(os.path.getsize(file)))


def delete(file, rng):
    os.unlink(file)


def disarrange(file, other, rng):
    """Repeat, swap, move or copy whole lines, also to another file."""
    with open(file, "rb") as before:
        lines = before.read().splitlines(keepends=True)
    one, two = (rng.randrange(1, len(lines)) for _ in range(2))
    match rng.choice(("twice", "three times", "swapped", "moved", "copied")):
        case "twice":
            lines.insert(one, lines[two])
        case "three times":
            lines[one:one] = [lines[one]] * 2
        case "swapped":
            lines[one], lines[two] = lines[two], lines[one]
        case "moved":
            lines.insert(one, lines.pop(two))
        case "copied":
            with open(other, "ab") as target:
                target.write(lines[one])
            return
    with open(file, "wb") as after:
        after.write(b"".join(lines))


DAMAGE = {
    "a byte flipped": flip,
    "ten bytes flipped": lambda file, rng: flip(file, rng, 10),
    "a page zeroed": zero_page,
    "two pages swapped": swap_pages,
    "garbage": garble,
    "truncated": truncate,
    "deleted": delete,
}


def is_of(content, offset, row):
    """Whether the byte is in a page that holds the row, or in the header of a -wal frame."""
    start, size = offset - offset % PAGE, PAGE
    if content[:2] == b"7\x7f":
        frame = 32 + (offset - 32) // (PAGE + 24) * (PAGE + 24)
        if offset - frame < 24:
            return True
        start = frame + 24
    page = content[start : start + size]
    return row[-1] in page or (row[1] == "long" and b"longlong" in page)
