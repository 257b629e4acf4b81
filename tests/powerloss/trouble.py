"""Disks that fail: sometimes, at one operation, from one operation on, or when they are full."""

import errno
from random import Random

WRITE, TRUNCATE, SYNC, OPEN = "write", "truncate", "sync", "open"


class Trouble:
    """A disk without faults; subclasses say when operations fail, until `over` is called."""

    def __init__(self, rng: Random) -> None:
        self._rng, self._is_over = rng, False
        self.met = 0
        self.asked: dict[str, int] = {}

    def error(self, what: str, grows: int = 0) -> int:
        """The errno that the next operation fails with; 0: it does not. `grows`: so many bytes are added to a file."""
        if self._is_over:
            return 0
        self.asked[what] = self.asked.get(what, 0) + 1
        found = self._error(what, grows)
        self.met += bool(found)
        return found

    def _error(self, what: str, grows: int) -> int:
        return 0

    def over(self) -> None:
        """From now on no operation fails."""
        self._is_over = True

    def seed(self) -> int:
        """The seed that decides which part of the data of a failed sync reached the disk."""
        return self._rng.randrange(1 << 32)


class NowAndThen(Trouble):
    """One to three operations in a row fail, with ENOSPC or EIO."""

    def __init__(self, rng: Random, often: float) -> None:
        super().__init__(rng)
        self._often, self._left, self._with = often, 0, 0

    def _error(self, what: str, grows: int) -> int:
        if not self._left and self._rng.random() < self._often:
            self._left, self._with = self._rng.randint(1, 3), self._rng.choice((errno.ENOSPC, errno.EIO))
        if not self._left:
            return 0
        self._left -= 1
        return self._with


class Once(Trouble):
    """The n-th operation of a kind fails with EIO."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(Random(number))
        self._what, self._number = what, number

    def _error(self, what: str, grows: int) -> int:
        return errno.EIO if what == self._what and self.asked[what] == self._number else 0


class ReadOnly(Trouble):
    """From the n-th operation on all changes fail, as on a file system that was remounted read-only after an error."""

    def __init__(self, number: int) -> None:
        super().__init__(Random(number))
        self._number = number

    def _error(self, what: str, grows: int) -> int:
        return errno.EROFS if what != SYNC and sum(self.asked.values()) >= self._number else 0


class Quota(Trouble):
    """The disk has room for a number of bytes."""

    def __init__(self, room: int) -> None:
        super().__init__(Random(room))
        self._room = room

    def _error(self, what: str, grows: int) -> int:
        if grows > self._room:
            return errno.ENOSPC
        self._room -= grows
        return 0
